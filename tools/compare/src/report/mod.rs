//! What is shown: a table and the claims on the terminal, JSON, a picture.
//!
//! Owns the results.

pub mod table;

use crate::args::Args;
use crate::loads::{Load, Size};
use crate::rounds::{Contender, LeftOut};
use crate::run::Run;
use anyhow::Result;
use serde::Serialize;

/// Everything that came out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// How large the loads were.
    pub size: Size,
    /// Who took part.
    pub contenders: Vec<Contender>,
    /// The loads, with what each is.
    pub loads: Vec<(String, String)>,
    /// Who or what did not, and why.
    pub left_out: Vec<LeftOut>,
    /// Every run.
    pub runs: Vec<Run>,
}

impl Results {
    /// None yet.
    pub fn new(_args: &Args, size: Size) -> Results {
        Results {
            size,
            contenders: Vec::new(),
            loads: Vec::new(),
            left_out: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Notes that somebody takes no part.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        eprintln!("left out: {what}: {why}");
        self.left_out.push(LeftOut { what: what.into(), why: why.into() });
    }
}

/// Says on stderr what runs now.
pub fn progress(load: &Load, round: u32, collector: &str) {
    match round {
        0 => eprintln!("under strace   {:<14} {collector}", load.name),
        _ => eprintln!("round {round:<8} {:<14} {collector}", load.name),
    }
}

/// Shows it all; whether there is nothing to complain about.
///
/// # Errors
/// Where a file can't be written.
pub fn show(_args: &Args, results: &Results) -> Result<bool> {
    print!("{}", table::table(results));
    Ok(true)
}
