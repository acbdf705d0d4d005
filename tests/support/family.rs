//! A process that a test has started, and all that it has started in its turn.
//!
//! **Invariant:** known by a word in their environment, which a child inherits whatever its group or
//! its parent: a VMM outlives the seriald that has launched it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The variable.
const NAME: &str = "SERIALD_TEST_FAMILY";

/// Their word.
pub struct Family(String);

impl Family {
    /// Of a command that is about to be started.
    pub fn of(command: &mut Command) -> Family {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The end keeps 1 from being the beginning of 10.
        let word = format!("{}-{number}.", std::process::id());
        command.env(NAME, &word);
        Family(word)
    }

    /// Those who run.
    pub fn pids(&self) -> Vec<u32> {
        let wanted = format!("{NAME}={}", self.0);
        let is_one = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        let entries = Path::new("/proc").read_dir().expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(is_one).collect()
    }

    /// Kills them all, and whom they start meanwhile.
    pub fn kill(&self) {
        // One that is killed may be a zombie for a while, which has no environment any more.
        for _ in 0..10 {
            let pids: Vec<String> = self.pids().iter().map(u32::to_string).collect();
            if pids.is_empty() {
                return;
            }
            let _ = Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status();
        }
    }
}

/// Runs a command to its end. One that takes longer than this is killed, and fails the test.
#[track_caller]
pub fn output(command: &mut Command, patience: Duration) -> Output {
    let family = Family::of(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    end(child, &family, patience)
}

/// Waits for the end of a process whose output is piped. One that takes longer than this is killed,
/// and fails the test.
#[track_caller]
pub fn end(child: Child, family: &Family, patience: Duration) -> Output {
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let is_late = match ended.recv_timeout(patience) {
        Ok(output) => return output.expect("its output"),
        Err(late) => late,
    };
    family.kill();
    panic!("not ended within {patience:?}: {is_late}: {:?}", ended.recv_timeout(patience));
}
