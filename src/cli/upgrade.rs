//! `seriald upgrade`: tells a running seriald to go on as the program that lies at its path now.
//!
//! Owns the wait for its answer.
//! **Invariant:** a process that would be ended by the signal never gets it.

use crate::cli::{Failure, handover, say};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// How long the answer may take: three questions of 10 s, and a minute for what is under way.
const PATIENCE: Duration = Duration::from_secs(100);

/// Upgrade a running seriald in place: no VM sees it.
///
/// Install the new program at the path of the running one first (by a rename, as packages do).
/// The running process then has the new one check itself, its configuration and a copy of its
/// state, and runs it in its own place: pid, consoles, logs, rotations under way and launched VMMs
/// stay as they are. If a check fails, or the new program can't go on, the old one does.
///
/// The exit code is 0 if the new program runs, 1 if the old one goes on; the reason is told.
/// SIGUSR2 does the same, its outcome is in the log.
///
/// Example: seriald upgrade --pid "$(systemctl show -p MainPID --value seriald)"
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The running seriald (run or launch), or its `seriald supervise`.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(2..))]
    pid: u32,
}

/// Runs the subcommand.
pub fn upgrade(args: &Args) -> Result<(), Failure> {
    let pid = child_of_supervisor(args.pid)?.unwrap_or(args.pid);
    check_it_takes_the_signal(pid)?;
    let us = handover::address_of(std::process::id());
    let socket = us.and_then(|address| UnixDatagram::bind_addr(&address));
    let socket = socket.map_err(|error| Failure::Failed(format!("socket: {error}")))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(Failure::failed)?;
    seriald::env::os::send_upgrade_signal(pid)
        .map_err(|error| Failure::Failed(format!("process {pid}: cannot be signalled: {error}")))?;
    let mut answer = [0; 4096];
    let outcome = match socket.recv(&mut answer) {
        Ok(n) => String::from_utf8_lossy(&answer[..n]).into_owned(),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            let within = PATIENCE.as_secs();
            let why = format!("process {pid}: no answer in {within} s; its log says more");
            return Err(Failure::Failed(why));
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    match outcome.strip_prefix("done: ") {
        Some(done) => {
            say(format_args!("process {pid}: {done}"));
            Ok(())
        }
        None => Err(Failure::Failed(format!("process {pid}: upgrade {outcome}"))),
    }
}

/// `seriald supervise` passes signals on, but not who sent them.
fn child_of_supervisor(pid: u32) -> Result<Option<u32>, Failure> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).map_err(|error| {
        let what = if error.kind() == ErrorKind::NotFound { "there is none" } else { "unknown" };
        Failure::Failed(format!("process {pid}: {what} ({error})"))
    })?;
    if command.split(|byte| *byte == 0).nth(1) != Some(b"supervise") {
        return Ok(None);
    }
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let first = children.ok().and_then(|all| all.split(' ').next()?.parse().ok());
    let none = || Failure::Failed(format!("process {pid}: it supervises nothing just now"));
    first.ok_or_else(none).map(Some)
}

/// A seriald that can be upgraded has SIGUSR2 blocked, to read it; others would be ended by it.
fn check_it_takes_the_signal(pid: u32) -> Result<(), Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(Failure::failed)?;
    let field = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    const SIGUSR2: u32 = 12;
    let blocked = u64::from_str_radix(&field("SigBlk"), 16).unwrap_or(0);
    if blocked & 1 << (SIGUSR2 - 1) == 0 {
        let name = field("Name");
        let way_out = "give the pid of a running `seriald run` or `seriald launch`";
        let why = format!("process {pid} ({name}) is no seriald that can be upgraded: {way_out}");
        return Err(Failure::Failed(why));
    }
    Ok(())
}
