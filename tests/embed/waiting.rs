//! When the loop sleeps, seen through a world that notes every sleep and every wait.

use std::cell::RefCell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use seriald::config::AfterRotate;
use seriald::env::Sockets;
use seriald::env::os::OsEnv;
use seriald::{Config, EventKind, Reactor};

use super::noting::{Noting, Pauses, noted_loop};
use super::support::embedded::{Peer, spec};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

/// A loop that has just moved a few bytes, its pauses so far forgotten, and what keeps its VM printing.
fn busy_loop(
    dir: &Path,
    coalesce: Duration,
) -> (Reactor<Noting>, Rc<RefCell<Pauses>>, (Peer, UnixStream)) {
    busy_with(dir, coalesce, b"busy\n")
}

fn busy_with(
    dir: &Path,
    coalesce: Duration,
    bytes: &[u8],
) -> (Reactor<Noting>, Rc<RefCell<Pauses>>, (Peer, UnixStream)) {
    let (mut reactor, pauses) = noted_loop(Config { coalesce, ..Config::default() });
    let spec = spec("a", dir, 1 << 20);
    let peer = Peer::at(&spec.serial);
    reactor.adopt(spec).expect("adopted");
    let mut client = None;
    wait_until(PATIENCE, "a client", || {
        reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
        client = client.take().or_else(|| peer.listener.accept().ok());
        client.is_some()
    });
    let (mut client, _) = client.expect("a client");
    client.write_all(bytes).expect("room");
    wait_until(PATIENCE, "the bytes", || {
        reactor.turn(Some(Duration::ZERO)).expect("a turn").read_bytes > 0
    });
    *pauses.borrow_mut() = Pauses::default();
    (reactor, pauses, (peer, client))
}

#[test]
fn a_turn_with_no_time_to_wait_never_sleeps_also_after_a_busy_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::from_secs(1));
    for _ in 0..100 {
        reactor.turn(Some(Duration::ZERO)).expect("a turn");
    }
    assert_eq!(pauses.borrow().sleeps, []);
    assert_eq!(pauses.borrow().waits, vec![Some(Duration::ZERO); 100]);
}

#[test]
fn a_read_that_the_kernel_has_no_memory_for_is_tried_again_and_ends_no_console() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, peer) = busy_loop(dir.path(), Duration::from_millis(1));
    pauses.borrow_mut().reads_without_memory = 20;
    let (_, mut client) = peer;
    client.write_all(b"more\n").expect("room");
    wait_until(PATIENCE, "the bytes", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn").read_bytes > 0
    });
    assert_eq!(pauses.borrow().reads_without_memory, 0);
    let paused = |wait: &&Option<Duration>| wait.is_none_or(|wait| !wait.is_zero());
    let pauses = pauses.borrow().waits.iter().filter(paused).count();
    assert!(pauses >= 20, "it spins: {pauses} pauses in 20 attempts");
    let vm = reactor.vms().next().expect("the VM");
    let status = reactor.status(vm).expect("a status");
    assert_eq!((status.state, status.connects, status.read_bytes), ("streaming", 1, 10));
}

#[test]
fn a_socket_that_was_full_is_read_again_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let full = OsEnv::new().and_then(|mut os| os.messages_that_fill()).expect("a number");
    for (bytes, sleeps) in [(full, 0), (full - 1, 1)] {
        let home = dir.path().join(bytes.to_string());
        std::fs::create_dir(&home).expect("a directory");
        let (mut reactor, pauses, _peer) =
            busy_with(&home, Duration::from_secs(1), &vec![b'x'; bytes]);
        reactor.turn(Some(Duration::from_millis(2))).expect("a turn");
        assert_eq!(pauses.borrow().sleeps.len(), sleeps, "{bytes} bytes");
    }
}

#[test]
fn after_a_busy_turn_the_loop_lets_bytes_gather_once_and_no_longer_than_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::from_secs(1));
    reactor.turn(Some(Duration::from_millis(2))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps.len(), 1);
    assert_eq!(pauses.borrow().waits, [Some(Duration::ZERO)], "the wait was slept");
    reactor.turn(Some(Duration::from_millis(2))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps.len(), 1, "the turn before moved nothing");
}

#[test]
fn where_coalescing_is_off_the_loop_never_sleeps() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::ZERO);
    reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps, []);
}

#[test]
fn the_loops_own_settings_may_change_while_it_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::from_secs(1));
    reactor.set_config(Config { coalesce: Duration::ZERO, ..Config::default() });
    reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
    assert_eq!(pauses.borrow().sleeps, []);
}

#[test]
fn a_streaming_vm_that_is_silent_needs_no_wake_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::ZERO);
    // Its log has bytes, so that only its age is ahead: a day, less the jitter.
    reactor.turn(Some(Duration::from_secs(0))).expect("a turn");
    let ahead = reactor.next_wake().expect("the log's age");
    assert!(ahead > Duration::from_secs(60 * 60 * 12), "{ahead:?}");
    assert_eq!(pauses.borrow().waits.len(), 1);
}

#[test]
fn a_launch_without_a_connection_in_time_fails_ends_its_vmm_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut launch = Vmm::sim("v53").launch("a", dir.path(), "lines=1");
    launch.vm.dial_timeout = Some(Duration::from_millis(200));
    let (serial, api) = (launch.vm.serial.clone(), launch.vm.api.clone().expect("an API path"));
    let world = OsEnv::new().expect("a world");
    let noting = Noting { world, pauses: Rc::default(), absent: Some(serial.clone()) };
    let mut reactor = Reactor::with_env(Config::default(), noting).expect("a loop");
    let vm = reactor.launch(launch).expect("it begins");
    let mut reason = None;
    wait_until(PATIENCE, "its end", || {
        reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
        while let Some(event) = reactor.next_event() {
            if let EventKind::Closed(why) = event.kind {
                reason = Some(why.to_string());
            }
        }
        reactor.status(vm).is_none()
    });
    let why = "launch failed: connection to the serial socket: none in 0.2 s";
    assert_eq!(reason.as_deref(), Some(why));
    assert!(!serial.exists() && !api.exists(), "a path is left");
}

#[test]
fn a_command_that_cannot_be_started_for_want_of_descriptors_waits_and_has_not_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut reactor, pauses, _peer) = busy_loop(dir.path(), Duration::ZERO);
    pauses.borrow_mut().starts_refused = 2;
    let vm = reactor.find("a").expect("in charge");
    let mut spec = reactor.spec(vm).expect("in charge");
    spec.log.after_rotate =
        Some(AfterRotate { command: vec!["cat".into()], suffix: ".cat".into() });
    reactor.reconfigure(vm, spec).expect("valid");
    reactor.rotate(vm);
    let packed = dir.path().join("a.log.1.cat");
    let mut turns = 0;
    wait_until(PATIENCE, "the packed backup", || {
        turns += 1;
        reactor.turn(None).expect("a turn");
        packed.exists()
    });
    let (stats, pauses) = (reactor.stats(), pauses.borrow());
    assert_eq!((stats.packed, stats.after_rotate_failures, pauses.starts_refused), (1, 0, 0));
    // It was slept in between, not asked again and again.
    let a_second = Duration::from_millis(500)..=Duration::from_secs(1);
    let slept = pauses.waits.iter().flatten().filter(|wait| a_second.contains(wait)).count();
    assert!(slept >= 2 && turns < 20, "{slept} of {turns} turns");
    assert!(!dir.path().join("a.log.packing").exists());
}
