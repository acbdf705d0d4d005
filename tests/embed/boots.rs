//! What begins a boot, and what does not: its beginning is kept aside once.

use std::fs;
use std::io::Write;
use std::path::Path;

use seriald::log::boot::heads;
use seriald::log::record::{Record, What};
use seriald::{EventKind, VmSpec};

use super::support::embedded::{Loop, Peer, spec};

const KEEP: usize = 10;

fn keeping(dir: &Path) -> VmSpec {
    let mut spec = spec("a", dir, 1 << 20);
    spec.log.keep_boot_head = KEEP;
    spec
}

/// The beginnings that were kept, with their offsets.
fn kept(dir: &Path) -> Vec<(u64, String)> {
    let file = fs::read(dir.join("a.log.boot")).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    heads(&file).iter().map(|head| (head.offset, text(head.bytes))).collect()
}

/// How many boots the events file tells of.
fn noted(dir: &Path) -> usize {
    let events = fs::read(dir.join("a.log.events")).expect("an events file");
    Record::decode_all(&events).filter(|record| record.what == What::Boot).count()
}

/// One connection that brings these bytes; it stays.
fn say(turns: &mut Loop, peer: &Peer, bytes: &[u8]) -> std::os::unix::net::UnixStream {
    let mut client = peer.accept(turns);
    let vm = turns.reactor.vms().next().expect("a VM");
    let before = turns.reactor.status(vm).expect("in charge").read_bytes;
    client.write_all(bytes).expect("room");
    turns.turn_until_read(vm, before + bytes.len() as u64 - 1);
    client
}

#[test]
fn a_reboot_begins_a_boot_and_a_displacement_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = keeping(dir.path());
    let mut peer = Peer::at(&spec.serial);
    let vm = turns.reactor.adopt(spec).expect("adopted");
    drop(say(&mut turns, &peer, b"first"));
    // The same socket: another client was let in.
    let client = say(&mut turns, &peer, b" boot, goes on");
    assert_eq!(kept(dir.path()), [(0, "first boot".into())]);
    peer.bind_anew();
    drop(client);
    let client = say(&mut turns, &peer, b"second");
    let offset = b"first boot, goes on".len() as u64;
    assert_eq!(kept(dir.path()), [(0, "first boot".into()), (offset, "second".into())]);
    assert_eq!(noted(dir.path()), 2);
    assert_eq!(turns.count(vm, |kind| matches!(kind, EventKind::Connected(_))), 3);
    // One that ends before it prints leaves no trace.
    peer.bind_anew();
    drop(client);
    let client = peer.accept(&mut turns);
    peer.bind_anew();
    drop(client);
    drop(say(&mut turns, &peer, b"fourth"));
    let last = (offset + 6, "fourth".into());
    assert_eq!(kept(dir.path())[2..], [last]);
}

#[test]
fn a_fetched_tail_begins_no_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = keeping(dir.path());
    let peer = Peer::at(&spec.serial);
    turns.reactor.adopt(spec).expect("adopted");
    let mut client = peer.accept(&mut turns);
    client.set_nonblocking(true).expect("a non-blocking client");
    while client.write(b"x").is_ok() {}
    turns.turn_until("a second connection", |this| this.reactor.stats().tail_dials == 1);
    drop(client);
    drop(say(&mut turns, &peer, b"the tail"));
    assert_eq!((kept(dir.path()).len(), noted(dir.path())), (1, 1));
}

#[test]
fn a_successor_begins_no_boot_of_a_guest_that_runs_but_does_of_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = keeping(dir.path());
    let mut peer = Peer::at(&spec.serial);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec.clone()).expect("adopted");
    let client = say(&mut turns, &peer, b"one");
    drop(turns);
    drop(client);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec.clone()).expect("adopted");
    let client = say(&mut turns, &peer, b" goes on");
    assert_eq!(kept(dir.path()), [(0, "one".into())], "what still grew ends there");
    // The next one reboots while nobody is there.
    drop(turns);
    drop(client);
    // Files tell times by the kernel's clock, which moves on every few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(50));
    peer.bind_anew();
    let mut turns = Loop::new();
    turns.reactor.adopt(spec).expect("adopted");
    let _client = say(&mut turns, &peer, b"two");
    assert_eq!(kept(dir.path()), [(0, "one".into()), (11, "two".into())]);
    assert_eq!(noted(dir.path()), 2);
}

#[test]
fn the_beginning_is_kept_of_what_a_limit_drops() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut spec = keeping(dir.path());
    spec.log.rate_bytes = Some(128);
    let mut peer = Peer::at(&spec.serial);
    let mut turns = Loop::new();
    turns.reactor.adopt(spec).expect("adopted");
    let client = say(&mut turns, &peer, &[b'x'; 1000]);
    peer.bind_anew();
    drop(client);
    drop(say(&mut turns, &peer, b"panicked at once"));
    assert_eq!(kept(dir.path()), [(0, "x".repeat(10)), (1000, "panicked a".into())]);
    assert!(fs::read(dir.path().join("a.log")).expect("a log").len() < 1000);
}
