//! One loop hands its VMs to another in the same process, at a step that a test chooses.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use seriald::env::Descriptor;
use seriald::env::os::OsEnv;
use seriald::handover::state::State;
use seriald::log::Rotation;
use seriald::{Config, EventKind, LogSpec, Reactor, RotateMode, Seriald, VmId, VmSpec};

use super::support::embedded::{Loop, Peer, read_to_end, send, spec};
use super::support::logs::{assert_whole, generations};
use super::support::wait::PATIENCE;

/// The next program's loop, and those VMs that it could not take over.
fn successor(state: State) -> (Seriald, Vec<String>) {
    let env = OsEnv::with_origin(state.origin).expect("a world");
    let mut reactor = Reactor::with_env(Config::default(), env).expect("a loop");
    let refused = reactor.take_over(state);
    (reactor, refused)
}

/// What the next program of this process would do: the old loop is forgotten, not dropped.
fn hand_over(mut turns: Loop) -> Loop {
    assert_eq!(turns.reactor.unsettled(), None);
    let written = turns.reactor.save().expect("a state").encode().expect("as JSON");
    let (mut reactor, refused) = successor(State::parse(&written).expect("read back"));
    assert_eq!(refused, Vec::<String>::new());
    // What was told before the end of the last turn is heard yet.
    while let Some(event) = turns.reactor.next_event() {
        turns.events.push(event);
    }
    std::mem::swap(&mut turns.reactor, &mut reactor);
    std::mem::forget(reactor);
    turns
}

/// A loop that has one VM, connected to its peer; its log, and the peer's side of its stream.
fn connected(dir: &Path) -> (Loop, PathBuf, Peer, UnixStream) {
    let spec = spec("a", dir, 4096);
    let log = spec.log.path.clone();
    let peer = Peer::at(&spec.serial);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec).expect("adopted");
    let client = peer.accept(&mut turns);
    (turns, log, peer, client)
}

fn only_vm(turns: &Loop) -> VmId {
    turns.reactor.vms().next().expect("a VM")
}

#[test]
fn a_stream_and_its_log_go_on_at_the_same_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut turns, log, _peer, mut client) = connected(dir.path());
    let mut truth = Vec::new();
    for round in 0..20 {
        let piece = format!("{round} {}\n", "x".repeat(1000)).into_bytes();
        send(&mut turns, &mut client, &piece);
        truth.extend_from_slice(&piece);
        // Some of it is read by the one loop, the rest by the other.
        turns = hand_over(turns);
    }
    let vm = only_vm(&turns);
    turns.turn_until_read(vm, truth.len() as u64 - 1);
    let status = turns.reactor.status(vm).expect("in charge");
    assert_eq!((status.read_bytes, status.connects), (truth.len() as u64, 1));
    assert!(status.log_counters.rotations >= 4);
    // Each was counted and told once, by whichever loop did it.
    let told = turns.events.iter().map(|event| match event.kind {
        EventKind::Rotated(times) => times,
        _ => 0,
    });
    assert_eq!(told.sum::<u64>(), status.log_counters.rotations);
    assert_eq!(turns.reactor.stats().rotations, status.log_counters.rotations);
    turns.reactor.release(vm);
    read_to_end(&mut turns, &mut client);
    drop(client);
    assert_eq!(turns.turn_until_closed(vm), "released");
    assert_whole(&log, &truth);
}

#[test]
fn a_limit_holds_after_a_handover_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut spec = spec("a", dir.path(), 1 << 20);
    spec.log.rate_bytes = Some(1000);
    let peer = Peer::at(&spec.serial);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec).expect("adopted");
    let mut client = peer.accept(&mut turns);
    turns = hand_over(turns);
    let vm = only_vm(&turns);
    send(&mut turns, &mut client, &[b'x'; 50_000]);
    turns.turn_until_read(vm, 49_999);
    let counters = turns.reactor.status(vm).expect("in charge").log_counters;
    assert!(counters.lost_rate_limit > 0);
    assert_eq!(counters.written_bytes + counters.lost_bytes, 50_000);
    turns = hand_over(turns);
    let after = turns.reactor.status(only_vm(&turns)).expect("in charge").log_counters;
    assert_eq!(after.lost_rate_limit, counters.lost_rate_limit);
    turns.reactor.release(only_vm(&turns));
    read_to_end(&mut turns, &mut client);
}

#[test]
fn another_client_is_recognised_after_a_handover_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut turns, _log, peer, mut client) = connected(dir.path());
    send(&mut turns, &mut client, b"heard\n");
    turns = hand_over(turns);
    let vm = only_vm(&turns);
    // As Cloud Hypervisor does when another one connects; the path stays as it is.
    drop(client);
    let _again = peer.accept(&mut turns);
    turns
        .turn_until("the displacement", |this| this.count(vm, |k| *k == EventKind::Displaced) == 1);
    assert_eq!(turns.reactor.status(vm).map(|status| status.displaced), Some(1));
}

