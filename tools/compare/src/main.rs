//! `compare`: one command that runs the same load against seriald and its rivals in turn.
//!
//! Owns nothing.
//! **Invariant:** seriald is not linked: it is the binary that all run, measured from outside.

mod args;
mod collectors;
mod guests;
mod interrupt;
mod limits;
mod loads;
mod measure;
mod report;
mod rounds;
mod run;
mod site;

use args::{Args, Part};
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.part {
        Some(Part::Loop { sleep_us, list }) => {
            collectors::floor::run(list, Duration::from_micros(*sleep_us)).map(|()| true)
        }
        None => rounds::compare(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
