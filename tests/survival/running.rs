//! `seriald run` over a fleet, started in every way that a test needs.
//!
//! **Invariant:** half of the VMs rotate by rename, half by copytruncate, all often.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::fleets::Fleet;
use super::support::process::Process;

pub use super::support::process::child_of;

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
    fleet.homes.iter().map(|home| logged_by(home)).sum()
}

/// The same of one instance directory.
pub fn logged_by(home: &Path) -> u64 {
    let dir = fs::read_dir(home.join("logs")).ok();
    let entries = dir.into_iter().flatten().flatten();
    let entries = entries.filter(|entry| entry.path().extension().is_none_or(|e| e != "events"));
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// A supervised collector of one VM, and the VM's side of its stream.
pub fn one_vm(dir: &Path, program: &Path) -> (Process, UnixListener, UnixStream) {
    let serial = dir.join("a.sock");
    let listener = UnixListener::bind(&serial).expect("a listener");
    let vms = json!({"vms": [{"id": "a", "serial": serial, "log": dir.join("a.log")}]});
    fs::write(dir.join("seriald.json"), vms.to_string()).expect("a configuration");
    let mut command = Command::new(program);
    command.args(["supervise", "--", "run", "--config"]).arg(dir.join("seriald.json"));
    let supervisor = Process::start("supervise", dir, &mut command);
    let (client, _) = listener.accept().expect("a client");
    client.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
    (supervisor, listener, client)
}
