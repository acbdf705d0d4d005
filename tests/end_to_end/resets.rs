//! Guests that reset again and again: every boot is in the log.

use std::path::Path;
use std::time::Duration;

use seriald::{EventKind, VmId};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::embedded::Loop;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::vmm::Vmm;
use super::support::wait::PATIENCE;

const BOOTS: usize = 200;
const LINES: u32 = 50;
/// What a boot leaves its reader before it ends: enough for a tail to be fetched.
const PAUSE: Duration = Duration::from_millis(100);

/// Launches a guest that resets two hundred times; a real one for ever.
fn launch(turns: &mut Loop, vmm: &Vmm, home: &Path) -> VmId {
    let wait = vmm.loops(PAUSE);
    let cmdline = format!("lines={LINES} reboot=1 boots={BOOTS} wait={wait}");
    let id = home.file_name().expect("a name").to_string_lossy().into_owned();
    let mut launch = vmm.launch(&id, home, &cmdline);
    if vmm.name == "v52" {
        // It has no ring: what is printed before the client is back is dropped in the VMM.
        launch.vmm.push("--boot-on-connect".into());
    }
    turns.reactor.launch(launch).expect("launched")
}

/// Holds a log against the ledger, and every boot's output against what the guest prints.
fn judge(home: &Path, losses: usize, what: &str) {
    let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
    assert_same(&whole(&home.join("logs/app.log")), &transcript::bytes(&ledger), what);
    assert_eq!(ledger.boots.len(), BOOTS, "{what}");
    let size = expected_output(LINES).len() as u64;
    let missing = ledger.boots.iter().filter(|boot| boot.counts.handed == 0).count();
    let cut = ledger.boots.iter().filter(|boot| boot.counts.handed != size).count();
    assert_eq!(missing, 0, "{what}: boots are missing");
    assert!(cut <= losses, "{what}: {cut} boots are cut, {losses} were recorded");
    let (median, longest) = transcript::gaps(&ledger).expect("times without a client");
    println!("{what}: {cut} boots cut; end of stream to next client: {median} us, {longest} us");
}

fn losses(turns: &Loop, vm: VmId) -> usize {
    turns.count(vm, |kind| *kind == EventKind::UpstreamLossPossible)
}

/// The times between the end of a boot's stream and the connection to the next one, sorted.
fn gaps(turns: &Loop, vm: VmId) -> Vec<Duration> {
    let of_vm = turns.events.iter().filter(|event| event.vm == vm);
    let gap = |kind: &EventKind| match kind {
        EventKind::Rebooted(absent) => Some(*absent),
        _ => None,
    };
    let mut gaps: Vec<Duration> = of_vm.filter_map(|event| gap(&event.kind)).collect();
    gaps.sort();
    gaps
}

fn alone(vmm: &Vmm, home: &Path) {
    let mut turns = Loop::new();
    let vm = launch(&mut turns, vmm, home);
    turns.turn_until_within(PATIENCE * 3, "two hundred boots", |this| {
        this.reactor.status(vm).is_none()
    });
    assert_eq!(gaps(&turns, vm).len(), BOOTS - 1, "{}", vmm.name);
    assert_eq!(turns.reactor.stats().ends.reboots as usize, BOOTS - 1);
    assert_eq!(turns.count(vm, |kind| *kind == EventKind::ShutDown), 0, "{}", vmm.name);
    judge(home, losses(&turns, vm), vmm.name);
}

#[test]
fn two_hundred_resets_of_a_v52_guest_lose_no_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    alone(&Vmm::sim("v52"), &dir.path().join("guest"));
}

#[test]
fn two_hundred_resets_of_a_v53_guest_lose_no_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    alone(&Vmm::sim("v53"), &dir.path().join("guest"));
}

#[test]
fn two_hundred_resets_of_six_guests_at_once_lose_no_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in [Vmm::sim("v52"), Vmm::sim("v53")] {
        let mut turns = Loop::new();
        let home = |n| dir.path().join(format!("{}-{n}", vmm.name));
        let homes: Vec<_> = (0..6).map(home).collect();
        let vms: Vec<_> = homes.iter().map(|home| launch(&mut turns, &vmm, home)).collect();
        turns.turn_until_within(PATIENCE * 5, "the end of all", |this| {
            this.reactor.vms().next().is_none()
        });
        for (home, vm) in homes.iter().zip(vms) {
            judge(home, losses(&turns, vm), &home.display().to_string());
        }
    }
}

#[test]
fn two_hundred_resets_of_a_real_guest_are_whole_or_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(vmm) = Vmm::real(dir.path()) else { return };
    let home = dir.path().join("resets");
    let mut turns = Loop::new();
    let vm = launch(&mut turns, &vmm, &home);
    turns.turn_until_within(PATIENCE * 5, "two hundred resets", |this| {
        gaps(this, vm).len() >= BOOTS
    });
    let gaps = gaps(&turns, vm);
    println!(
        "end of stream to connection: median {:?}, longest {:?}",
        gaps[BOOTS / 2],
        gaps[BOOTS - 1]
    );
    let losses = losses(&turns, vm);
    turns.reactor.shutdown_vmm(vm);
    turns.turn_until_closed(vm);
    let log = whole(&home.join("logs/app.log"));
    let boots = String::from_utf8_lossy(&log).into_owned();
    let one_boot = String::from_utf8(expected_output(LINES)).expect("UTF-8");
    let whole_boots = boots.matches(&one_boot).count();
    println!("real: {whole_boots} boots whole, {losses} recorded as possible loss");
    assert!(whole_boots + 1 >= BOOTS, "{whole_boots} boots are whole, {losses} recorded");
    let begun = boots.matches("GUEST-UP").count();
    // The last one was ended by us, in the midst of its output perhaps.
    assert!(begun - whole_boots <= losses + 1, "{begun} begun, {whole_boots} whole, {losses}");
}
