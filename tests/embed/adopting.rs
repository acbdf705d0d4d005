//! Taking charge of VMs: what is refused, and what other threads may ask.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;

use seriald::{AdoptError, Config, Seriald, VmSpec};
use socket2::{Domain, SockAddr, Socket, Type};

use super::support::embedded::{Loop, Peer, spec};

#[test]
fn a_second_vm_with_the_same_id_serial_path_or_log_is_refused_naming_both() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let first = spec("first", dir.path(), 1 << 20);
    turns.reactor.adopt(first.clone()).expect("adopted");

    let error = turns.reactor.adopt(first.clone()).expect_err("the same id");
    assert_eq!(error.to_string(), "VM \"first\": there is a VM of this id already");

    let mut same_serial = spec("second", dir.path(), 1 << 20);
    same_serial.serial = dir.path().join("./first.sock");
    let error = turns.reactor.adopt(same_serial).expect_err("the same socket");
    assert!(matches!(&error, AdoptError::SameSerial { other, .. } if other == "first"), "{error}");

    let mut same_api = spec("second", dir.path(), 1 << 20);
    same_api.api = Some(dir.path().join("ch.sock"));
    let mut third = spec("third", dir.path(), 1 << 20);
    third.api = same_api.api.clone();
    let vm = turns.reactor.adopt(same_api).expect("adopted");
    let error = turns.reactor.adopt(third.clone()).expect_err("the same API socket");
    assert!(matches!(&error, AdoptError::SameApi { other, .. } if other == "second"), "{error}");
    turns.reactor.release(vm);
    turns.turn_until_closed(vm);
    let vm = turns.reactor.adopt(third).expect("the API socket is free");
    turns.reactor.release(vm);
    turns.turn_until_closed(vm);

    let mut same_log = spec("second", dir.path(), 1 << 20);
    same_log.log.path = first.log.path.clone();
    let error = turns.reactor.adopt(same_log.clone()).expect_err("the same log");
    assert!(error.to_string().contains("belongs to VM \"first\""), "{error}");

    let link = dir.path().join("hard.log");
    fs::hard_link(&first.log.path, &link).expect("a hard link");
    same_log.log.path = link;
    let error = turns.reactor.adopt(same_log.clone()).expect_err("the same file");
    assert!(error.to_string().contains("belongs to VM \"first\""), "{error}");

    let elsewhere = dir.path().join("elsewhere");
    symlink(dir.path(), &elsewhere).expect("a linked directory");
    same_log.log.path = elsewhere.join("first.log");
    let error = turns.reactor.adopt(same_log).expect_err("the same file by another way");
    assert!(error.to_string().contains("belongs to VM \"first\""), "{error}");

    assert_eq!(turns.reactor.vms().count(), 1);
}

#[test]
fn a_log_that_another_logs_rotation_would_overwrite_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for (first, second) in
        [("l", "l.1"), ("l.1", "l"), ("l.copying", "l"), ("l.2.zst", "l"), ("l", "l.events")]
    {
        let mut turns = Loop::new();
        let named = |id: &str, log: &str| {
            let mut spec = spec(id, dir.path(), 1 << 20);
            spec.log.path = dir.path().join(log);
            spec
        };
        let vm = turns.reactor.adopt(named("first", first)).expect("adopted");
        turns.reactor.adopt(named("third", "l.0.zst")).expect("nobody's backup");
        let error = turns.reactor.adopt(named("second", second)).expect_err("a clash");
        assert!(error.to_string().contains("VM \"first\"'s log"), "{error}");
        turns.reactor.release(vm);
        turns.turn_until_closed(vm);
        turns.reactor.adopt(named("second", second)).expect("the name is free");
    }
}

#[test]
fn a_vm_that_was_closed_between_two_turns_makes_the_next_one_due() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let vm = turns.reactor.adopt(spec("a", dir.path(), 1 << 20)).expect("adopted");
    turns.turn_until_state(vm, "dialing");
    turns.reactor.release(vm);
    assert_eq!(turns.reactor.next_wake(), Some(std::time::Duration::ZERO));
    turns.reactor.turn(None).expect("a turn that does not wait");
    assert!(turns.reactor.is_empty());
}

#[test]
fn an_id_is_free_again_once_its_vm_is_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), 1 << 20);
    let old = turns.reactor.adopt(spec.clone()).expect("adopted");
    turns.reactor.release(old);
    turns.turn_until_closed(old);
    let new = turns.reactor.adopt(spec).expect("adopted again");
    assert_ne!(old, new);
    assert!(turns.reactor.status(old).is_none() && turns.reactor.status(new).is_some());
}

