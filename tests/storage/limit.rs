//! A limit on the size of files.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::json;

use super::support::account::{Account, number};
use super::support::process::Process;
use super::support::seriald;
use super::support::wait::{PATIENCE, wait_until};

#[test]
fn a_log_that_may_not_grow_is_a_full_disk_and_not_the_end_of_the_collector() {
    let dir = tempfile::tempdir().expect("a directory");
    let (serial, log) = (dir.path().join("serial.sock"), dir.path().join("app.log"));
    let listener = UnixListener::bind(&serial).expect("a listener");
    let configuration = seriald::configuration(&serial, &log, json!({"hold_bytes": 8192}));
    let file = dir.path().join("seriald.json");
    fs::write(&file, configuration.to_string()).expect("a configuration");
    let mut command = Command::new("sh");
    // Eight blocks of 512 bytes.
    command.args(["-c", "ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_seriald"), "run"]);
    let mut collector = Process::start("seriald", dir.path(), command.arg("--config").arg(file));
    let (mut console, _) = listener.accept().expect("a client");
    let came: Vec<u8> = (0..2000).flat_map(|n| format!("line {n:04}\n").into_bytes()).collect();
    console.write_all(&came).expect("written");
    let full = || fs::metadata(&log).is_ok_and(|log| log.len() == 4096);
    wait_until(PATIENCE, "a full log", full);
    wait_until(PATIENCE, "word of it", || collector.output().contains("File too large"));
    drop(console);
    wait_until(PATIENCE, "the end of the stream", || {
        Account::of(&log).of_kind("disconnected").count() == 1
    });
    assert!(collector.is_running());
    assert_eq!(collector.terminate_and_wait().code(), Some(0));

    assert_eq!(fs::read(&log).expect("a log"), came[..4096]);
    let account = Account::of(&log);
    let lost: usize = account.of_kind("lost").map(|line| number(line, "bytes")).sum();
    assert_eq!((account.end().0, lost), (came.len(), came.len() - 4096));
    let causes: Vec<_> = account.of_kind("lost").map(|line| line["cause"].clone()).collect();
    assert_eq!(causes, ["write_failed", "closed"]);
}
