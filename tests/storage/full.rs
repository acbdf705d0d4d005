//! A disk of 1 MiB that fills while 20 guests print, and is freed.

use std::fs;
use std::path::{Path, PathBuf};

use seriald::{Config, LogSpec, OnExit, RotateMode, VmSpec};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::disk::Disk;
use super::fleets::Fleet;
use super::support::account::Account;
use super::support::embedded::{Loop, Peer, send, spec};
use super::support::logs::{assert_same, whole};
use super::support::wait::PATIENCE;

const VMS: usize = 20;

struct Scene {
    turns: Loop,
    disk: Disk,
    dir: PathBuf,
}

impl Scene {
    fn adopt(&mut self, fleet: &Fleet, mode: RotateMode) {
        for (n, home) in fleet.homes.iter().enumerate() {
            let mut log = LogSpec::new(self.log(n));
            (log.max_bytes, log.keep, log.mode, log.hold_bytes) = (8192, 100, mode, 8 * 1024);
            let mut spec = VmSpec::new(format!("vm-{n}"), home.join("serial.sock"), log);
            spec.on_exit = OnExit::Wait;
            self.turns.reactor.adopt(spec).expect("adopted");
        }
    }

    fn log(&self, n: usize) -> PathBuf {
        self.disk.path.join(format!("{n}.log"))
    }

    /// v52 has no ring: a guest that ends has handed over every byte, whatever became of the log.
    fn run_to_the_end(&mut self, fleet: &mut Fleet) {
        let before = self.turns.reactor.stats().read_bytes;
        self.turns.turn_until_within(PATIENCE * 3, "the end of all guests", |_| {
            !fleet.process.is_running()
        });
        let sent: u64 = (0..VMS).map(|n| handed(&self.dir, n).len() as u64).sum();
        self.turns.turn_until("all that was sent", |this| {
            this.reactor.stats().read_bytes == before + sent
        });
    }
}

/// What a VM of the fleet in `dir` has handed over.
fn handed(dir: &Path, n: usize) -> Vec<u8> {
    let ledger = Ledger::read(&dir.join(format!("vm-{n:04}/ledger.json"))).expect("a ledger");
    assert_eq!(ledger.total.printed, ledger.total.handed, "VM {n} was not read");
    transcript::bytes(&ledger)
}

fn fills_and_is_freed(mode: RotateMode) {
    let top = tempfile::tempdir().expect("a directory");
    let Some(disk) = Disk::mount(&top.path().join("disk"), "size=1m") else { return };
    let filler = disk.fill(320 * 1024);
    let dir = top.path().to_owned();
    let mut scene = Scene { turns: Loop::new(), disk, dir: dir.clone() };

    // 60 kB each: four times what there is room for.
    let cmdline = "lines=800 wait=1000";
    let mut fleet = Fleet::start("v52", &dir, VMS, &["--rate", "200000"], cmdline);
    scene.adopt(&fleet, mode);
    scene.run_to_the_end(&mut fleet);
    let first: Vec<Vec<u8>> = (0..VMS).map(|n| handed(&dir, n)).collect();
    let stats = *scene.turns.reactor.stats();
    assert!(stats.lost_bytes > 100_000, "the disk was full: {stats:?}");

    fs::remove_file(filler).expect("the filler");
    scene.turns.turn_until("all that was held", |this| {
        let vms = this.reactor.vms().collect::<Vec<_>>();
        vms.iter().all(|vm| this.reactor.status(*vm).is_some_and(|s| s.held_bytes == 0))
    });
    // Each prints once more, to the end: the losses before are recorded by then.
    let mut again = Fleet::start("v52", &dir, VMS, &["--rate", "200000"], "lines=20 wait=1000");
    scene.run_to_the_end(&mut again);
    let second: Vec<Vec<u8>> = (0..VMS).map(|n| handed(&dir, n)).collect();
    let lost = scene.turns.reactor.stats().lost_bytes;
    println!(
        "{mode:?}: {lost} bytes lost, {} reads found a socket full, longest turn {} us",
        scene.turns.reactor.stats().socket_full_reads,
        scene.turns.reactor.stats().turn_us_max
    );
    for vm in scene.turns.reactor.vms().collect::<Vec<_>>() {
        scene.turns.reactor.release(vm);
    }
    scene.turns.turn_until("the end of all", |this| this.reactor.vms().next().is_none());

    let mut recorded = 0;
    for (n, (first, second)) in first.into_iter().zip(second).enumerate() {
        let came = [first, second].concat();
        let account = Account::of(&scene.log(n));
        assert_same(&whole(&scene.log(n)), &account.without_losses(&came), &format!("VM {n}"));
        assert_eq!(account.end().0, came.len(), "VM {n}: the offset is what came");
        assert_eq!(account.of_kind("unknown").count(), 0, "VM {n}");
        recorded += account.losses().iter().map(|loss| loss.len() as u64).sum::<u64>();
    }
    assert_eq!(recorded, lost);
}

#[test]
fn a_disk_that_fills_up_costs_no_more_than_is_recorded_rename() {
    fills_and_is_freed(RotateMode::Rename);
}

#[test]
fn a_disk_that_fills_up_costs_no_more_than_is_recorded_copytruncate() {
    fills_and_is_freed(RotateMode::CopyTruncate);
}

#[test]
fn all_logs_together_hold_no_more_than_the_host_allows() {
    const TOTAL: usize = 20_000;
    let top = tempfile::tempdir().expect("a directory");
    let Some(disk) = Disk::mount(&top.path().join("disk"), "size=1m") else { return };
    let mut turns = Loop::new();
    turns.reactor.set_config(Config { hold_bytes_total: TOTAL, ..Config::default() });
    let specs = ["a", "b", "c"].map(|id| spec(id, &disk.path, 1 << 20));
    let mut clients: Vec<_> = specs
        .iter()
        .map(|spec| {
            let peer = Peer::at(&spec.serial);
            turns.reactor.adopt(spec.clone()).expect("adopted");
            peer.accept(&mut turns)
        })
        .collect();
    let filler = disk.fill(0);
    let bytes = b"a line that waits for a disk\n".repeat(500);
    for client in &mut clients {
        send(&mut turns, client, &bytes);
    }
    let sent = 3 * bytes.len() as u64;
    turns.turn_until("all", |this| this.reactor.stats().read_bytes == sent);
    let held = |turns: &Loop| -> u64 {
        let vms = turns.reactor.vms().filter_map(|vm| turns.reactor.status(vm));
        vms.map(|status| status.held_bytes).sum()
    };
    assert_eq!(held(&turns), TOTAL as u64);
    assert_eq!(turns.reactor.stats().lost_bytes, sent - TOTAL as u64);
    fs::remove_file(filler).expect("the filler");
    turns.turn_until("nothing held", |this| held(this) == 0);
    for vm in turns.reactor.vms().collect::<Vec<_>>() {
        turns.reactor.release(vm);
    }
    drop(clients);
    turns.turn_until("the end of all", |this| this.reactor.vms().next().is_none());
    // What they gave back is there for others.
    for spec in &specs {
        let account = Account::of(&spec.log.path);
        assert_same(&whole(&spec.log.path), &account.without_losses(&bytes), &spec.id);
    }
}
