//! `seriald supervise`: keeps the consoles of a collector that crashes, and starts it again.
//!
//! Owns when it is started, and what is told of that.
//! **Invariant:** does nothing else: without a message, a signal or an end there is no wake-up.

use crate::cli::{Failure, complain, log_from};
use seriald::env::os::supervisor::{Happened, Supervisor};
use seriald::env::{Exit, Moment, ProcessSignal, Signal};
use seriald::handover::notify::Heard;
use seriald::handover::restarts::{After, Restarts};
use seriald::limits;
use std::ffi::OsString;

/// Run a collector so that its crash costs no byte: for hosts without systemd.
///
/// Starts `seriald run ...`, keeps a copy of every console's descriptor (the sd_notify protocol's
/// descriptor store), and starts the collector again, with them, if it is killed or fails: at once
/// the first time, then with a growing wait (up to 250 ms, or to 5 s where it does not come up). It
/// gives up after ten starts in a row that came to nothing, and then leaves every console in order.
///
/// Signals are passed on: SIGTERM and SIGINT end both, SIGHUP, SIGUSR1 and SIGUSR2 are the
/// collector's. The exit code is the collector's.
///
/// Under systemd this is not needed: FileDescriptorStoreMax= does the same.
///
/// Example: seriald supervise -- run --config /etc/seriald.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// `run` and its arguments.
    #[arg(required = true, last = true, value_name = "RUN ARGUMENTS")]
    command: Vec<OsString>,
}

/// Runs the subcommand.
pub fn supervise(args: Args) -> Result<(), Failure> {
    if args.command[0] != "run" {
        let word = args.command[0].to_string_lossy();
        let why = format!(
            "`supervise -- {word}`: only `run` can be supervised: a launched VMM \
                           has its launcher for a parent"
        );
        return Err(Failure::Usage(why));
    }
    log_from("info");
    // The path, not the program: what is installed there later is taken at the next start.
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("cannot tell this program's path: {error}")))?;
    let command: Vec<OsString> = std::iter::once(program.into()).chain(args.command).collect();
    let mut supervisor = Supervisor::new().map_err(Failure::failed)?;
    let ended = keep_running(&mut supervisor, &command);
    let bytes = supervisor.leave_all(limits::LEAVE_DEADLINE);
    if bytes > 0 {
        complain(format_args!("supervise: {bytes} bytes of consoles that were left are in no log"));
    }
    match ended? {
        0 => Ok(()),
        2 => {
            Err(Failure::Usage("supervise: the collector's command line is not understood".into()))
        }
        _ => Err(Failure::Told),
    }
}

/// Returns the exit code, once the collector is not to be started again.
fn keep_running(supervisor: &mut Supervisor, command: &[OsString]) -> Result<u8, Failure> {
    let mut restarts = Restarts::default();
    let mut start_at = Some(Moment::ZERO);
    loop {
        let now = supervisor.now();
        if start_at.is_some_and(|at| at <= now) {
            restarts.on_start(now);
            start_at = None;
            if let Err(error) = supervisor.start(command) {
                log::warn!("the collector cannot be started: {error}");
                match restarts.on_exit(Exit::Unknown, now) {
                    After::End(code) => return Ok(code),
                    After::Restart(at) => start_at = Some(at),
                }
            }
        }
        let limit = start_at.map(|at| at.saturating_sub(now));
        for happened in supervisor.wait(limit).map_err(Failure::failed)? {
            match happened {
                Happened::Said(said, descriptors) => {
                    let heard = Heard::of(&said);
                    if heard.ready {
                        restarts.on_ready();
                    }
                    // As systemd has it.
                    let name = heard.name.as_deref().unwrap_or("stored");
                    if heard.remove {
                        supervisor.drop_kept(name);
                    }
                    for descriptor in descriptors.into_iter().filter(|_| heard.store) {
                        supervisor.keep(name, descriptor);
                    }
                }
                Happened::Signal(signal) => {
                    if signal == ProcessSignal::End {
                        restarts.on_end_wanted();
                        if start_at.is_some() {
                            return Ok(1);
                        }
                    }
                    supervisor.signal(passed_on(signal));
                }
                Happened::Ended(exit) => match restarts.on_exit(exit, supervisor.now()) {
                    After::End(code) => {
                        if code != 0 {
                            complain(format_args!("supervise: the collector has ended ({exit})"));
                        }
                        return Ok(code);
                    }
                    After::Restart(at) => {
                        let kept = supervisor.kept();
                        log::warn!(
                            "the collector has ended ({exit}): started again, {kept} \
                                    descriptors were kept"
                        );
                        start_at = Some(at);
                    }
                },
            }
        }
    }
}

fn passed_on(signal: ProcessSignal) -> Signal {
    match signal {
        ProcessSignal::End => Signal::Terminate,
        ProcessSignal::Hangup => Signal::Hangup,
        ProcessSignal::User1 => Signal::User1,
        ProcessSignal::User2(_) => Signal::User2,
    }
}
