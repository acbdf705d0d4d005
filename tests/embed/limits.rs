//! Limits that change while a VM is in charge, and logs that are looked at on request.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use seriald::VmId;
use seriald::reactor::ReconfigureError;

use super::support::embedded::{Loop, Peer, spec};

fn rotations(turns: &Loop, vm: VmId) -> u64 {
    turns.reactor.status(vm).expect("in charge").log_counters.rotations
}

#[test]
fn new_limits_hold_from_the_next_byte_on_and_the_console_stays_connected() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = spec("a", dir.path(), 1 << 20);
    let peer = Peer::at(&spec.serial);
    let vm = turns.reactor.adopt(spec.clone()).expect("adopted");
    let mut client = peer.accept(&mut turns);
    client.write_all(&[b'x'; 3000]).expect("room");
    turns.turn_until_read(vm, 2999);
    assert_eq!(rotations(&turns, vm), 0);

    spec.log.max_bytes = 1024;
    spec.log.keep = 2;
    spec.log.file_mode = 0o600;
    turns.reactor.reconfigure(vm, spec.clone()).expect("valid");
    let mode = fs::metadata(&spec.log.path).expect("the log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    client.write_all(&[b'y'; 3000]).expect("room");
    turns.turn_until_read(vm, 5999);
    assert_eq!(rotations(&turns, vm), 3);
    turns.turn_until("two backups", |_| !dir.path().join("a.log.dropped").exists());
    assert!(dir.path().join("a.log.2").exists() && !dir.path().join("a.log.3").exists());
    assert_eq!(turns.reactor.status(vm).expect("in charge").connects, 1);

    // Fewer backups: those that are too many go.
    spec.log.keep = 1;
    turns.reactor.reconfigure(vm, spec).expect("valid");
    turns.turn_until("one backup", |_| !dir.path().join("a.log.2").exists());
    assert!(dir.path().join("a.log.1").exists());
}

#[test]
fn limits_that_are_wrong_or_another_path_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), 1 << 20);
    let vm = turns.reactor.adopt(spec.clone()).expect("adopted");
    let mut moved = spec.clone();
    moved.log.path = dir.path().join("b.log");
    let error = turns.reactor.reconfigure(vm, moved).expect_err("another path");
    assert!(matches!(error, ReconfigureError::Moved), "{error}");
    let mut wrong = spec.clone();
    wrong.log.max_bytes = 1;
    let error = turns.reactor.reconfigure(vm, wrong).expect_err("too small");
    assert!(matches!(error, ReconfigureError::Spec(_)), "{error}");
    let mut no_group = spec.clone();
    no_group.log.group = Some("no-such-group".into());
    no_group.log.file_mode = 0o600;
    let error = turns.reactor.reconfigure(vm, no_group).expect_err("no group");
    assert!(matches!(error, ReconfigureError::Log(_)), "{error}");
    let mode = fs::metadata(&spec.log.path).expect("the log").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(turns.reactor.spec(vm), Some(spec.clone()));
    turns.reactor.release(vm);
    turns.turn_until_closed(vm);
    let error = turns.reactor.reconfigure(vm, spec).expect_err("gone");
    assert!(matches!(error, ReconfigureError::Gone), "{error}");
}

#[test]
fn a_first_connection_may_be_given_a_time_limit_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = spec("a", dir.path(), 1 << 20);
    let vm = turns.reactor.adopt(spec.clone()).expect("adopted");
    turns.turn_until("waiting", |this| this.reactor.next_wake().is_none());
    spec.dial_timeout = Some(Duration::from_millis(20));
    turns.reactor.reconfigure(vm, spec).expect("valid");
    let reason = turns.turn_until_closed(vm);
    assert!(reason.contains("no connection in time"), "{reason}");
}
