//! The program as people run it, with those who need no installing.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn compare(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(arguments).arg("--dir").arg(dir).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], dir: &Path) -> Output {
    compare(arguments, dir).output().expect("the program")
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).expect("a directory").count()
}

#[test]
fn a_smoke_test_runs_every_load_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&["--quick", "--only", "floor,loop", "--json", "-"], dir.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runs = document["runs"].as_array().expect("runs");
    for load in ["a-1", "a-16", "b", "c-1", "c-4", "d", "e"] {
        for collector in ["floor", "loop"] {
            let found = |run: &&Value| {
                run["load"] == load && run["collector"] == collector && run["round"] == 1
            };
            let run = runs.iter().find(found);
            let run = run.unwrap_or_else(|| panic!("{collector} was not run under {load}"));
            assert_eq!(run["fault"], Value::Null, "{run}");
            assert_eq!(run["bytes"].as_u64() == Some(0), load == "d", "{run}");
        }
    }
    // Who rotates no logs has no part in f, and that is said.
    let left_out = document["left_out"].to_string();
    assert!(left_out.contains("floor, loop in f-rename"), "{left_out}");
    assert_eq!(entries(dir.path()), 0);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let long = ["--load", "b", "--scale", "100", "--only", "floor"];
    let mut child = compare(&long, dir.path()).stderr(Stdio::null()).spawn().expect("the program");
    let deadline = Instant::now() + Duration::from_secs(60);
    while entries(dir.path()) == 0 {
        assert!(Instant::now() < deadline, "it never begins");
        thread::sleep(Duration::from_millis(1));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("a process");
    let status = child.wait().expect("its end");
    assert_eq!(status.code(), Some(1), "{status}");
    assert_eq!(entries(dir.path()), 0);
}

#[test]
fn wrong_input_gets_one_clear_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = dir.path().join("nowhere/results.json");
    let nowhere = nowhere.to_str().expect("text");
    let cases: [(&[&str], &str); 5] = [
        (&["--load", "x"], "no load \"x\""),
        (&["--only", "minicom"], "no collector \"minicom\""),
        (&["--only", "seriald", "--seriald", "/dev/null/x"], "can't run /dev/null/x"),
        (&["--only", "seriald", "--seriald", "/bin/true"], "/bin/true is no seriald"),
        (&["--only", "floor", "--json", nowhere], "can't write"),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
    assert_eq!(entries(dir.path()), 0);
}
