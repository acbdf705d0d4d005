//! A disk of 1 MiB that fills while 20 guests print, and is freed.

use std::fs;
use std::path::{Path, PathBuf};

use seriald::{LogSpec, OnExit, RotateMode, VmSpec};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::disk::Disk;
use super::fleets::Fleet;
use super::support::account::Account;
use super::support::embedded::Loop;
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
