//! What is shown: tables and claims on the terminal, JSON, a picture.
//!
//! Owns the results.

mod claims;
mod figures;
mod json;
mod plot;
mod table;

use crate::args::Args;
use crate::loads::{Load, Size};
use crate::rounds::{Contender, LeftOut};
use crate::run::Run;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// A load that was run.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
}

/// Everything that came out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// How large the loads were.
    pub size: Size,
    /// Who took part.
    pub contenders: Vec<Contender>,
    /// Under which loads.
    pub loads: Vec<Named>,
    /// Who or what did not, and why.
    pub left_out: Vec<LeftOut>,
    /// Every run.
    pub runs: Vec<Run>,
}

impl Results {
    /// None yet.
    pub fn new(size: Size) -> Results {
        let (contenders, loads) = (Vec::new(), Vec::new());
        Results { size, contenders, loads, left_out: Vec::new(), runs: Vec::new() }
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

/// Sees to it that the files can be written in the end, before hours are spent.
///
/// # Errors
/// Where one can't.
pub fn check_files(args: &Args) -> Result<()> {
    let json = args.json.as_deref().filter(|path| *path != Path::new("-"));
    for path in json.into_iter().chain(args.plot.as_deref()) {
        let opened = fs::File::options().append(true).create(true).open(path);
        opened.with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// Shows it all; whether there is nothing to complain about, where that is asked for.
///
/// # Errors
/// Where a file can't be written.
pub fn show(args: &Args, results: &Results) -> Result<bool> {
    let claims = claims::all(results);
    let document = json::document(results, &claims)?;
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => print!("{document}"),
        path => {
            print!("{}", table::tables(results, &claims, &json::machine_line()));
            if let Some(path) = path {
                fs::write(path, document)
                    .with_context(|| format!("can't write {}", path.display()))?;
            }
        }
    }
    if let Some(path) = &args.plot {
        plot::draw(results, path).with_context(|| format!("can't draw {}", path.display()))?;
    }
    Ok(!args.check || !claims::is_any_missed(&claims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::usage::Used;

    /// A run of a MB that took so many seconds of processor time.
    pub fn run(collector: &'static str, load: &str, round: u32, cpu_s: f64) -> Run {
        let used = Used { processes: 1, cpu_s, ..Used::default() };
        let load = load.to_string();
        Run { collector, load, round, vms: 10, bytes: 1_000_000, used, ..Run::default() }
    }

    /// Results of these runs.
    pub fn results(runs: Vec<Run>) -> Results {
        let mut results = Results::new(Size { scale: 1.0, guest_kbps: 300, quick: false });
        for run in &runs {
            if results.contenders.iter().all(|known| known.name != run.collector) {
                let version = String::new();
                results.contenders.push(Contender { name: run.collector, version });
            }
            if results.loads.iter().all(|known| known.name != run.load) {
                results.loads.push(Named { name: run.load.clone(), about: String::new() });
            }
        }
        results.runs = runs;
        results
    }
}
