//! A restart of the collector is no boot of the guest.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use seriald::log::boot::heads;
use seriald::log::record::{Record, What};

use super::running::{SERIALD, child_of};
use super::support::process::{Process, signal};
use super::support::wait::{PATIENCE, wait_for, wait_until};

fn kept(dir: &Path) -> Vec<String> {
    let file = fs::read(dir.join("a.log.boot")).unwrap_or_default();
    heads(&file).iter().map(|head| String::from_utf8_lossy(head.bytes).into_owned()).collect()
}

fn logged(dir: &Path) -> String {
    fs::read_to_string(dir.join("a.log")).unwrap_or_default()
}

/// One VM that prints this much before what `restart` does to its collector, more after it, and
/// then reboots.
fn restarted(command: &[&str], before: &str, restart: impl Fn(&Process)) {
    let dir = tempfile::tempdir().expect("a directory");
    let (dir, serial) = (dir.path(), dir.path().join("a.sock"));
    let listener = UnixListener::bind(&serial).expect("a listener");
    let log = json!({"path": dir.join("a.log"), "keep_boot_head": 1000});
    let config = json!({"vms": [{"id": "a", "serial": serial, "log": log}]});
    fs::write(dir.join("seriald.json"), config.to_string()).expect("a configuration");
    let mut seriald = Command::new(SERIALD);
    seriald.args(command).args(["run", "--config"]).arg(dir.join("seriald.json"));
    let seriald = Process::start("seriald", dir, &mut seriald);
    let (mut client, _) = listener.accept().expect("a client");
    client.write_all(before.as_bytes()).expect("room");
    wait_until(PATIENCE, "the connection", || {
        fs::read_to_string(dir.join("a.log.events")).is_ok_and(|all| all.contains("connected"))
    });
    wait_until(PATIENCE, "the first bytes", || logged(dir) == before);
    restart(&seriald);
    client.write_all(b" goes on").expect("room");
    let one = format!("{before} goes on");
    wait_until(PATIENCE, "the next bytes", || logged(dir) == one);
    // What still grew ends there; what had not begun begins.
    let head = if before.is_empty() { " goes on" } else { before };
    assert_eq!(kept(dir), [head], "{}", seriald.output());
    fs::remove_file(&serial).expect("the path");
    let listener = UnixListener::bind(&serial).expect("a listener");
    drop(client);
    let (mut client, _) = listener.accept().expect("a client");
    client.write_all(b"two").expect("room");
    wait_until(PATIENCE, "the next boot", || logged(dir) == format!("{one}two"));
    assert_eq!(kept(dir), [head, "two"], "{}", seriald.output());
    let events = fs::read(dir.join("a.log.events")).expect("an events file");
    let boots = Record::decode_all(&events).filter(|record| record.what == What::Boot);
    assert_eq!(boots.count(), if before.is_empty() { 3 } else { 2 });
    // As CH does it: it answers our end with its own.
    drop(client);
    drop(seriald);
}

fn upgrade(seriald: &Process) {
    let pid = seriald.id().to_string();
    let upgraded = Command::new(SERIALD).args(["upgrade", "--pid", &pid]).output();
    assert!(upgraded.expect("it runs").status.success(), "{}", seriald.output());
}

fn kill_child(supervisor: &Process) {
    let child = wait_for(PATIENCE, "a child", || child_of(supervisor.id()));
    signal(child, "KILL");
    wait_until(PATIENCE, "the next", || supervisor.output().contains("kept over the restart"));
}

#[test]
fn an_upgrade_is_no_boot() {
    restarted(&[], "one", upgrade);
}

#[test]
fn a_crash_whose_streams_are_kept_is_no_boot() {
    restarted(&["supervise", "--"], "one", kill_child);
}

#[test]
fn a_boot_that_had_printed_nothing_is_kept_after_an_upgrade_too() {
    restarted(&[], "", upgrade);
}

#[test]
fn a_boot_that_had_printed_nothing_is_kept_after_a_crash_too() {
    restarted(&["supervise", "--"], "", kill_child);
}
