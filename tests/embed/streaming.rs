//! A byte's way from a socket to a log, and a stream's ends.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use seriald::{EventKind, OnExit, VmId};
use tempfile::TempDir;

use super::support::embedded::{Loop, Peer, read_to_end, send, spec};
use super::support::guest::expected_output;
use super::support::logs::{assert_same, assert_whole, generations};

fn numbered(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("line {n:06} of the guest\n").into_bytes()).collect()
}

/// A loop that dials one VM, its log, and the peer that it dials.
fn adopted(max_bytes: u64) -> (TempDir, Loop, PathBuf, Peer, VmId) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), max_bytes);
    let (log, peer) = (spec.log.path.clone(), Peer::at(&spec.serial));
    let vm = turns.reactor.adopt(spec).expect("adopted");
    (dir, turns, log, peer, vm)
}

#[test]
fn every_byte_is_in_the_log_over_many_rotations() {
    let (_dir, mut turns, log, peer, vm) = adopted(4096);
    let mut client = peer.accept(&mut turns);
    let truth = numbered(4000);
    send(&mut turns, &mut client, &truth);
    turns.turn_until("the whole log", |this| {
        this.reactor.status(vm).is_some_and(|s| s.read_bytes == truth.len() as u64)
    });
    assert_whole(&log, &truth);
    let pieces = generations(&log);
    assert!(pieces.len() > 20, "{} generations", pieces.len());
    assert!(pieces.iter().all(|piece| piece.len() <= 4096));
    assert!(pieces.iter().all(|piece| piece.last().is_none_or(|byte| *byte == b'\n')));
    assert_eq!(turns.reactor.stats().read_bytes, truth.len() as u64);
}

#[test]
fn a_reboot_is_dialed_anew_and_the_log_goes_on() {
    let (_dir, mut turns, log, mut peer, vm) = adopted(1 << 20);
    let mut truth = Vec::new();
    for boot in 0..20 {
        let mut client = peer.accept(&mut turns);
        let text = format!("boot {boot}\n").into_bytes();
        client.write_all(&text).expect("room");
        truth.extend(text);
        peer.bind_anew();
    }
    let _last = peer.accept(&mut turns);
    turns.turn_until("all connections", |this| {
        this.reactor.status(vm).is_some_and(|status| status.connects == 21)
    });
    assert_whole(&log, &truth);
    assert_eq!(turns.count(vm, |kind| *kind == EventKind::Disconnected), 20);
    assert_eq!(turns.count(vm, |kind| *kind == EventKind::Displaced), 0);
}

#[test]
fn what_lies_in_the_socket_before_the_end_of_stream_is_in_the_log() {
    let (_dir, mut turns, log, peer, vm) = adopted(1 << 20);
    let mut client = peer.accept(&mut turns);
    let truth = numbered(3000);
    let big = &truth[..100_000.min(truth.len())];
    client.set_nonblocking(false).expect("a blocking client");
    client.write_all(&big[..60_000]).expect("room");
    drop(client);
    turns.turn_until("the end", |this| {
        this.events.iter().any(|e| e.vm == vm && e.kind == EventKind::Disconnected)
    });
    assert_whole(&log, &big[..60_000]);
}

#[test]
fn a_displaced_stream_is_told_and_taken_back() {
    let (_dir, mut turns, _log, peer, vm) = adopted(1 << 20);
    drop(peer.accept(&mut turns));
    let _taken_back = peer.accept(&mut turns);
    turns.turn_until("the word of it", |this| {
        this.events.iter().any(|e| e.vm == vm && e.kind == EventKind::Displaced)
    });
    assert_eq!(turns.reactor.stats().displaced, 1);
}

#[test]
fn a_tail_that_the_vmm_holds_back_is_fetched_by_a_new_connection_in_order() {
    let (_dir, mut turns, log, peer, vm) = adopted(1 << 20);
    let mut first = peer.accept(&mut turns);
    let truth = numbered(100);
    // As CH does: one byte a message until the socket is full, and the rest kept.
    first.set_nonblocking(true).expect("a non-blocking client");
    let mut sent = 0;
    while sent < truth.len() && first.write(&truth[sent..=sent]).is_ok() {
        sent += 1;
    }
    assert!(sent < truth.len(), "{sent} messages did not fill the socket");
    let mut second = peer.accept(&mut turns);
    // The new client has what comes later, and the old one still gets a few bytes before it is
    // shut down: those come first.
    let rest = sent + 50;
    second.write_all(&truth[rest..]).expect("room");
    for _ in 0..20 {
        turns.reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
    }
    first.write_all(&truth[sent..rest]).expect("room");
    assert_eq!(turns.reactor.stats().tail_dials, 1);
    first.shutdown(std::net::Shutdown::Both).expect("displaced");
    turns.turn_until("the tail", |this| {
        this.reactor.status(vm).is_some_and(|s| s.read_bytes == truth.len() as u64)
    });
    assert_whole(&log, &truth);
    assert_eq!(turns.count(vm, |kind| *kind == EventKind::Disconnected), 0);
}

