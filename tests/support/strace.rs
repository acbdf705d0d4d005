//! strace, which fails or holds the system calls of a process.
//!
//! **Invariant:** a tracer that is gone has let go of its process, which runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::Process;
use super::skip;
use super::wait::{PATIENCE, wait_until};

/// A tracer at work.
pub struct Tracer {
    pub process: Process,
    log: PathBuf,
}

/// strace, where this machine has it and lets it trace.
pub fn allowed() -> Option<PathBuf> {
    let strace = skip::program("strace")?;
    let mut probe = Command::new(&strace);
    let probe = probe.args(["-qq", "-e", "trace=none", "true"]).stdin(Stdio::null()).output();
    let probe = probe.expect("strace starts");
    match probe.status.success() {
        true => Some(strace),
        false => skip::needs("ptrace", String::from_utf8_lossy(&probe.stderr).trim()),
    }
}

impl Tracer {
    /// Attaches to a process; what `args` ask for holds once this returns.
    pub fn attach(strace: &Path, dir: &Path, name: &str, pid: u32, args: &[String]) -> Tracer {
        let pid_too = ["-p".to_owned(), pid.to_string()];
        let mut tracer = Tracer::run(strace, dir, name, &[args, &pid_too].concat());
        wait_until(PATIENCE, "the tracer", || {
            assert!(tracer.process.is_running(), "{}", tracer.process.output());
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|status| !status.contains("TracerPid:\t0"))
        });
        tracer
    }

    /// Starts strace with these arguments, the last of which may be a command to trace.
    pub fn run(strace: &Path, dir: &Path, name: &str, args: &[String]) -> Tracer {
        let log = dir.join(format!("{name}.trace"));
        let mut command = Command::new(strace);
        command.args(["-qq", "-o"]).arg(&log).args(args);
        let process = Process::start(name, dir, &mut command);
        Tracer { process, log }
    }

    /// The calls so far, one a line.
    pub fn calls(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How many calls have got a result that was made up.
    pub fn injected(&self) -> usize {
        self.calls().matches("(INJECTED)").count()
    }

    /// Lets the process go.
    pub fn detach(mut self) {
        // It ends by the signal, once all are let go of.
        self.process.terminate_and_wait();
    }
}
