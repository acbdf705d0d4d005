//! VMs ended, or snapshotted, while their VMM holds output back: all of it is in the log.

use std::fs;
use std::path::Path;
use std::process::Command;

use seriald::ch::api::Call;
use seriald::{EventKind, VmId};

use super::LEEWAY;
use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::embedded::Loop;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

const LINES: u32 = 400;

/// A guest that has printed all it has to say, most of which its VMM holds back: while it printed
/// nobody turned. It then waits for input.
fn lagging(vmm: &Vmm, home: &Path) -> (Loop, VmId) {
    let mut turns = Loop::new();
    let cmdline = format!("lines={LINES} echo=1");
    let vm = turns.reactor.launch(vmm.launch("guest", home, &cmdline)).expect("launched");
    turns.turn_until("its launch", |this| this.count(vm, |k| *k == EventKind::Launched) == 1);
    // Some of it is read already; what is printed from here on has no reader.
    let printing = std::time::Instant::now();
    let burst = if vmm.is_real() { LEEWAY * 8 } else { LEEWAY * 2 };
    wait_until(PATIENCE, "the guest's burst", || printing.elapsed() > burst);
    (turns, vm)
}

/// Whether it keeps in a ring what finds no room in the socket; an older one makes its guest wait.
fn has_ring(vmm: &Vmm) -> bool {
    let mut command = Command::new(&vmm.command[0]);
    let version = command.args(&vmm.command[1..]).arg("--version").output().expect("a version");
    String::from_utf8_lossy(&version.stdout).contains("v53")
}

/// The log has all that the guest has printed.
fn assert_all_printed(vmm: &Vmm, home: &Path, what: &str) {
    let what = format!("{} {what}", vmm.name);
    let (log, all) = (whole(&home.join("logs/app.log")), expected_output(LINES));
    if has_ring(vmm) {
        return assert_same(&log, &all, &what);
    }
    assert_same(&log, &all[..log.len()], &what);
    assert!(log.len() >= 278, "{what}: {} bytes", log.len());
    if !vmm.is_real() {
        let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
        assert!(transcript::bytes(&ledger).starts_with(&log), "{what}");
    }
}

fn ends_whole(what: &str, ask: impl Fn(&mut Loop, VmId)) {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let (mut turns, vm) = lagging(&vmm, &home);
        ask(&mut turns, vm);
        assert_all_printed(&vmm, &home, what);
        let losses = turns.count(vm, |kind| *kind == EventKind::UpstreamLossPossible);
        assert!(losses == 0 || !has_ring(&vmm), "{} {what}", vmm.name);
        turns.reactor.shutdown_vmm(vm);
        turns.turn_until_closed(vm);
    }
}

#[test]
fn a_guest_that_is_shut_down_leaves_its_log_whole() {
    ends_whole("vm.shutdown", |turns, vm| {
        assert!(turns.reactor.call(vm, Call::Shutdown));
        turns.turn_until_answered(vm, "vm.shutdown").expect("done");
    });
}

#[test]
fn a_vm_that_is_deleted_leaves_its_log_whole() {
    ends_whole("vm.delete", |turns, vm| {
        assert!(turns.reactor.call(vm, Call::Delete));
        turns.turn_until_answered(vm, "vm.delete").expect("done");
    });
}

#[test]
fn a_vmm_that_is_shut_down_by_a_call_leaves_its_log_whole() {
    ends_whole("vmm.shutdown", |turns, vm| {
        assert!(turns.reactor.call(vm, Call::VmmShutdown));
        turns.turn_until_closed(vm);
    });
}

#[test]
fn a_launchers_own_stop_leaves_the_log_whole() {
    ends_whole("stop", |turns, vm| {
        turns.reactor.stop();
        assert_eq!(turns.turn_until_closed(vm), "the VMM has ended (exit code 0)");
    });
}

#[test]
fn a_snapshot_has_all_that_was_printed_before_it_in_the_log_and_the_guest_runs_on() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let (home, to) = (dir.path().join(vmm.name), dir.path().join("snapshot"));
        fs::create_dir_all(&to).expect("a directory");
        let (mut turns, vm) = lagging(&vmm, &home);
        assert!(turns.reactor.snapshot(vm, &format!("file://{}", to.display())));
        turns.turn_until_answered(vm, "vm.snapshot").expect("taken");
        assert_all_printed(&vmm, &home, "vm.snapshot");
        turns.turn_until("a guest that runs", |this| {
            assert!(this.reactor.call(vm, Call::Info));
            let info = |kind: &EventKind| format!("{kind:?}").contains("state: Running");
            this.reactor.turn(Some(LEEWAY / 40)).expect("a turn");
            this.count(vm, info) > 0
        });
        turns.reactor.shutdown_vmm(vm);
        turns.turn_until_closed(vm);
        fs::remove_dir_all(&to).expect("the snapshot");
    }
}

#[test]
fn a_guest_is_resumed_when_the_call_that_paused_it_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let delay = vmm.loops(LEEWAY / 20);
        let launch = vmm.launch("guest", &home, &format!("lines=0 delay={delay}"));
        let vm = turns.reactor.launch(launch).expect("launched");
        turns.turn_until_read(vm, 500);
        assert!(turns.reactor.snapshot(vm, "file:///nowhere/at/all"));
        turns.turn_until_answered(vm, "vm.snapshot").expect_err("there is no such directory");
        let read = turns.reactor.status(vm).expect("a VM").read_bytes;
        turns.turn_until_read(vm, read + 2000);
        turns.reactor.shutdown_vmm(vm);
        turns.turn_until_closed(vm);
    }
}