#[test]
fn an_end_behind_a_full_socket_is_told_as_a_possible_loss() {
    let (_dir, mut turns, _log, peer, vm) = adopted(1 << 20);
    let mut client = peer.accept(&mut turns);
    client.set_nonblocking(true).expect("a non-blocking client");
    while client.write(b"x").is_ok() {}
    drop(client);
    turns.turn_until("the end", |this| {
        this.events.iter().any(|e| e.vm == vm && e.kind == EventKind::Disconnected)
    });
    assert_eq!(turns.count(vm, |kind| *kind == EventKind::UpstreamLossPossible), 1);
    assert_eq!(turns.reactor.stats().upstream_loss_possible, 1);
}

#[test]
fn a_release_half_closes_reads_to_the_end_and_then_closes() {
    let (_dir, mut turns, log, peer, vm) = adopted(1 << 20);
    let mut client = peer.accept(&mut turns);
    turns.turn_until_state(vm, "streaming");
    client.write_all(b"before, ").expect("room");
    assert!(turns.reactor.release(vm));
    assert!(turns.reactor.release(vm), "asking again changes nothing");
    assert_eq!(read_to_end(&mut turns, &mut client), b"");
    client.write_all(b"and after the half-close\n").expect("our side still reads");
    drop(client);
    assert_eq!(turns.turn_until_closed(vm), "released");
    assert!(!turns.reactor.release(vm), "it is gone");
    assert_whole(&log, b"before, and after the half-close\n");
}

#[test]
fn a_release_that_is_never_answered_ends_all_the_same() {
    let (_dir, mut turns, _log, peer, vm) = adopted(1 << 20);
    let _never_answers = peer.accept(&mut turns);
    turns.turn_until_state(vm, "streaming");
    turns.reactor.release(vm);
    assert!(turns.turn_until_closed(vm).contains("did not end the stream"));
}

#[test]
fn a_dropped_loop_leaves_its_consoles_in_order() {
    let (_dir, mut turns, log, peer, vm) = adopted(1 << 20);
    let mut client = peer.accept(&mut turns);
    turns.turn_until_state(vm, "streaming");
    client.write_all(b"last words\n").expect("room");
    let answering = std::thread::spawn(move || {
        client.set_nonblocking(false).expect("a blocking client");
        let mut none = Vec::new();
        std::io::Read::read_to_end(&mut client, &mut none).expect("an end, and no reset");
        none
    });
    drop(turns);
    assert_eq!(answering.join().expect("no panic"), b"");
    assert_eq!(fs::read(&log).expect("a log"), b"last words\n");
}

#[test]
fn a_panic_of_the_embedder_leaves_its_consoles_in_order_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = spec("a", dir.path(), 1 << 20);
    let (log, peer) = (spec.log.path.clone(), Peer::at(&spec.serial));
    let panicking = std::thread::spawn(move || {
        let mut reactor = seriald::Seriald::bind(Default::default()).expect("a loop");
        reactor.adopt(spec).expect("adopted");
        reactor.run(|_, event| assert!(event.kind == EventKind::Adopted, "connected")).is_ok()
    });
    peer.listener.set_nonblocking(false).expect("a blocking listener");
    let (mut client, _) = peer.listener.accept().expect("a client");
    let mut none = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut none).expect("an end, and no reset");
    client.write_all(b"last words\n").expect("the connection still reads");
    drop(client);
    assert!(panicking.join().is_err(), "the embedder panicked");
    assert_eq!(fs::read(&log).expect("a log"), b"last words\n");
}

