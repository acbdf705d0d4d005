//! What a person types: the command line, one file a subcommand.
//!
//! Owns what is printed and the exit codes: 0 done, 1 failed, 2 not understood, 128 and a signal's
//! number.
//! **Invariant:** the library beneath never prints.

mod asking;
mod attach;
mod completions;
mod config_file;
mod control_keys;
#[cfg(feature = "demo")]
mod demo;
mod handover;
mod launch;
mod launch_file;
mod log;
mod logs;
mod metrics_keys;
mod notice;
mod roster;
mod run;
mod service;
mod snapshot;
mod supervise;
mod terminal;
mod top;
mod upgrade;
mod vm_arg;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

const ABOUT: &str = "Owns the serial consoles of Cloud Hypervisor VMs: one thread, one log per VM.

Exit codes: 0 done, 1 failed, 2 the command line was not understood, 128 and a signal's number: it
ended by that. RUST_LOG (as in RUST_LOG=debug) says how much is logged on stderr.";

#[derive(Parser)]
#[command(name = "seriald", version, about = ABOUT, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Launch(launch::Args),
    Snapshot(snapshot::Args),
    Log(log::Args),
    Supervise(supervise::Args),
    Upgrade(upgrade::Args),
    Ls(asking::ls::Args),
    Top(top::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Events(asking::events::Args),
    Rotate(asking::each::Rotate),
    Shutdown(asking::each::Shutdown),
    Reboot(asking::each::Reboot),
    Adopt(asking::adopt::Args),
    Release(asking::each::Release),
    Completions(completions::Args),
    #[cfg(feature = "demo")]
    Demo(demo::Args),
}

/// Why a subcommand did not do what it was asked to.
#[derive(Debug)]
enum Failure {
    /// The command line asks for what there isn't: exit code 2.
    Usage(String),
    /// It was tried and failed: exit code 1.
    Failed(String),
    /// It failed and has said why already: exit code 1.
    Told,
    /// A signal of this number ended it: exit code 128 and that, as of a shell's.
    Signal(u8),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(why) | Failure::Failed(why) => f.write_str(why),
            Failure::Told => f.write_str("failed"),
            Failure::Signal(number) => write!(f, "ended by signal {number}"),
        }
    }
}

impl Failure {
    fn failed(why: impl fmt::Display) -> Failure {
        Failure::Failed(why.to_string())
    }
}

/// Runs the command line.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(predecessor) = handover::Predecessor::of_this_process() {
                complain(predecessor.give_back("the command line is not understood"));
            }
            return not_understood(&error);
        }
    };
    let done = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Launch(args) => launch::launch(args),
        Command::Snapshot(args) => snapshot::snapshot(args),
        Command::Log(args) => log::log(&args),
        Command::Supervise(args) => supervise::supervise(args),
        Command::Upgrade(args) => upgrade::upgrade(&args),
        Command::Ls(args) => asking::ls::ls(&args),
        Command::Top(args) => top::top(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Attach(args) => attach::attach(&args),
        Command::Events(args) => asking::events::events(&args),
        Command::Shutdown(args) => asking::each::shutdown(&args),
        Command::Reboot(args) => asking::each::reboot(&args),
        Command::Rotate(args) => asking::each::rotate(&args),
        Command::Adopt(args) => asking::adopt::adopt(&args),
        Command::Release(args) => asking::each::release(&args),
        Command::Completions(args) => completions::completions(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(&args),
    };
    exit_code(done)
}

/// Whether this program understands the state that a predecessor has on standard input.
pub fn check_state() -> ExitCode {
    exit_code(handover::check_state())
}

fn exit_code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) if OUTPUT_LOST.load(Ordering::Relaxed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            complain(why);
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            complain(why);
            ExitCode::FAILURE
        }
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(Failure::Signal(number)) => ExitCode::from(128_u8.saturating_add(number)),
    }
}

/// Prints clap's help to stdout, its complaints to stderr in our words.
fn not_understood(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        say(error.render().to_string().trim_end());
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(2)
}

/// A line for stdout could not be written: the exit code then says so.
static OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// Prints a line to stdout; a reader that has gone away (`| head`) is no error.
fn say(line: impl fmt::Display) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}")
        && error.kind() != std::io::ErrorKind::BrokenPipe
        && !OUTPUT_LOST.swap(true, Ordering::Relaxed)
    {
        complain(format_args!("cannot write to stdout: {error}"));
    }
}

/// Prints an error to stderr. If nobody reads that, VMs still have to be left in order: no panic.
fn complain(why: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "seriald: {why}");
}

/// Logs to stderr: this level and above, unless RUST_LOG says otherwise.
fn log_from(level: &str) {
    let filter = env_logger::Env::default().default_filter_or(level);
    // A second start (in a test) changes nothing.
    let _ = env_logger::Builder::from_env(filter).format_target(false).try_init();
}
