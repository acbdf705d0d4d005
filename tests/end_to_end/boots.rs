//! A guest that reboots for ever can't push the beginning of its boots out, nor the offsets.

use std::fs;
use std::path::Path;

use seriald::log::boot::heads;
use seriald::log::record::{Record, What};

use super::LEEWAY;
use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::embedded::Loop;
use super::support::logs::{assert_same, generations};
use super::support::vmm::Vmm;
use super::support::wait::PATIENCE;

const BOOTS: usize = 30;
const HEAD: usize = 1500;

fn reboots_for_ever(vmm: &Vmm, home: &Path) {
    let mut turns = Loop::new();
    let wait = vmm.loops(LEEWAY / 8);
    let cmdline = format!("lines=60 reboot=1 boots={BOOTS} wait={wait}");
    let mut launch = vmm.launch("a", home, &cmdline);
    if vmm.name == "v52" {
        launch.vmm.push("--boot-on-connect".into());
    }
    (launch.vm.log.max_bytes, launch.vm.log.keep) = (2048, 1);
    launch.vm.log.keep_boot_head = HEAD;
    let vm = turns.reactor.launch(launch).expect("launched");
    turns.turn_until_within(PATIENCE * 2, "thirty boots", |this| this.reactor.status(vm).is_none());
    let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
    assert_eq!(ledger.boots.len(), BOOTS);
    let handed = |boots: &[super::ch_sim::ledger::Boot]| {
        transcript::bytes(&Ledger { boots: boots.to_vec(), ..Ledger::default() })
    };
    let log = home.join("logs/app.log");
    let left: usize = generations(&log).iter().map(Vec::len).sum();
    assert!(left < 5000, "the log itself has {left} bytes left");
    let file = fs::read(home.join("logs/app.log.boot")).expect("the beginnings");
    let heads = heads(&file);
    assert_eq!(heads.len(), 8, "{}", vmm.name);
    for (at, head) in heads.iter().enumerate() {
        let n = BOOTS - 8 + at;
        let mut beginning = handed(&ledger.boots[n..=n]);
        beginning.truncate(HEAD);
        assert_same(head.bytes, &beginning, &format!("{}: boot {n}", vmm.name));
        assert_eq!(head.bytes.len(), HEAD, "{}: boot {n}", vmm.name);
        assert_eq!(head.boot, n as u64 + 1);
        assert_eq!(head.offset, handed(&ledger.boots[..n]).len() as u64, "boot {n}");
    }
    let events = fs::read(home.join("logs/app.log.events")).expect("an events file");
    let noted = Record::decode_all(&events).filter(|record| record.what == What::Boot).count();
    assert_eq!(noted, BOOTS, "{}", vmm.name);
}

#[test]
fn the_beginning_of_each_of_the_last_eight_boots_is_kept_exactly_v52() {
    let dir = tempfile::tempdir().expect("a directory");
    reboots_for_ever(&Vmm::sim("v52"), &dir.path().join("guest"));
}

#[test]
fn the_beginning_of_each_of_the_last_eight_boots_is_kept_exactly_v53() {
    let dir = tempfile::tempdir().expect("a directory");
    reboots_for_ever(&Vmm::sim("v53"), &dir.path().join("guest"));
}