#[test]
fn a_flood_of_one_vm_does_not_starve_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let flooding = spec("flood", dir.path(), 1 << 20);
    let quiet = spec("quiet", dir.path(), 1 << 20);
    let (flood_peer, quiet_peer) = (Peer::at(&flooding.serial), Peer::at(&quiet.serial));
    let flood_vm = turns.reactor.adopt(flooding).expect("adopted");
    let quiet_vm = turns.reactor.adopt(quiet).expect("adopted");
    let mut flood = flood_peer.accept(&mut turns);
    let mut quiet = quiet_peer.accept(&mut turns);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let writer = std::thread::spawn(move || {
        flood.set_nonblocking(false).expect("a blocking client");
        let chunk = vec![b'f'; 64 * 1024];
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) && flood.write(&chunk).is_ok() {}
    });
    for n in 1..=50 {
        send(&mut turns, &mut quiet, b"x");
        turns.turn_until("the quiet VM's byte", |this| {
            this.reactor.status(quiet_vm).is_some_and(|status| status.read_bytes == n)
        });
    }
    let read = |turns: &Loop, vm| turns.reactor.status(vm).map(|status| status.read_bytes);
    assert!(read(&turns, flood_vm) > Some(1 << 20), "there was no flood");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    turns.turn_until("the writer's end", |_| writer.is_finished());
}

#[test]
fn a_log_that_somebody_truncates_goes_on_without_a_hole() {
    let (_dir, mut turns, log, peer, _vm) = adopted(1 << 20);
    let mut client = peer.accept(&mut turns);
    send(&mut turns, &mut client, &numbered(1000));
    turns.turn_until("the log", |_| fs::read(&log).is_ok_and(|b| b == numbered(1000)));
    fs::File::options().write(true).open(&log).and_then(|f| f.set_len(0)).expect("truncated");
    send(&mut turns, &mut client, b"after\n");
    turns.turn_until("the rest", |_| fs::read(&log).is_ok_and(|bytes| !bytes.is_empty()));
    assert_same(&fs::read(&log).expect("a log"), b"after\n", "the truncated log");
}

#[test]
fn the_first_dial_of_an_embedder_who_asks_for_it_has_a_time_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let mut spec = spec("a", dir.path(), 1 << 20);
    spec.dial_timeout = Some(Duration::from_millis(50));
    let vm = turns.reactor.adopt(spec).expect("adopted");
    let reason = turns.turn_until_closed(vm);
    assert_eq!(reason, "no connection in time: nothing is at the path");
}

#[test]
fn a_vm_closes_when_its_vmm_ends_and_waits_for_a_successor_where_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut turns, words) = (Loop::new(), expected_output(1));
    for (id, on_exit) in [("closing", OnExit::Close), ("waiting", OnExit::Wait)] {
        let mut spec = spec(id, dir.path(), 1 << 20);
        spec.on_exit = on_exit;
        let log = spec.log.path.clone();
        let mut first = start_vmm(&spec.serial);
        let vm = turns.reactor.adopt(spec.clone()).expect("adopted");
        turns.turn_until("its words", |_| fs::read(&log).is_ok_and(|b| b == words));
        assert_eq!(turns.reactor.status(vm).and_then(|s| s.pid), Some(first.id()));
        first.kill().expect("killed");
        first.wait().expect("reaped");
        if on_exit == OnExit::Close {
            assert_eq!(turns.turn_until_closed(vm), "the VMM has ended (gone)");
            continue;
        }
        turns.turn_until_state(vm, "dialing");
        fs::remove_file(&spec.serial).expect("the stale path");
        let mut successor = start_vmm(&spec.serial);
        turns.turn_until("the successor's words", |_| {
            fs::read(&log).is_ok_and(|bytes| bytes == words.repeat(2))
        });
        successor.kill().expect("killed");
        successor.wait().expect("reaped");
    }
}

/// A VMM as a process of its own, whose guest says a few lines and then waits for input: what
/// SO_PEERCRED names is the process that listens.
fn start_vmm(serial: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ch-sim"));
    command.args(["--kernel", "/dev/null", "--cmdline", "lines=1 echo=1", "--console", "off"]);
    command.arg("--serial").arg(format!("socket={}", serial.display()));
    command.arg("--ledger").arg(serial.with_extension("ledger"));
    command.spawn().expect("ch-sim")
}

#[test]
fn a_connection_that_was_made_before_the_listener_died_ends_in_a_redial() {
    let (_dir, mut turns, _log, mut peer, vm) = adopted(1 << 20);
    turns.turn_until_state(vm, "streaming");
    // Never accepted: the listener's end resets the connection.
    peer.bind_anew();
    let client: UnixStream = peer.accept(&mut turns);
    drop(client);
    assert_eq!(turns.reactor.stats().lost_bytes, 0);
}
