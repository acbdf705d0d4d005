//! The binary `ch-sim`: a stand-in for Cloud Hypervisor.
//!
//! **Invariant:** nothing is decided here; `mod.rs` is the program, which seriald includes too.

use std::process::ExitCode;

#[path = "mod.rs"]
mod ch_sim;
#[cfg(test)]
#[path = "../../src/fuzz.rs"]
mod fuzz;
#[cfg(test)]
mod http_tests;

fn main() -> ExitCode {
    ch_sim::main(std::env::args_os().skip(1))
}
