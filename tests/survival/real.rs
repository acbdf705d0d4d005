//! The same with real guests, where `CLOUD_HYPERVISOR` names a real VMM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::running::{SERIALD, child_of, logged_by};
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::process::{Process, run_to_success, signal};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_for, wait_until};

/// Real guests share two cores with all else.
const GUESTS: usize = 6;
const ROUNDS: u64 = 50;

/// Guests that print without end, and the homes in which a supervised seriald keeps their logs.
fn printing(dir: &Path, vmm: &Vmm) -> (Process, Vec<Process>, Vec<PathBuf>) {
    let homes: Vec<PathBuf> = (0..GUESTS).map(|n| dir.join(format!("vm{n}"))).collect();
    for home in &homes {
        fs::create_dir(home).expect("an instance directory");
    }
    let vm = |(n, dir): (usize, &PathBuf)| -> Value {
        let mode = if n % 2 == 0 { "copytruncate" } else { "rename" };
        json!({"dir": dir, "log": {"mode": mode}})
    };
    let vms: Vec<Value> = homes.iter().enumerate().map(vm).collect();
    let config = json!({"log": {"max_bytes": 16384, "keep": 1000}, "vms": vms});
    fs::write(dir.join("seriald.json"), config.to_string()).expect("a configuration");
    let mut command = Command::new(SERIALD);
    command.args(["supervise", "--", "run", "--config"]).arg(dir.join("seriald.json"));
    let supervisor = Process::start("supervise", dir, &mut command);
    wait_until(PATIENCE, "the start", || supervisor.output().contains("in charge"));
    let boot = |home: &PathBuf| {
        let name = home.file_name().expect("a name").to_string_lossy().into_owned();
        Process::start(&name, dir, &mut vmm.by_itself(home, "lines=0"))
    };
    let guests = homes.iter().map(boot).collect();
    (supervisor, guests, homes)
}

/// Bytes in each log and its backups, read while rotations go on: about so many.
fn sizes(homes: &[PathBuf]) -> Vec<u64> {
    homes.iter().map(|home| logged_by(home)).collect()
}

/// Waits until every guest's log has grown by a few lines: none of them stands still.
fn all_go_on(homes: &[PathBuf], before: &[u64]) {
    wait_until(PATIENCE, "output of every guest", || {
        sizes(homes).iter().zip(before).all(|(now, before)| *now > before + 300)
    });
}

fn assert_nothing_is_missing(homes: &[PathBuf]) {
    for home in homes {
        let log = home.join("logs/app.log");
        let found = whole(&log);
        let lines = found.iter().filter(|byte| **byte == b'\n').count() as u32 + 2;
        let mut truth = expected_output(lines);
        truth.truncate(found.len());
        assert_same(&found, &truth, &log.display().to_string());
    }
}

fn survives(disturb: impl Fn(&Process, u64)) {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(vmm) = Vmm::real(dir.path()) else { return };
    let (mut supervisor, mut guests, homes) = printing(dir.path(), &vmm);
    all_go_on(&homes, &[0; GUESTS]);
    for round in 0..ROUNDS {
        let before = sizes(&homes);
        disturb(&supervisor, round);
        all_go_on(&homes, &before);
    }
    let said = supervisor.output();
    assert_eq!(said.matches("possible loss").count(), 0, "{said}");
    assert_eq!(said.matches("another client").count(), 0, "{said}");
    for guest in &mut guests {
        guest.signal("TERM");
    }
    for guest in &mut guests {
        guest.wait_for_exit();
    }
    assert!(supervisor.terminate_and_wait().success());
    assert_nothing_is_missing(&homes);
}

#[test]
fn fifty_kills_lose_and_double_no_byte_of_real_guests() {
    survives(|supervisor, round| {
        let child = wait_for(PATIENCE, "a child", || child_of(supervisor.id()));
        std::thread::sleep(std::time::Duration::from_micros(round * 7919 % 20_000));
        signal(child, "KILL");
        wait_for(PATIENCE, "the next", || child_of(supervisor.id()).filter(|next| *next != child));
    });
}

#[test]
fn fifty_upgrades_lose_and_double_no_byte_of_real_guests() {
    survives(|supervisor, _| {
        let mut upgrade = Command::new(SERIALD);
        upgrade.args(["upgrade", "--pid", &supervisor.id().to_string()]);
        run_to_success(&mut upgrade);
    });
}
