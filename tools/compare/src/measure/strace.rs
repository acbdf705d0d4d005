//! Every system call of a collector, as strace counts them.
//!
//! Owns the strace process.
//! **Invariant:** a traced run is never a timed one: each call then costs two stops.

use super::proc;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long strace may take to attach to every thread, and to write its account.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the table of `strace -c`: calls by name. An empty text is no call at all.
fn table(text: &str) -> Option<BTreeMap<String, u64>> {
    let rows = text.lines().filter(|line| line.split_whitespace().nth(3).is_some());
    let rows =
        rows.filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
    rows.map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        Some((fields.last()?.to_string(), fields.get(3)?.parse().ok()?))
    })
    .filter(|row| row.as_ref().is_none_or(|(name, _)| name != "total"))
    .collect()
}

/// strace, attached to every thread of some processes.
pub struct Strace {
    process: Child,
    table: PathBuf,
}

impl Strace {
    /// Whether there is a strace to run.
    pub fn is_there() -> bool {
        let mut strace = Command::new("strace");
        strace.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
        strace.status().is_ok_and(|status| status.success())
    }

    /// Attaches to these processes; returns once every thread of theirs is traced.
    ///
    /// # Errors
    /// Where strace can't be run, or may not trace them.
    pub fn attach(pids: &[i32], dir: &Path) -> Result<Strace> {
        let table = dir.join("strace.table");
        let complaints = dir.join("strace.stderr");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(&table);
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        let stderr = File::create(&complaints).context("strace's stderr")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut process = command.spawn().context("strace")?;
        let deadline = Instant::now() + PATIENCE;
        while !pids.iter().all(|pid| is_traced(*pid)) {
            if process.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = process.kill();
                let said = fs::read_to_string(&complaints).unwrap_or_default();
                bail!("strace can't attach: {}", said.lines().next_back().unwrap_or("no reason"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Strace { process, table })
    }

    /// Detaches: calls by name since it was attached.
    ///
    /// # Errors
    /// Where strace fails, or writes what is not understood.
    pub fn detach(mut self) -> Result<BTreeMap<String, u64>> {
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGINT)?;
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                let _ = self.process.kill();
                bail!("strace doesn't end");
            }
            thread::sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(&self.table).unwrap_or_default();
        table(&text).with_context(|| format!("strace wrote what is not understood: {text}"))
    }
}

fn is_traced(pid: i32) -> bool {
    let threads = proc::threads(pid);
    !threads.is_empty() && threads.iter().all(|thread| thread.tracer != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_and_without_errors_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             88.00    0.000100          10        10         2 read\n\
             12.00    0.000010           1         5           epoll_wait\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             100.00    0.000110           7        15         2 total\n";
        let expected = BTreeMap::from([("read".to_string(), 10), ("epoll_wait".to_string(), 5)]);
        assert_eq!(table(text), Some(expected));
    }

    #[test]
    fn no_call_is_an_empty_table_and_nonsense_none() {
        assert_eq!(table(""), Some(BTreeMap::new()));
        assert_eq!(table("1 2 3 many read\n"), None);
    }
}
