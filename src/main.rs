//! The binary: arguments in, exit code out.

mod cli;
#[cfg(test)]
mod fuzz;

// The simulated Cloud Hypervisor, so that `seriald demo` needs no second executable.
#[cfg(feature = "demo")]
#[path = "../tools/ch-sim/mod.rs"]
mod ch_sim;

use std::env::args_os;
use std::process::ExitCode;

fn main() -> ExitCode {
    // It has Cloud Hypervisor's command line, which is not for our parser.
    #[cfg(feature = "demo")]
    if args_os().nth(1).is_some_and(|word| word == "ch-sim") {
        return ch_sim::main(args_os().skip(2));
    }
    // A predecessor asks, which may be of another version: no part of the command line.
    if args_os().nth(1).is_some_and(|word| word == "--check-state") {
        return cli::check_state();
    }
    cli::main(args_os())
}
