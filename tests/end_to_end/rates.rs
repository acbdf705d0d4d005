//! A guest that floods is held to its rate, and does not notice; one beside it loses nothing.

use std::fs;
use std::path::Path;

use seriald::log::record::{Record, What};
use seriald::{Config, EventKind};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::embedded::Loop;
use super::support::logs::{assert_same, whole};
use super::support::vmm::Vmm;
use super::support::wait::PATIENCE;

/// What the log of a VM should hold: all that was handed over, without what is recorded as lost.
fn handed_over_without_losses(home: &Path) -> (Vec<u8>, u64) {
    let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
    assert_eq!(ledger.total.printed, ledger.total.handed, "the guest was never held up: {home:?}");
    let truth = transcript::bytes(&ledger);
    let events = fs::read(home.join("logs/app.log.events")).expect("an events file");
    let (mut kept, mut at, mut lost) = (Vec::new(), 0, 0);
    for record in Record::decode_all(&events) {
        let What::Lost(loss) = record.what else { continue };
        let from = (record.offset - loss.bytes) as usize;
        kept.extend_from_slice(&truth[at..from]);
        (at, lost) = (record.offset as usize, lost + loss.bytes);
    }
    kept.extend_from_slice(&truth[at..]);
    (kept, lost)
}

/// A flooding guest and a quiet one, until both have ended.
fn flood(config: Config, rate: Option<u64>, dir: &Path) {
    let mut turns = Loop::new();
    turns.reactor.set_config(config);
    let home = |name: &str| dir.join(name);
    let noisy_vmm = Vmm::flat_out("v52");
    let mut noisy = noisy_vmm.launch("noisy", &home("noisy"), "lines=30000");
    noisy.vmm.push("--boot-on-connect".into());
    noisy.vm.log.rate_bytes = rate;
    let quiet_vmm = Vmm::sim("v52");
    // A line every 20 ms: 3 kB/s.
    let cmdline =
        format!("lines=60 delay={}", quiet_vmm.loops(std::time::Duration::from_millis(20)));
    let mut quiet = quiet_vmm.launch("quiet", &home("quiet"), &cmdline);
    quiet.vmm.push("--boot-on-connect".into());
    let ids = [noisy, quiet].map(|launch| turns.reactor.launch(launch).expect("launched"));
    turns.turn_until_within(PATIENCE * 3, "the end of both", |this| {
        ids.iter().all(|vm| this.reactor.status(*vm).is_none())
    });
    let told = turns.events.iter().map(|event| match event.kind {
        EventKind::Lost(bytes) => bytes,
        _ => 0,
    });
    let told: u64 = told.sum();
    let (kept, lost) = handed_over_without_losses(&home("noisy"));
    assert_same(&whole(&home("noisy").join("logs/app.log")), &kept, "the noisy one");
    assert!(lost > 500_000, "{lost} bytes");
    assert_eq!((told, turns.reactor.stats().lost_bytes), (lost, lost));
    let (kept, lost) = handed_over_without_losses(&home("quiet"));
    assert_same(&whole(&home("quiet").join("logs/app.log")), &kept, "the quiet one");
    assert_eq!(lost, 0, "the quiet one");
}

#[test]
fn a_flood_above_its_own_rate_costs_nobody_else_a_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    flood(Config::default(), Some(50_000), dir.path());
}

#[test]
fn a_flood_above_the_hosts_rate_costs_nobody_else_a_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { host_rate_bytes: Some(60_000), ..Config::default() };
    flood(config, None, dir.path());
}
