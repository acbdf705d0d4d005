//! A disk that has room for bytes, but for no more files.

use std::fs;

use super::disk::Disk;
use super::support::embedded::{Loop, Peer, send, spec};
use super::support::logs::{assert_same, whole};

#[test]
fn a_disk_without_inodes_fails_rotations_and_nothing_else_and_recovers() {
    let top = tempfile::tempdir().expect("a directory");
    let Some(disk) = Disk::mount(&top.path().join("disk"), "size=4m,nr_inodes=16") else { return };
    let mut turns = Loop::new();
    // The neighbour's log is on another disk.
    let here = spec("here", &disk.path, 4096);
    let there = spec("there", top.path(), 4096);
    let peers = [Peer::at(&here.serial), Peer::at(&there.serial)];
    let vms = [here.clone(), there.clone()].map(|spec| turns.reactor.adopt(spec).expect("adopted"));
    let mut clients = peers.map(|peer| peer.accept(&mut turns));
    let fillers: Vec<_> = (0..16).map(|n| disk.path.join(format!("filler-{n}"))).collect();
    let made = fillers.iter().take_while(|path| fs::write(path, b"").is_ok()).count();
    assert!(made < 16, "the disk has no room for {made} files more");

    let line = b"a line of a guest whose log can not be rotated any more\n";
    let bytes = line.repeat(100);
    for client in &mut clients {
        send(&mut turns, client, &bytes);
    }
    let read = |turns: &Loop, vm| turns.reactor.status(vm).map_or(0, |s| s.read_bytes) as usize;
    turns.turn_until("all", |this| vms.iter().all(|vm| read(this, *vm) == bytes.len()));
    let status = turns.reactor.status(vms[0]).expect("a status");
    assert!(status.log_counters.rotation_failures > 0);
    assert_eq!(status.log_counters.lost_bytes, 0);
    let other = turns.reactor.status(vms[1]).expect("a status");
    assert_eq!(other.log_counters.rotation_failures, 0);
    assert!(other.log_counters.rotations > 0);

    for filler in &fillers[..made] {
        fs::remove_file(filler).expect("a filler");
    }
    turns.turn_until("a rotation", |this| {
        this.reactor.status(vms[0]).is_some_and(|s| s.log_counters.rotations > 0)
    });
    send(&mut turns, &mut clients[0], &bytes);
    turns.turn_until("all", |this| read(this, vms[0]) == 2 * bytes.len());
    turns.turn_until("nothing held", |this| {
        this.reactor.status(vms[0]).is_some_and(|s| s.held_bytes == 0)
    });
    assert_same(&whole(&here.log.path), &line.repeat(200), "the log");
    assert_same(&whole(&there.log.path), &bytes, "the neighbour's log");
}
