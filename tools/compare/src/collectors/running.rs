//! A collector that runs: its processes.
//!
//! Owns them.
//! **Invariant:** they end with it, whatever happens.

use super::Collector;
use crate::interrupt;
use crate::loads::Load;
use crate::measure::proc;
use crate::measure::usage::Usage;
use crate::site::Site;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take to end when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);
/// It is at rest once it has used less than half a millisecond in so long.
const REST: Duration = Duration::from_millis(50);
/// How long it may take to come to rest.
const REST_PATIENCE: Duration = Duration::from_secs(30);

/// A collector's processes.
pub struct Running {
    children: Vec<Child>,
    said: PathBuf,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// Where a process can't be started.
    pub fn start(collector: &dyn Collector, site: &Site, load: &Load) -> Result<Running> {
        let said = site.path().join("said");
        let output = File::create(&said).with_context(|| said.display().to_string())?;
        let mut running = Running { children: Vec::new(), said };
        for mut command in collector.commands(site, load)? {
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
            // Each leads a group of its own, by which its children are reached when it is gone.
            let child = command.process_group(0).spawn();
            let program = command.get_program().display().to_string();
            running.children.push(child.with_context(|| format!("can't start {program}"))?);
        }
        Ok(running)
    }

    /// All of its processes, as they are now.
    pub fn pids(&self) -> Vec<i32> {
        let roots: Vec<i32> =
            self.children.iter().filter_map(|child| i32::try_from(child.id()).ok()).collect();
        proc::family(&roots)
    }

    /// # Errors
    /// Once one of those that were started has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                bail!("it has ended by itself: {status}");
            }
        }
        Ok(())
    }

    /// Waits until it is busy no more.
    ///
    /// # Errors
    /// Where it doesn't come to rest.
    pub fn wait_for_rest(&mut self) -> Result<()> {
        let deadline = Instant::now() + REST_PATIENCE;
        loop {
            let before = Usage::of(&self.pids());
            thread::sleep(REST);
            if before.until_now().cpu_s < 0.0005 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("it is still busy {REST_PATIENCE:?} after it has connected");
            }
            self.check_alive()?;
            interrupt::check()?;
        }
    }

    /// The last line that it said, for an error's sake.
    pub fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        said.lines().next_back().unwrap_or("nothing").to_string()
    }

    /// Ends it: all that it said.
    pub fn stop(mut self) -> String {
        self.end();
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    fn end(&mut self) {
        let signal = |child: &Child, signal| {
            // A group that is gone has nobody to be told.
            let _ = i32::try_from(child.id()).map(|pid| killpg(Pid::from_raw(pid), signal));
        };
        self.children.iter().for_each(|child| signal(child, Signal::SIGTERM));
        let deadline = Instant::now() + PATIENCE;
        for child in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = child.kill();
                }
                thread::sleep(Duration::from_millis(2));
            }
            // conserver's children outlive it.
            signal(child, Signal::SIGKILL);
        }
        self.children.clear();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
