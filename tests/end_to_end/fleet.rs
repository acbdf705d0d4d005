//! A thousand VMs that print flat out, each log held against its VM's ledger.

use seriald::{LogSpec, OnExit, RotateMode, VmSpec};

use super::fleets::Fleet;
use super::support::embedded::Loop;
use super::support::wait::PATIENCE;

const VMS: usize = 1000;
const LINES: u32 = 200;

fn run_fleet(version: &'static str, mode: RotateMode) {
    let dir = tempfile::tempdir().expect("a directory");
    let cmdline = format!("lines={LINES} wait=1000000");
    let fleet = Fleet::start(version, dir.path(), VMS, &["--flat-out"], &cmdline);

    let mut turns = Loop::new();
    for home in &fleet.homes {
        let log =
            LogSpec { max_bytes: 4096, keep: 100, mode, ..LogSpec::new(home.join("logs/app.log")) };
        let id = home.file_name().expect("a name").to_string_lossy();
        let mut spec = VmSpec::new(id, home.join("serial.sock"), log);
        spec.on_exit = OnExit::Close;
        turns.reactor.adopt(spec).expect("adopted");
    }
    turns.turn_until_within(PATIENCE * 5, "the end of all", |this| {
        this.reactor.vms().next().is_none()
    });
    fleet.assert_logs_are_whole(LINES);
    assert_eq!(turns.reactor.stats().lost_bytes, 0);
    assert!(turns.reactor.stats().rotations as usize >= VMS * 2);
}

#[test]
fn a_thousand_v52_vms_are_in_their_logs_to_the_byte_rename() {
    run_fleet("v52", RotateMode::Rename);
}

#[test]
fn a_thousand_v52_vms_are_in_their_logs_to_the_byte_copytruncate() {
    run_fleet("v52", RotateMode::CopyTruncate);
}

#[test]
fn a_thousand_v53_vms_are_in_their_logs_to_the_byte_rename() {
    run_fleet("v53", RotateMode::Rename);
}

#[test]
fn a_thousand_v53_vms_are_in_their_logs_to_the_byte_copytruncate() {
    run_fleet("v53", RotateMode::CopyTruncate);
}
