//! Many simulated VMs in one process, and what each handed over.
//!
//! **Invariant:** the truth is each VM's own ledger, read after the fleet has ended.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::account::assert_all_accounted_for;
use super::support::guest::expected_output;
use super::support::logs::{assert_no_hole, assert_same, whole};
use super::support::process::Process;

/// A running ch-sim with its instance directories.
#[allow(dead_code, reason = "not every test waits for its end")]
pub struct Fleet {
    pub process: Process,
    pub homes: Vec<PathBuf>,
    version: &'static str,
}

impl Fleet {
    /// Starts `vms` guests of this command line, each once its first client is there; the process
    /// ends when all have ended. `pace`: `--flat-out`, or `--rate` and bytes/s.
    pub fn start(
        version: &'static str,
        dir: &Path,
        vms: usize,
        pace: &[&str],
        cmdline: &str,
    ) -> Self {
        let mut command = Command::new("sh");
        // Its sockets need descriptors: the soft limit goes up to the hard one.
        command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_ch-sim")).args(["--as", version]);
        command.args(pace).args(["--boot-on-connect", "--until-done"]);
        command.args(["--fleet", &vms.to_string(), "--cmdline", cmdline, "--dir"]).arg(dir);
        let process = Process::start("ch-sim", dir, &mut command);
        let homes = (0..vms).map(|n| dir.join(format!("vm-{n:04}"))).collect();
        Fleet { process, homes, version }
    }

    /// Every log is, to the byte, what its VM handed over.
    pub fn assert_logs_are_as_handed_over(&self) {
        for home in &self.homes {
            let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
            let log = home.join("logs/app.log");
            let came = transcript::bytes(&ledger);
            assert_same(&whole(&log), &came, &log.display().to_string());
            assert_no_hole(&log);
            assert_all_accounted_for(&log, came.len());
        }
    }

    /// The same of guests that printed so many lines: v52, which has no ring, hands over all.
    pub fn assert_logs_are_whole(&self, lines: u32) {
        self.assert_logs_are_as_handed_over();
        for home in self.homes.iter().filter(|_| self.version == "v52") {
            let log = home.join("logs/app.log");
            assert_same(&whole(&log), &expected_output(lines), &log.display().to_string());
        }
    }
}
