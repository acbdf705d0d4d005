//! `seriald launch`, against ch-sim out of the same executable.

use crate::program::{Running, ended, processes, seriald, tree, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_seriald");

/// A directory with a launch file for a guest with this kernel command line.
pub struct Bench {
    pub dir: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The launch file of VM `id`, with changes laid over it.
    pub fn file(&self, id: &str, cmdline: &str, changes: Value) -> String {
        let dir = self.path(id);
        fs::create_dir_all(&dir).expect("made");
        fs::write(self.path("kernel"), "any").expect("written");
        let mut launch = json!({
            "dir": dir,
            "vmm": [BINARY, "ch-sim"],
            "config": {"payload": {"kernel": self.path("kernel"), "cmdline": cmdline}},
        });
        for (key, value) in changes.as_object().expect("an object") {
            launch[key] = value.clone();
        }
        let launch = launch.as_object().expect("an object");
        let launch: serde_json::Map<_, _> =
            launch.clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
        let file = self.path(&format!("{id}.json"));
        fs::write(&file, Value::Object(launch).to_string()).expect("written");
        file.to_str().expect("UTF-8").into()
    }

    pub fn log(&self, id: &str) -> String {
        fs::read_to_string(self.path(id).join("logs/app.log")).unwrap_or_default()
    }

    /// No VMM runs, no socket is left.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        let name = self.dir.path().to_str().expect("UTF-8");
        assert_eq!(processes(name), [0_u32; 0]);
        let left = tree(self.dir.path());
        let socket = left.iter().find(|path| path.extension().is_some_and(|e| e == "sock"));
        assert_eq!(socket, None);
    }
}

/// What a guest of so many lines prints.
pub fn output(lines: u32) -> String {
    let line = |n| format!("SEQ {n:08} the quick brown fox jumps over the lazy dog\n");
    format!("GUEST-UP\n{}GUEST-DONE\n", (0..lines).map(line).collect::<String>())
}

#[test]
fn vms_run_to_their_end_and_every_byte_is_in_their_logs() {
    let bench = Bench::new();
    let files = ["a", "b"].map(|id| bench.file(id, "lines=20 wait=80000000", json!({})));
    let end = ended(&["launch", &files[0], &files[1]]);
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
    for id in ["a", "b"] {
        assert_eq!(bench.log(id), output(20));
    }
    bench.nothing_is_left();
}

#[test]
fn a_signal_shuts_every_vmm_down_in_order() {
    for signal in ["TERM", "INT"] {
        let bench = Bench::new();
        let files = ["a", "b"].map(|id| bench.file(id, "lines=0", json!({})));
        let run = Running::start(seriald(&["launch", &files[0], &files[1]]));
        wait_until("both print", || ["a", "b"].iter().all(|id| bench.log(id).len() > 200));
        run.signal(signal);
        let end = run.end();
        assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
        for id in ["a", "b"] {
            let (log, all) = (bench.log(id), output(1_000_000 / 57));
            assert!(all.starts_with(&log), "{log}");
        }
        bench.nothing_is_left();
    }
}

#[test]
fn a_wrong_file_starts_nothing() {
    let bench = Bench::new();
    let good = bench.file("a", "lines=1", json!({}));
    let neither = bench.file("b", "", json!({"config": null}));
    ended(&["launch", &good, &neither]).is(
        1,
        &format!(
            "seriald: {neither}:1:1: \"config\" (the body of vm.create) or \"restore\" (of \
             vm.restore) is missing"
        ),
    );
    let both = bench.file("b", "", json!({"restore": {}}));
    ended(&["launch", &good, &both]).has(1, "a VM is either made or restored");
    let misspelt = bench.file("b", "", json!({"vm": []}));
    ended(&["launch", &good, &misspelt]).has(1, "unknown key \"vm\", did you mean \"vmm\"?");
    let missing = bench.path("none.json");
    ended(&["launch", &good, missing.to_str().expect("UTF-8")])
        .has(1, "none.json: cannot be read: No such file");
    let same = bench.file("b", "", json!({"id": "a"}));
    ended(&["launch", &good, &same])
        .is(1, &format!("seriald: {same}: id a is already taken, by {good}"));
    assert!(tree(&bench.path("a")).is_empty());
}

