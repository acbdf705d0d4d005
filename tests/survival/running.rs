//! `seriald run` over a fleet, started in every way that a test needs.
//!
//! **Invariant:** half of the VMs rotate by rename, half by copytruncate, all often.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::fleets::Fleet;
use super::support::process::Process;

pub const SERIALD: &str = env!("CARGO_BIN_EXE_seriald");

/// Writes the configuration for a fleet.
pub fn configure(dir: &Path, fleet: &Fleet) -> PathBuf {
    let vms = fleet.homes.iter().enumerate().map(|(n, home)| -> Value {
        let mode = if n % 2 == 0 { "copytruncate" } else { "rename" };
        json!({"dir": home, "log": {"mode": mode}})
    });
    let vms: Vec<Value> = vms.collect();
    let config = json!({"log": {"max_bytes": 16384, "keep": 1000}, "vms": vms});
    let file = dir.join("seriald.json");
    fs::write(&file, config.to_string()).expect("a configuration");
    file
}

/// `program run` over a fleet.
pub fn run(program: &Path, dir: &Path, fleet: &Fleet) -> Process {
    let file = configure(dir, fleet);
    Process::start("seriald", dir, Command::new(program).arg("run").arg("--config").arg(file))
}

/// `seriald supervise -- run` over a fleet.
pub fn supervise(dir: &Path, fleet: &Fleet) -> Process {
    let file = configure(dir, fleet);
    let mut command = Command::new(SERIALD);
    command.args(["supervise", "--", "run", "--config"]).arg(file);
    Process::start("supervise", dir, &mut command)
}

/// Bytes in all logs so far, read while rotations go on: about so many.
pub fn logged(fleet: &Fleet) -> u64 {
    let dirs = fleet.homes.iter().filter_map(|home| fs::read_dir(home.join("logs")).ok());
    let files = dirs.flatten().filter_map(|entry| entry.ok()?.metadata().ok());
    files.map(|file| file.len()).sum()
}

/// The process that a supervisor runs; `None` between two of them.
pub fn child_of(supervisor: u32) -> Option<u32> {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    fs::read_to_string(path).expect("it runs").split(' ').next()?.parse().ok()
}
