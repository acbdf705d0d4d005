//! `seriald logs`: from the files alone, and what is told of bytes that are missing.

use crate::program::{Running, ended, seriald, wait_until};
use crate::run::{Port, dir, let_go, text};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Runs seriald until the guest has printed this, in generations of 1024 bytes.
fn printed(dir: &Path, keep: u32, bytes: &[u8]) {
    let port = Port::bind(dir, "a");
    let config = dir.join("c.json");
    let (serial, log) = (dir.join("a.sock"), dir.join("a.log"));
    let vm = json!({"id": "a", "serial": serial, "log": log});
    let limits = json!({"max_bytes": 1024, "keep": keep});
    fs::write(&config, json!({"log": limits, "vms": [vm]}).to_string()).expect("written");
    let run = Running::start(seriald(&["run", "--config", text(&config)]));
    let mut guest = port.accept();
    guest.write_all(bytes).expect("printed");
    let newest = |text: &[u8]| bytes.ends_with(text) && (bytes.is_empty() || !text.is_empty());
    wait_until("all is in the log", || fs::read(&log).is_ok_and(|text| newest(&text)));
    run.signal("TERM");
    let_go(guest);
    assert_eq!(run.end().code, Some(0));
}

fn lines(from: u32, to: u32) -> String {
    (from..to).map(|n| format!("line {n:05} of what a guest prints\r\n")).collect()
}

#[test]
fn a_log_is_read_back_over_all_rotations_without_a_seriald() {
    let dir = dir();
    let all = lines(0, 200);
    printed(dir.path(), 100, all.as_bytes());
    let log = dir.path().join("a.log");
    assert!(dir.path().join("a.log.3").exists());
    let read = |args: &[&str]| {
        let read = ended(&[&["logs", "--log", text(&log)], args].concat());
        assert_eq!((read.code, read.err.as_str()), (Some(0), ""), "{args:?}");
        read.out
    };
    assert_eq!(read(&[]), all);
    assert_eq!(read(&["-n", "60"]), lines(140, 200));
    assert_eq!(read(&["-n", "0"]), "");
    assert_eq!(read(&["-n", "1000"]), all);
    assert_eq!(read(&["--offset", "2000"]), all[2000..]);
    assert_eq!(read(&["--offset", "999999"]), "");
    assert_eq!(read(&["--since", "1h"]), all);
    assert_eq!(read(&["--since", "2100-01-01T00:00:00Z"]), "");
    assert_eq!(read(&["--until", "2000-01-01T00:00:00Z"]), "");
    let until = read(&["--since", "1h", "--until", "0s"]);
    assert_eq!(until, all);
    // Each line has its time, in a pipe too.
    let stamped = read(&["-t", "-n", "2"]);
    let year = stamped.get(..2);
    assert!(
        year == Some("20") && stamped.lines().all(|line| line.contains("Z line 0")),
        "{stamped}"
    );
    // By the configuration it is found by the VM's name.
    let config = dir.path().join("c.json");
    let named = ended(&["logs", "a", "--config", text(&config), "-n", "3"]);
    assert_eq!((named.out, named.code), (lines(197, 200), Some(0)));
}

#[test]
fn bytes_that_are_missing_are_told_with_how_many_and_why() {
    let dir = dir();
    let all = lines(0, 200);
    printed(dir.path(), 2, all.as_bytes());
    let log = dir.path().join("a.log");
    let read = ended(&["logs", "--log", text(&log)]);
    assert_eq!(read.code, Some(0));
    assert!(all.ends_with(&read.out) && read.out.len() > 1024);
    let gone = all.len() - read.out.len();
    read.is(
        0,
        &format!(
            "seriald: {}: {gone} bytes are missing from offset 0 on: their backup is no longer kept",
            log.display()
        ),
    );
    // Somebody removes a backup in between.
    fs::remove_file(dir.path().join("a.log.1")).expect("removed");
    let read = ended(&["logs", "--log", text(&log)]);
    assert_eq!(read.err.matches("are missing").count(), 2, "{}", read.err);
    // The last lines begin behind what is gone.
    assert_eq!(ended(&["logs", "--log", text(&log), "-n", "1"]).err, "");
}

#[test]
fn what_is_followed_comes_as_it_is_written_and_over_a_rotation() {
    let dir = dir();
    let log = dir.path().join("plain.log");
    fs::write(&log, "1\n2\n3\n").expect("written");
    let script = format!(
        "{{ {:?} logs --log {log:?} -f -n 2; echo code=$? >&2; }} | \
         for _ in 1 2 3; do read -r line; echo \"$line\"; done",
        env!("CARGO_BIN_EXE_seriald")
    );
    let mut follow = Command::new("sh");
    follow.args(["-c", &script]);
    let mut follow = Running::start(follow);
    let lines = follow.lines();
    assert_eq!((lines.next(), lines.next()), ("2".into(), "3".into()));
    let mut file = fs::OpenOptions::new().append(true).open(&log).expect("opened");
    file.write_all(b"4\n").expect("written");
    assert_eq!(lines.next(), "4");
    // As `tail -f` does, it ends with whoever reads it, without another byte.
    assert_eq!(follow.end().err, "code=0\n");
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let dir = dir();
    let log = dir.path().join("long.log");
    fs::write(&log, lines(0, 100_000)).expect("written");
    let script = format!("{:?} logs --log {log:?} | head -n 1", env!("CARGO_BIN_EXE_seriald"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let piped = Running::start(command).end();
    assert_eq!((piped.out, piped.err), (lines(0, 1), String::new()));
}

#[test]
fn what_makes_no_sense_is_told() {
    let dir = dir();
    let usage = |args: &[&str], why: &str| ended(&[&["logs"], args].concat()).has(2, why);
    usage(&[], "<ID>");
    usage(&["a/b"], "is no VM's name");
    usage(&["a", "--since", "noon"], "--since \"noon\" is neither a time, as 2026");
    usage(&["a", "-n", "1", "--since", "1h"], "cannot be used with");
    let config = dir.path().join("c.json");
    fs::write(&config, "{}").expect("written");
    let unknown = ended(&["logs", "a", "--config", text(&config)]);
    unknown.has(1, "c.json names no VM \"a\"");
    let none = dir.path().join("none.sock");
    ended(&["logs", "a", "--control", text(&none)]).has(1, "or read the log's files, by --log");
    let absent = dir.path().join("absent/a.log");
    let read = |log: &Path, why: &str| ended(&["logs", "--log", text(log)]).has(1, why);
    read(&absent, "absent: it is not there, or not for this user to look at");
    read(&dir.path().join("absent.log"), "absent.log: there is no such log, nor anything");
    fs::create_dir(dir.path().join("b.log")).expect("made");
    read(&dir.path().join("b.log"), "b.log: there is no such log");
}
