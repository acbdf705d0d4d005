//! The loop inside another loop: an epoll instance that is watched like any descriptor.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use super::support::embedded::{Loop, Peer, spec};
use super::support::logs::whole;
use super::support::wait::PATIENCE;

#[test]
fn nested_in_another_epoll_it_never_stalls() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), 4096);
    let (log, peer) = (spec.log.path.clone(), Peer::at(&spec.serial));
    turns.reactor.adopt(spec).expect("adopted");
    let mut client = peer.accept(&mut turns);

    let mut outer = mio::Poll::new().expect("an outer loop");
    let inner = turns.reactor.as_fd().as_raw_fd();
    let mut source = mio::unix::SourceFd(&inner);
    outer
        .registry()
        .register(&mut source, mio::Token(0), mio::Interest::READABLE)
        .expect("watched");

    let truth: Vec<u8> = (0..40_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let expected = truth.clone();
    let writer = std::thread::spawn(move || {
        client.set_nonblocking(false).expect("a blocking client");
        client.write_all(&truth).expect("the loop reads");
        client
    });
    let deadline = Instant::now() + PATIENCE;
    let mut events = mio::Events::with_capacity(8);
    let mut read = 0;
    while read < expected.len() as u64 {
        assert!(Instant::now() < deadline, "stalled at {read} of {} bytes", expected.len());
        // Only readiness or the loop's own wish wakes us: a stall would last until the deadline.
        let wait = turns.reactor.next_wake().unwrap_or(Duration::from_secs(60));
        outer.poll(&mut events, Some(wait)).expect("an outer wait");
        read += turns.reactor.turn(Some(Duration::ZERO)).expect("a turn").read_bytes;
    }
    drop(writer.join().expect("no panic"));
    assert_eq!(whole(&log), expected);
}

#[test]
fn a_vm_with_more_than_its_budget_to_read_makes_the_next_turn_due_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), 1 << 20);
    let peer = Peer::at(&spec.serial);
    turns.reactor.adopt(spec).expect("adopted");
    let mut client = peer.accept(&mut turns);
    client.set_nonblocking(true).expect("a non-blocking client");
    let mut sent = 0;
    while let Ok(n) = client.write(&[b'x'; 16 * 1024]) {
        sent += n as u64;
    }
    assert!(sent > 64 * 1024, "{sent} bytes are within one budget");
    let mut read = 0;
    while read < sent {
        // No new edge will come: the loop itself must ask for the turn.
        assert!(read == 0 || turns.reactor.next_wake() == Some(Duration::ZERO), "stuck at {read}");
        read += turns.reactor.turn(Some(Duration::ZERO)).expect("a turn").read_bytes;
    }
}