#[test]
fn a_path_that_no_socket_can_have_is_refused_before_anything_starts() {
    let bench = Bench::new();
    for key in ["serial", "api"] {
        let long = bench.path(&"s".repeat(100));
        let file = bench.file("a", "lines=1", json!({key: long}));
        let end = ended(&["launch", &file]);
        end.has(1, "seriald: VM \"a\": ");
        assert!(end.err.contains("107"), "{}", end.err);
    }
    assert!(tree(&bench.path("a")).is_empty());
}

#[test]
fn a_vmm_that_does_not_start_is_named_and_holds_no_other_back() {
    let bench = Bench::new();
    let bad = bench.file("bad", "", json!({"vmm": ["/nowhere/cloud-hypervisor"]}));
    let good = bench.file("good", "lines=5 wait=80000000", json!({}));
    let end = ended(&["launch", &bad, &good]);
    end.has(1, "seriald: VM \"bad\": launch failed: start of the VMM: ");
    assert!(end.err.contains("/nowhere/cloud-hypervisor"), "{}", end.err);
    assert_eq!(bench.log("good"), output(5));
    bench.nothing_is_left();
}

#[test]
fn a_launch_that_fails_at_once_ends_with_one_error() {
    let bench = Bench::new();
    let bad = bench.file("bad", "", json!({"vmm": ["/nowhere/cloud-hypervisor"]}));
    let end = ended(&["launch", &bad]);
    end.has(1, "seriald: VM \"bad\": launch failed: start of the VMM: ");
    assert_eq!(end.err.matches("launch failed").count(), 1, "{}", end.err);
    bench.nothing_is_left();
}

#[test]
fn a_vmms_end_is_seen_also_where_sigchld_is_ignored() {
    let bench = Bench::new();
    let file = bench.file("a", "lines=5 wait=80000000", json!({}));
    // An ignored signal stays ignored over exec.
    let mut command = std::process::Command::new("env");
    command.args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_seriald"), "launch", &file]);
    command.env("RUST_LOG", "off");
    assert_eq!(Running::start(command).end().code, Some(0));
    assert_eq!(bench.log("a"), output(5));
    bench.nothing_is_left();
}

#[test]
fn what_cloud_hypervisor_says_is_in_the_message() {
    let bench = Bench::new();
    let config = json!({"payload": {"kernel": bench.path("no-kernel"), "cmdline": ""}});
    let end = ended(&["launch", &bench.file("a", "", json!({"config": config}))]);
    end.has(1, "seriald: VM \"a\": launch failed: ");
    for word in ["boot", "500", "No such file or directory"] {
        assert!(end.err.contains(word), "{word} is not in {}", end.err);
    }
    bench.nothing_is_left();
}

#[test]
fn somebody_elses_live_socket_is_left_alone() {
    let bench = Bench::new();
    let file = bench.file("a", "lines=1", json!({}));
    let path = bench.path("a").join("serial.sock");
    let theirs = UnixListener::bind(&path).expect("bound");
    let serve = std::thread::spawn(move || {
        let (mut client, _) = theirs.accept().expect("a client");
        let mut input = Vec::new();
        client.read_to_end(&mut input).expect("until it shuts down");
        drop(client);
        (theirs, input)
    });
    let end = ended(&["launch", &file]);
    end.has(1, "seriald: VM \"a\": launch failed: serial socket: ");
    assert!(exists(&path), "their socket is gone");
    let (_theirs, input) = serve.join().expect("served");
    assert_eq!(input, b"");
    assert!(!exists(&bench.path("a").join("ch.sock")));
}

#[test]
fn a_dead_socket_is_cleared_away_and_a_file_is_not() {
    let bench = Bench::new();
    let file = bench.file("a", "lines=5 wait=80000000", json!({}));
    for name in ["serial.sock", "ch.sock"] {
        drop(UnixListener::bind(bench.path("a").join(name)).expect("bound"));
    }
    let end = ended(&["launch", &file]);
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
    assert_eq!(bench.log("a"), output(5));

    let path = bench.path("a").join("serial.sock");
    fs::write(&path, "precious").expect("written");
    ended(&["launch", &file]).has(1, "seriald: VM \"a\": launch failed: ");
    assert_eq!(fs::read_to_string(&path).expect("read"), "precious");
    let name = bench.dir.path().to_str().expect("UTF-8");
    assert_eq!(processes(name), [0_u32; 0]);
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
