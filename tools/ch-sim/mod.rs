//! ch-sim: a stand-in for Cloud Hypervisor (CH) that needs no KVM.
//!
//! It has CH's command line, HTTP API and serial socket with the quirks that were measured on the
//! real one, for one VM or for a fleet of thousands in one process. The guest is a script, the
//! words of the kernel command line say what it prints, so a test can tell byte for byte what
//! must be in a log: the ledger says which bytes were handed over, `transcript` makes them anew.
//!
//! Read in this order: `script` (what a guest prints), `ledger` and `transcript` (what became of
//! it), `serial` (the serial socket, most of the quirks), `guest`, `vmm` (one VM's life), `api`,
//! `event_loop`.
//!
//! A lone VMM has threads of the names that CH's have, for who looks at /proc (`threads`); a fleet,
//! one process for many VMs, has none of them.
//!
//! How long a console was without a client is in the ledger: `ch-sim --verify LEDGER LOG...` prints
//! the median and the longest time from an end of stream to the next client that was accepted.
//!
//! **Invariant:** one thread does all work, one poll, no unsafe code, and nothing here uses the
//! seriald library: what judges it must not share its errors.

use std::ffi::OsString;
use std::process::ExitCode;

pub mod api;
pub mod args;
pub mod config;
pub mod console;
pub mod event_loop;
pub mod fleet;
pub mod guest;
pub mod http;
pub mod http_server;
pub mod instance;
pub mod ledger;
pub mod line;
pub mod listener;
pub mod refusal;
pub mod release;
pub mod script;
pub mod serial;
pub mod snapshot;
pub mod threads;
pub mod transcript;
pub mod vmm;

use args::{Args, Job};

/// Runs ch-sim with the arguments after the program's (or the subcommand's) name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let job = match Args::parse(args) {
        Ok(job) => job,
        Err(message) => {
            eprintln!("ch-sim: {message}\nTry 'ch-sim --help'.");
            return ExitCode::from(2);
        }
    };
    let done = match job {
        Job::Print(text) => {
            println!("{text}");
            Ok(())
        }
        Job::Verify { ledger, logs } => transcript::verify_files(&ledger, &logs),
        Job::Run(args) => fleet::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ch-sim: {message}");
            ExitCode::FAILURE
        }
    }
}
