//! A possible loss upstream is told whenever an end follows a read that found the socket full, and
//! never else.

use std::io::Write;
use std::os::unix::net::UnixStream;

use seriald::{EventKind, VmId};
use tempfile::TempDir;

use super::support::embedded::{Loop, Peer, spec};

fn adopted() -> (TempDir, Loop, Peer, VmId) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), 1 << 20);
    let peer = Peer::at(&spec.serial);
    let vm = turns.reactor.adopt(spec).expect("adopted");
    (dir, turns, peer, vm)
}

fn losses(turns: &Loop, vm: VmId) -> usize {
    turns.count(vm, |kind| *kind == EventKind::UpstreamLossPossible)
}

/// Fills the socket one byte a message, as CH does; how many.
fn fill(client: &mut UnixStream) -> u64 {
    client.set_nonblocking(true).expect("a non-blocking client");
    let mut sent = 0;
    while client.write(b"x").is_ok() {
        sent += 1;
    }
    sent
}

fn turn_until_ends(turns: &mut Loop, vm: VmId, ends: usize) {
    turns.turn_until("the end", |this| {
        this.count(vm, |kind| *kind == EventKind::Disconnected) == ends
    });
}

#[test]
fn bytes_that_came_after_the_full_socket_show_that_nothing_was_held_back() {
    let (_dir, mut turns, peer, vm) = adopted();
    let mut client = peer.accept(&mut turns);
    let sent = fill(&mut client);
    turns.turn_until_read(vm, sent - 1);
    client.write_all(b"and more").expect("room");
    turns.turn_until_read(vm, sent);
    drop(client);
    turn_until_ends(&mut turns, vm, 1);
    assert_eq!(losses(&turns, vm), 0);
}

#[test]
fn what_a_budget_cut_short_says_nothing_of_the_next_stream() {
    let (_dir, mut turns, mut peer, vm) = adopted();
    let mut client = peer.accept(&mut turns);
    client.set_nonblocking(false).expect("a blocking client");
    client.write_all(&vec![b'x'; 64 * 1024]).expect("room");
    drop(client);
    peer.bind_anew();
    turn_until_ends(&mut turns, vm, 1);
    assert_eq!(losses(&turns, vm), 1, "the socket was full");
    let mut client = peer.accept(&mut turns);
    client.write_all(b"a few bytes").expect("room");
    drop(client);
    turn_until_ends(&mut turns, vm, 2);
    assert_eq!(losses(&turns, vm), 1, "this one was not");
}

#[test]
fn a_vmm_that_ends_while_its_tail_is_fetched_may_take_it_along() {
    let (_dir, mut turns, mut peer, vm) = adopted();
    let mut client = peer.accept(&mut turns);
    fill(&mut client);
    turns.turn_until("a second connection", |this| this.reactor.stats().tail_dials == 1);
    // Never accepted: it is reset with the listener's end.
    peer.bind_anew();
    drop(client);
    turn_until_ends(&mut turns, vm, 1);
    assert_eq!(losses(&turns, vm), 1);
    let _client = peer.accept(&mut turns);
}

#[test]
fn a_reset_before_any_byte_is_told_as_never_accepted() {
    let (_dir, mut turns, mut peer, vm) = adopted();
    turns.turn_until_state(vm, "streaming");
    peer.bind_anew();
    let _client = peer.accept(&mut turns);
    turns.turn_until("its name", |this| this.reactor.stats().ends.never_accepted == 1);
    assert_eq!(turns.count(vm, |kind| *kind == EventKind::NeverAccepted), 1);
    assert_eq!((losses(&turns, vm), turns.reactor.stats().displaced), (0, 0));
}