/// A log of several slices whose copy has begun, and its VM.
fn in_the_midst_of_a_copy(dir: &Path) -> (Loop, Vec<u8>, Peer, UnixStream) {
    let line = b"a line that was there before\n";
    let truth = line.repeat(5 * 1024 * 1024 / line.len());
    let path = dir.join("a.log");
    std::fs::write(&path, &truth).expect("a log");
    let log = LogSpec { mode: RotateMode::CopyTruncate, ..LogSpec::new(path) };
    let spec = VmSpec::new("a", dir.join("a.sock"), log);
    let peer = Peer::at(&spec.serial);
    let mut turns = Loop::new();
    let vm = turns.reactor.adopt(spec).expect("adopted");
    let client = peer.accept(&mut turns);
    assert!(turns.reactor.rotate(vm));
    let state = turns.reactor.save().expect("a state");
    assert!(matches!(state.vms[0].log.rotation, Rotation::Copying { .. }), "{state:?}");
    (turns, truth, peer, client)
}

#[test]
fn a_copy_under_way_is_gone_on_with_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut turns, mut truth, _peer, mut client) = in_the_midst_of_a_copy(dir.path());
    let mut slices = Vec::new();
    while let Rotation::Copying { copied } =
        turns.reactor.save().expect("a state").vms[0].log.rotation
    {
        slices.push(copied);
        client.write_all(b"and one that came meanwhile\n").expect("sent");
        truth.extend_from_slice(b"and one that came meanwhile\n");
        turns = hand_over(turns);
        turns.reactor.turn(Some(std::time::Duration::ZERO)).expect("a turn");
    }
    assert!(slices.len() >= 3 && slices.is_sorted(), "{slices:?}");
    let vm = only_vm(&turns);
    turns.turn_until("the rotation", |this| {
        this.reactor.status(vm).is_some_and(|s| s.log_counters.rotations == 1)
    });
    client.write_all(b"the end\n").expect("sent");
    truth.extend_from_slice(b"the end\n");
    turns.turn_until("all of it", |_| {
        std::fs::read(dir.path().join("a.log")).is_ok_and(|log| log.ends_with(b"the end\n"))
    });
    let log = dir.path().join("a.log");
    assert_whole(&log, &truth);
    assert_eq!(generations(&log).len(), 2);
    drop(client);
}

#[test]
fn the_lock_of_a_log_is_kept_all_the_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = spec("a", dir.path(), 4096);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec.clone()).expect("adopted");
    let mut turns = hand_over(turns);
    let mut other = Loop::new();
    let refused = other.reactor.adopt(spec.clone()).expect_err("it is another's");
    assert!(refused.to_string().contains("another"), "{refused}");
    let vm = only_vm(&turns);
    turns.reactor.release(vm);
    turns.turn_until_closed(vm);
    other.reactor.adopt(spec).expect("free again");
}

#[test]
fn a_vm_whose_descriptors_are_no_more_is_dialed_and_its_log_opened_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut turns, log, peer, mut first) = connected(dir.path());
    send(&mut turns, &mut first, b"one\n");
    let vm = only_vm(&turns);
    turns.turn_until_read(vm, 3);
    let mut state = turns.reactor.save().expect("a state");
    drop(turns);
    let none = 1 << 20;
    let vm = &mut state.vms[0];
    // Each of them: the numbers of those that were closed may be other tests' by now.
    (vm.log.file, vm.log.dir) = (none, none);
    vm.stream.as_mut().expect("a stream").descriptor = none;
    vm.vmm.as_mut().expect("its process").descriptor = none;
    let none_left = state.descriptors().iter().all(|number| *number == none);
    assert!(none_left, "{state:?}");
    let mut turns = Loop::new();
    assert_eq!(turns.reactor.take_over(state), Vec::<String>::new());
    let mut client = peer.accept(&mut turns);
    send(&mut turns, &mut client, b"two\n");
    let vm = only_vm(&turns);
    turns.turn_until_read(vm, 7);
    assert_whole(&log, b"one\ntwo\n");
}

#[test]
fn the_console_of_a_vm_that_can_not_be_taken_over_is_left_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (turns, _, _peer, mut client) = connected(dir.path());
    let mut state = turns.reactor.save().expect("a state");
    // Its log is no open file, and no other can be opened in its place.
    std::fs::write(dir.path().join("file"), "").expect("a file");
    let log = &mut state.vms[0].log;
    (log.path, log.file) = (dir.path().join("file/app.log"), Descriptor::MAX);
    let (reactor, refused) = successor(state);
    std::mem::forget(turns);
    assert!(refused.len() == 1 && reactor.is_empty(), "{refused:?}");
    client.set_read_timeout(Some(PATIENCE)).expect("a limit");
    assert_eq!(client.read(&mut [0; 8]).expect("an end, in time"), 0);
}
