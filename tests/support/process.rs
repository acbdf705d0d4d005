//! A child process that can't outlive its test.
//!
//! **Invariant:** dropped means killed and reaped; if the test fails so is all that it has started,
//! and what it printed is shown.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::family::{self, Family};
use super::wait::{PATIENCE, wait_for};

/// A running program, its standard output and error captured in a file.
pub struct Process {
    name: String,
    child: Child,
    family: Family,
    output: PathBuf,
}

impl Process {
    /// Starts `command` without standard input; its output goes to `dir/NAME.output`.
    pub fn start(name: &str, dir: &Path, command: &mut Command) -> Process {
        let output = dir.join(format!("{name}.output"));
        let file = File::create(&output).expect("a file for a child's output");
        let file_too = file.try_clone().expect("a second descriptor of it");
        command.stdin(Stdio::null()).stdout(file).stderr(file_too);
        let family = Family::of(command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { name: name.to_owned(), child, family, output }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far, on standard output and error.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Has it not ended yet?
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child's status").is_none()
    }

    /// Waits until it ends by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let child = &mut self.child;
        wait_for(PATIENCE, &what, || child.try_wait().expect("a child's status"))
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate_and_wait(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit()
    }

    /// Sends the signal with that name (without `SIG`), which the process must be there to get.
    pub fn signal(&mut self, name: &str) {
        assert!(self.is_running(), "{} ended before SIG{name}", self.name);
        signal(self.child.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A supervisor takes its child along only if it may end in order.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let pid = self.child.id().to_string();
            let _ = Command::new("kill").arg(pid).stderr(Stdio::null()).status();
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline && self.child.try_wait().is_ok_and(|e| e.is_none()) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            // VMMs that it has launched outlive it; a test that goes well ends them in order.
            self.family.kill();
            eprintln!("--- output of {}:\n{}---", self.name, self.output());
        }
    }
}

/// Sends a signal by its name (without `SIG`) to a process that is there.
pub fn signal(pid: u32, name: &str) {
    // The shell's own kill: there is no safe call for it in std.
    run_to_success(Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]));
}

/// The process that another has started, a supervisor or a tracer; `None` while there is none.
pub fn child_of(parent: u32) -> Option<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    fs::read_to_string(path).expect("it runs").split(' ').next()?.parse().ok()
}

/// Runs a short command to its end.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    family::output(command.stdin(Stdio::null()), PATIENCE)
}

/// Runs a short command and panics with its output unless it succeeds.
pub fn run_to_success(command: &mut Command) {
    let ended = output(command);
    assert!(
        ended.status.success(),
        "{command:?}: {}\n{}{}",
        ended.status,
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
}
