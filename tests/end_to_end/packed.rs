//! A hundred VMs whose backups all go through zstd while they print.

use std::path::Path;
use std::process::Command;

use seriald::config::AfterRotate;
use seriald::{Config, LogSpec, OnExit, RotateMode, VmSpec};

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::fleets::Fleet;
use super::support::embedded::Loop;
use super::support::logs::assert_same;
use super::support::skip;
use super::support::wait::PATIENCE;

const VMS: usize = 100;
const LINES: u32 = 400;

/// The numbers of a log's backups, all of them with this suffix; the highest is the oldest.
fn packed_numbers(log: &Path, suffix: &str) -> Vec<u32> {
    let name = log.file_name().expect("a name").to_str().expect("UTF-8");
    let entries = std::fs::read_dir(log.parent().expect("a directory")).expect("its directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let beside = names.filter_map(|other| {
        let rest = other.to_str()?.strip_prefix(name)?.strip_prefix('.')?.to_owned();
        rest.starts_with(|first: char| first.is_ascii_digit()).then_some(rest)
    });
    let number = |rest: String| {
        let number = rest.strip_suffix(suffix).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{}.{rest} is not packed", log.display()))
    };
    let mut numbers: Vec<u32> = beside.map(number).collect();
    numbers.sort_unstable();
    numbers
}

fn run_packed(version: &'static str, mode: RotateMode) {
    let Some(zstd) = skip::program("zstd") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let cmdline = format!("lines={LINES} wait=1000000");
    let fleet = Fleet::start(version, dir.path(), VMS, &["--flat-out"], &cmdline);
    let command = vec![zstd.display().to_string(), "-q".into()];
    let after = AfterRotate { command, suffix: ".zst".into() };
    let log_of = |home: &Path| LogSpec {
        max_bytes: 8192,
        keep: 1000,
        mode,
        after_rotate: Some(after.clone()),
        ..LogSpec::new(home.join("logs/app.log"))
    };

    let mut turns = Loop::new();
    turns.reactor.set_config(Config { after_rotate_parallel: 2, ..Config::default() });
    for home in &fleet.homes {
        let id = home.file_name().expect("a name").to_string_lossy();
        let mut spec = VmSpec::new(id, home.join("serial.sock"), log_of(home));
        // So that the backups are packed after the last byte too.
        spec.on_exit = OnExit::Wait;
        turns.reactor.adopt(spec).expect("adopted");
    }
    turns.turn_until_within(PATIENCE * 5, "all packed", |this| {
        let stats = this.reactor.stats();
        let over = this.reactor.vms().all(|vm| {
            this.reactor.status(vm).is_some_and(|status| {
                status.state == "dialing" && status.connects > 0 && status.log_bytes > 0
            })
        });
        over && stats.packed == stats.rotations
    });
    let stats = *turns.reactor.stats();
    eprintln!(
        "{version} {mode:?}: {} backups packed, longest turn {} us",
        stats.packed, stats.turn_us_max
    );
    assert_eq!((stats.after_rotate_failures, stats.lost_bytes), (0, 0));
    assert!(stats.packed as usize >= VMS, "{} packed", stats.packed);
    for home in &fleet.homes {
        let log = home.join("logs/app.log");
        let numbers = packed_numbers(&log, ".zst");
        let files = numbers.iter().rev().map(|k| home.join(format!("logs/app.log.{k}.zst")));
        let unpacked = Command::new(&zstd).arg("-dcq").args(files).output().expect("zstd runs");
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        let live = std::fs::read(&log).expect("the log");
        let ledger = Ledger::read(&home.join("ledger.json")).expect("a ledger");
        let truth = transcript::bytes(&ledger);
        let all = [unpacked.stdout, live].concat();
        assert_same(&all, &truth, &log.display().to_string());
    }
}

#[test]
fn all_backups_of_a_hundred_v52_vms_unpack_to_what_was_printed_rename() {
    run_packed("v52", RotateMode::Rename);
}

#[test]
fn all_backups_of_a_hundred_v53_vms_unpack_to_what_was_printed_copytruncate() {
    run_packed("v53", RotateMode::CopyTruncate);
}
