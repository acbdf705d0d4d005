//! What a service manager hears of `seriald run`; a test stands in its place.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::running::SERIALD;
use super::support::process::Process;
use super::support::wait::{PATIENCE, wait_for};

/// A service manager's socket, and all that it has heard.
struct Hearer {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Hearer {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        Hearer { socket, heard: Vec::new() }
    }

    /// Waits for a message with this in it; returns it.
    fn hear(&mut self, what: &str) -> String {
        wait_for(PATIENCE, what, || {
            let mut datagram = [0; 4096];
            let n = self.socket.recv(&mut datagram).ok()?;
            let message = String::from_utf8(datagram[..n].to_vec()).expect("text");
            self.heard.push(message.clone());
            message.contains(what).then_some(message)
        })
    }
}

fn run(dir: &Path, more: &[(&str, &str)]) -> Process {
    let serial = dir.join("a.sock");
    let vms = json!({"vms": [{"id": "a", "serial": serial, "log": dir.join("a.log")}]});
    let config = dir.join("seriald.json");
    fs::write(&config, vms.to_string()).expect("a configuration");
    let mut command = Command::new(SERIALD);
    command.arg("run").arg("--config").arg(config).env("NOTIFY_SOCKET", dir.join("notify"));
    Process::start("seriald", dir, command.envs(more.iter().copied()))
}

#[test]
fn the_manager_is_told_from_the_start_to_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manager = Hearer::at(&dir.path().join("notify"));
    let listener = UnixListener::bind(dir.path().join("a.sock")).expect("a listener");
    let mut seriald = run(dir.path(), &[("WATCHDOG_USEC", "100000")]);
    assert_eq!(manager.hear("READY=1"), "READY=1");
    manager.hear("STATUS=1 VMs, 1 streaming");
    for _ in 0..3 {
        assert_eq!(manager.hear("WATCHDOG=1"), "WATCHDOG=1");
    }
    drop(listener);
    seriald.signal("TERM");
    manager.hear("STOPPING=1");
    assert!(seriald.wait_for_exit().success());
    assert!(!manager.heard.iter().any(|m| m.contains("FDSTORE")), "it offers no store");
}

#[test]
fn the_watchdog_of_another_process_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manager = Hearer::at(&dir.path().join("notify"));
    let mut seriald = run(dir.path(), &[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", "1")]);
    manager.hear("READY=1");
    manager.hear("STATUS=1 VMs, 0 streaming");
    seriald.signal("TERM");
    manager.hear("STOPPING=1");
    assert!(!manager.heard.iter().any(|m| m.contains("WATCHDOG")), "{:?}", manager.heard);
}

#[test]
fn a_stream_is_stored_before_it_is_connected_and_removed_once_it_was_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manager = Hearer::at(&dir.path().join("notify"));
    // Nobody listens yet: the stream is stored all the same, once.
    let listener = UnixListener::bind(dir.path().join("a.sock")).expect("a listener");
    let mut seriald = run(dir.path(), &[("FDSTORE", "100")]);
    let memory = manager.hear("FDNAME=state\nFDPOLL=0");
    assert!(memory.starts_with("FDSTORE=1\n"));
    assert_eq!(manager.hear("FDSTORE=1"), "FDSTORE=1\nFDNAME=s0\nFDPOLL=0");
    let (client, _) = listener.accept().expect("a client");
    drop((client, listener));
    assert_eq!(manager.hear("FDSTOREREMOVE=1"), "FDSTOREREMOVE=1\nFDNAME=s0");
    seriald.signal("TERM");
    assert_eq!(manager.hear("FDSTOREREMOVE=1\nFDNAME=state"), "FDSTOREREMOVE=1\nFDNAME=state");
    assert!(seriald.wait_for_exit().success());
    assert!(!seriald.output().contains("no descriptor store"));
}

#[test]
fn a_manager_that_hears_nothing_holds_nobody_up_and_no_message_overtakes_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manager = Hearer::at(&dir.path().join("notify"));
    // So often alive that its socket is full at once.
    let mut seriald = run(dir.path(), &[("FDSTORE", "100"), ("WATCHDOG_USEC", "2000")]);
    // It has long begun to wait for room when the stream is to be stored.
    std::thread::sleep(Duration::from_millis(200));
    let listener = UnixListener::bind(dir.path().join("a.sock")).expect("a listener");
    std::thread::sleep(Duration::from_millis(100));
    // It listens again: what waited comes in order, and only then the stream is connected.
    manager.hear("READY=1");
    manager.hear("FDNAME=s0");
    let (client, _) = listener.accept().expect("a client");
    seriald.signal("TERM");
    drop(client);
    manager.hear("STOPPING=1");
    assert!(seriald.wait_for_exit().success());
    let at = |what: &str| manager.heard.iter().position(|m| m.contains(what)).expect("heard");
    assert!(at("FDNAME=state") < at("READY=1"));
    assert!(at("READY=1") < at("FDSTORE=1\nFDNAME=s0"));
}

#[test]
fn a_manager_that_is_gone_costs_a_warning_and_no_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manager = Hearer::at(&dir.path().join("notify"));
    let mut seriald = run(dir.path(), &[("FDSTORE", "100")]);
    manager.hear("READY=1");
    drop(manager);
    let listener = UnixListener::bind(dir.path().join("a.sock")).expect("a listener");
    let (mut client, _) = listener.accept().expect("a client");
    std::io::Write::write_all(&mut client, b"all is well\n").expect("sent");
    let log = dir.path().join("a.log");
    wait_for(PATIENCE, "the line", || fs::read(&log).ok().filter(|log| log == b"all is well\n"));
    drop((client, listener));
    assert!(seriald.terminate_and_wait().success());
    assert_eq!(seriald.output().matches("the service manager is gone").count(), 1);
}

#[test]
fn a_reload_is_told_at_its_begin_and_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut manager = Hearer::at(&dir.path().join("notify"));
    let mut seriald = run(dir.path(), &[]);
    manager.hear("READY=1");
    seriald.signal("HUP");
    let reloading = manager.hear("RELOADING=1");
    let moment = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("when it began");
    let uptime = fs::read_to_string("/proc/uptime").expect("a clock");
    let uptime: f64 = uptime.split(' ').next().expect("seconds").parse().expect("a number");
    // CLOCK_MONOTONIC: the time since the boot, as long as the machine did not sleep.
    assert!(moment.parse::<u64>().expect("a number") <= (uptime * 1e6) as u64 + 1_000_000);
    assert_eq!(manager.hear("READY=1"), "READY=1");
    // One that is wrong ends too.
    fs::write(dir.path().join("seriald.json"), "{").expect("a bad configuration");
    seriald.signal("HUP");
    wait_for(PATIENCE, "the complaint", || seriald.output().contains("not reloaded").then_some(()));
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    seriald.signal("TERM");
    manager.hear("STOPPING=1");
    assert!(seriald.wait_for_exit().success());
}
