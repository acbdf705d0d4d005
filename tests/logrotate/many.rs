//! The real logrotate over 50 logs at once, every 200 ms, while their guests print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::ch_sim::ledger::Ledger;
use super::ch_sim::transcript;
use super::fleets::Fleet;
use super::support::account::{Account, number};
use super::support::logs::{assert_no_hole, assert_pieces, assert_same, whole};
use super::support::process::run_to_success;
use super::support::wait::{PATIENCE, wait_until};
use super::support::{seriald, skip};

const VMS: usize = 50;
const EVERY: Duration = Duration::from_millis(200);
const LASTS: Duration = Duration::from_secs(20);

/// Each log with what its VM has handed over, and the directory in which they lie.
struct Outcome {
    logs: Vec<(PathBuf, Vec<u8>)>,
    _top: tempfile::TempDir,
}

/// Runs the guests under seriald and under logrotate with this directive.
fn run(directive: &str) -> Option<Outcome> {
    let logrotate = skip::program("logrotate")?;
    let top = tempfile::tempdir().expect("a directory");
    let dir = top.path();
    // Some 2 kB/s each, for as long as it lasts.
    let mut fleet = Fleet::start("v52", dir, VMS, &["--rate", "2000"], "lines=0");
    let instances: Vec<_> = fleet.homes.iter().map(|home| json!(home)).collect();
    let configuration = json!({
        "log": {"max_bytes": 1 << 30, "check_interval_s": 1, "keep": 1},
        "instances": instances,
    });
    let mut collector = seriald::run(dir, &configuration);
    let begun = |home: &PathBuf| fs::metadata(home.join("logs/app.log")).is_ok_and(|m| m.len() > 0);
    wait_until(PATIENCE, "output of all", || fleet.homes.iter().all(begun));

    let rules = dir.join("logrotate.conf");
    let logs = dir.join("vm-*/logs/app.log");
    let text =
        format!("{} {{\n rotate 1000\n nocompress\n missingok\n {directive}\n}}\n", logs.display());
    fs::write(&rules, text).expect("written");
    let (until, mut rotations) = (Instant::now() + LASTS, 0);
    while Instant::now() < until {
        let next = Instant::now() + EVERY;
        let mut rotate = Command::new(&logrotate);
        run_to_success(rotate.arg("-f").arg("-s").arg(dir.join("logrotate.state")).arg(&rules));
        rotations += 1;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    println!("{directive}: {rotations} rotations of {VMS} logs");
    assert!(rotations >= 5, "{rotations} rotations");
    fleet.process.terminate_and_wait();
    let ledger = |home: &Path| Ledger::read(&home.join("ledger.json")).expect("a ledger");
    let logs = fleet
        .homes
        .iter()
        .map(|home| (home.join("logs/app.log"), transcript::bytes(&ledger(home))));
    let logs: Vec<_> = logs.collect();
    assert_eq!(collector.terminate_and_wait().code(), Some(0));
    Some(Outcome { logs, _top: top })
}

#[test]
fn logrotate_that_truncates_fifty_printing_logs_leaves_no_hole_and_the_account_is_right() {
    let Some(Outcome { logs, _top }) = run("copytruncate") else { return };
    let mut truncated = 0;
    for (log, came) in &logs {
        assert_no_hole(log);
        assert_pieces(log, came);
        let account = Account::of(log);
        let (offset, size) = account.end();
        assert_eq!(offset, came.len(), "{}", log.display());
        assert_same(&fs::read(log).expect("a log"), &came[offset - size..], "the log's end");
        let cut: Vec<usize> =
            account.of_kind("truncated").map(|line| number(line, "bytes")).collect();
        truncated += cut.len();
        assert_eq!(cut.iter().sum::<usize>() + size, came.len(), "{}", log.display());
        assert_eq!(account.losses(), [], "{}", log.display());
    }
    assert!(truncated > VMS, "{truncated} truncations were noticed");
}

#[test]
fn logrotate_that_moves_fifty_printing_logs_loses_no_byte_and_the_account_is_right() {
    let Some(Outcome { logs, _top }) = run("create 0640") else { return };
    let mut moved = 0;
    for (log, came) in &logs {
        assert_no_hole(log);
        assert_same(&whole(log), came, &log.display().to_string());
        let account = Account::of(log);
        assert_eq!(account.end().0, came.len(), "{}", log.display());
        let (mut at, mut bytes) = (0, 0);
        for line in account.of_kind("moved") {
            assert_eq!(number(line, "start"), at, "{}", log.display());
            at = number(line, "end");
            bytes += number(line, "bytes");
            moved += 1;
        }
        assert_eq!(bytes + account.end().1, came.len(), "{}", log.display());
    }
    assert!(moved > VMS, "{moved} moves were noticed");
}