#[test]
fn a_serial_path_in_a_directory_that_the_adopt_makes_is_known_afterwards() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let home = dir.path().join("new");
    let mut first = spec("first", &home, 1 << 20);
    first.serial = home.join("serial.sock");
    let mut second = spec("second", dir.path(), 1 << 20);
    second.serial = first.serial.clone();
    turns.reactor.adopt(first).expect("adopted");
    let error = turns.reactor.adopt(second).expect_err("the same socket");
    assert!(matches!(&error, AdoptError::SameSerial { other, .. } if other == "first"), "{error}");
}

#[test]
fn a_log_that_another_loop_has_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = Seriald::bind(Config::default()).expect("a loop");
    let mut second = Seriald::bind(Config::default()).expect("a loop");
    first.adopt(spec("a", dir.path(), 1 << 20)).expect("adopted");
    let mut other = spec("b", dir.path(), 1 << 20);
    other.log.path = dir.path().join("a.log");
    let error = second.adopt(other).expect_err("it is locked").to_string();
    assert!(error.contains("a.log") && error.contains("lock"), "{error}");
}

#[test]
fn a_log_path_that_is_a_symbolic_link_is_refused_and_its_target_untouched() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let target = dir.path().join("target");
    fs::write(&target, "mine").expect("a file");
    let spec = spec("a", dir.path(), 1 << 20);
    symlink(&target, &spec.log.path).expect("a link");
    let error = turns.reactor.adopt(spec).expect_err("a link").to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(fs::read(&target).expect("the target"), b"mine");
}

#[test]
fn another_thread_reaches_a_running_loop() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut reactor = Seriald::bind(Config::default()).expect("a loop");
    let spec = spec("a", dir.path(), 1 << 20);
    let peer = Peer::at(&spec.serial);
    let handle = reactor.handle();
    let asking = std::thread::spawn(move || {
        let vm = handle.adopt(spec).expect("a loop").expect("adopted");
        assert_eq!(handle.find("a"), Ok(Some(vm)));
        assert_eq!(handle.find("b"), Ok(None));
        assert!(handle.status(vm).expect("a loop").is_some());
        assert_eq!(handle.rotate(vm), Ok(true));
        assert_eq!(handle.clone().stop(), Ok(()));
        handle
    });
    let mut adopted = 0;
    reactor
        .run(|_, event| adopted += usize::from(event.kind == seriald::EventKind::Adopted))
        .expect("the loop runs");
    assert_eq!(adopted, 1);
    let handle = asking.join().expect("no panic");
    assert!(handle.find("a").is_err(), "the loop has ended, though it is still there");
    drop((reactor, peer));
    assert!(handle.stop().is_err());
}

/// A socket that takes no more than one client into its queue, and that one is there.
fn full_socket(path: &Path) -> (Socket, UnixStream) {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    socket.bind(&SockAddr::unix(path).expect("an address")).expect("bound");
    socket.listen(0).expect("it listens");
    (socket, UnixStream::connect(path).expect("the one client"))
}

#[test]
fn a_vmm_whose_queue_is_full_and_one_that_takes_nobody_keep_no_other_vm_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let named = |id: &str| spec(id, dir.path(), 1 << 20);
    let (full, deaf) = (named("full"), named("deaf"));
    let (listener, client) = full_socket(&full.serial);
    let _deaf_listener = Peer::at(&deaf.serial);
    let [full, deaf] = [full, deaf].map(|spec| turns.reactor.adopt(spec).expect("adopted"));
    let others: Vec<VmSpec> = (0..50).map(|n| named(&format!("vm-{n}"))).collect();
    let peers: Vec<Peer> = others.iter().map(|spec| Peer::at(&spec.serial)).collect();
    for spec in &others {
        turns.reactor.adopt(spec.clone()).expect("adopted");
    }
    let mut clients: Vec<UnixStream> = peers.iter().map(|peer| peer.accept(&mut turns)).collect();
    for client in &mut clients {
        client.write_all(b"served\n").expect("sent");
    }
    turns.turn_until("all logs", |_| {
        others.iter().all(|spec| fs::read(&spec.log.path).is_ok_and(|log| log == b"served\n"))
    });
    let status = |turns: &Loop, vm| turns.reactor.status(vm).expect("in charge");
    assert_eq!(status(&turns, deaf).state, "streaming");
    let of_full = status(&turns, full);
    assert_eq!((of_full.state, of_full.connects), ("dialing", 0), "{of_full:?}");
    assert!(of_full.dial_failure.is_some());
    // And it has its turn once there is room.
    drop((listener.accept().expect("the one client"), client));
    turns.turn_until_state(full, "streaming");
}

#[test]
fn an_idle_loop_has_no_wake_up_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut turns = Loop::new();
    let spec = spec("a", dir.path(), 1 << 20);
    let peer = Peer::at(&spec.serial);
    turns.reactor.adopt(spec).expect("adopted");
    let _client = peer.accept(&mut turns);
    turns.turn_until("quiet", |this| this.reactor.next_wake().is_none());
}
