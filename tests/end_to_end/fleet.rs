//! A thousand VMs that print flat out, each log held against its VM's ledger.

use std::path::Path;
use std::process::Command;

use seriald::{LogSpec, OnExit, RotateMode, VmSpec};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::support::embedded::Loop;
use super::support::guest::expected_output;
use super::support::logs::{assert_no_hole, assert_same, whole};
use super::support::process::Process;
use super::support::wait::PATIENCE;

const VMS: usize = 1000;
const LINES: u32 = 200;

fn run_fleet(version: &str, mode: RotateMode) {
    let dir = tempfile::tempdir().expect("a directory");
    let cmdline = format!("lines={LINES} wait=1000000");
    let mut command = Command::new("sh");
    // Its sockets need descriptors: the soft limit goes up to the hard one.
    command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_ch-sim"));
    command.args(["--as", version, "--flat-out", "--boot-on-connect", "--until-done"]);
    command.args(["--fleet", &VMS.to_string(), "--cmdline", &cmdline, "--dir"]).arg(dir.path());
    let _fleet = Process::start("ch-sim", dir.path(), &mut command);

    let mut turns = Loop::new();
    let homes: Vec<_> = (0..VMS).map(|n| dir.path().join(format!("vm-{n:04}"))).collect();
    for home in &homes {
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
    for home in &homes {
        judge(home, version);
    }
    assert_eq!(turns.reactor.stats().lost_bytes, 0);
    assert!(turns.reactor.stats().rotations as usize >= VMS * 2);
}

fn judge(home: &Path, version: &str) {
    let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
    let log = home.join("logs/app.log");
    assert_same(&whole(&log), &transcript::bytes(&ledger), &log.display().to_string());
    assert_no_hole(&log);
    if version == "v52" {
        // It has no ring: the guest waits instead, and nothing is missing.
        assert_same(&whole(&log), &expected_output(LINES), &log.display().to_string());
    }
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
