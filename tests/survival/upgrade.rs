//! A running seriald is replaced in its own process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use super::fleets::Fleet;
use super::running::{SERIALD, logged, run};
use super::support::process::Process;
use super::support::skip;
use super::support::wait::{PATIENCE, wait_until};

/// The program in a directory of its own, so that a test can put another in its place.
fn install(dir: &Path) -> PathBuf {
    let path = dir.join("seriald");
    replace(&path, &fs::read(SERIALD).expect("the program"));
    path
}

/// As a package does it: a new file, renamed over the old one.
fn replace(program: &Path, bytes: &[u8]) {
    let new = program.with_extension("new");
    fs::write(&new, bytes).expect("the new program");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::rename(new, program).expect("in its place");
}

fn upgrade(pid: u32) -> Output {
    let pid = pid.to_string();
    Command::new(SERIALD).args(["upgrade", "--pid", &pid]).output().expect("it runs")
}

fn succeeds(upgraded: &Output) {
    let err = String::from_utf8_lossy(&upgraded.stderr);
    assert!(upgraded.status.success(), "{err}");
}

fn fails_with(upgraded: &Output, why: &str) {
    let err = String::from_utf8_lossy(&upgraded.stderr);
    assert_eq!(upgraded.status.code(), Some(1), "{err}");
    assert!(err.contains(why), "{why:?} is not in {err:?}");
}

/// The program of a running process, as the kernel has it.
fn runs(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).expect("it runs")
}

fn fifty_upgrades(version: &'static str) {
    let dir = tempfile::tempdir().expect("a directory");
    let program = install(dir.path());
    let mut fleet = Fleet::start(version, dir.path(), 50, &["--rate", "4000"], "lines=0");
    let mut seriald = run(&program, dir.path(), &fleet);
    wait_until(PATIENCE, "output", || logged(&fleet) > 50_000);
    for round in 0..50 {
        if round % 10 == 0 {
            replace(&program, &fs::read(SERIALD).expect("the program"));
        }
        let before = logged(&fleet);
        succeeds(&upgrade(seriald.id()));
        wait_until(PATIENCE, "more output", || logged(&fleet) > before);
        assert!(fleet.process.is_running(), "the guests were to print all the while");
    }
    assert_eq!(runs(seriald.id()), program);
    let said = seriald.output();
    fleet.process.terminate_and_wait();
    assert!(seriald.terminate_and_wait().success());
    fleet.assert_logs_are_as_handed_over();
    assert_eq!(said.matches("goes on where").count(), 50);
    // One connection for each VM's life: no upgrade was seen by a VMM.
    assert_eq!(said.matches(": connected").count(), 50);
    assert_eq!(said.matches("WARN").count(), 1, "that there is no store, once: {said}");
    for bad in ["ERROR", "displaced"] {
        assert!(!said.contains(bad), "{bad} in {said}");
    }
}

#[test]
fn fifty_upgrades_in_a_row_lose_and_double_no_byte_of_v52() {
    fifty_upgrades("v52");
}

#[test]
fn fifty_upgrades_in_a_row_lose_and_double_no_byte_of_v53() {
    fifty_upgrades("v53");
}

#[test]
fn a_new_program_that_fails_a_check_is_not_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = install(dir.path());
    let mut fleet = Fleet::start("v53", dir.path(), 2, &["--rate", "4000"], "lines=400");
    let mut seriald = run(&program, dir.path(), &fleet);
    wait_until(PATIENCE, "output", || logged(&fleet) > 1000);
    let script = |refuses: &str| {
        format!("#!/bin/sh\ncase \"$*\" in *{refuses}*) exit 3;; esac\nexec {SERIALD} \"$@\"\n")
    };
    for flag in ["--version", "--check", "--check-state"] {
        replace(&program, script(flag).as_bytes());
        let why = format!("{flag}` says no (exit code 3); the running program goes on");
        fails_with(&upgrade(seriald.id()), &why);
    }
    fs::remove_file(&program).expect("removed");
    fails_with(&upgrade(seriald.id()), "No such file or directory");
    // A configuration that is bad by now is a reason too.
    replace(&program, &fs::read(SERIALD).expect("the program"));
    let config = dir.path().join("seriald.json");
    let good = fs::read(&config).expect("the configuration");
    fs::write(&config, "{\"vms\": 3}").expect("a bad one");
    fails_with(&upgrade(seriald.id()), "--check` says no (exit code 1)");
    assert!(seriald.output().contains("seriald.json:1:9: vms: must be an array"));
    fs::write(&config, good).expect("the good one");
    succeeds(&upgrade(seriald.id()));
    fleet.process.wait_for_exit();
    assert!(seriald.terminate_and_wait().success());
    fleet.assert_logs_are_whole(400);
}

#[test]
fn a_new_program_that_fails_after_its_start_runs_the_old_one_again() {
    let Some(strace) = skip::program("strace") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let program = install(dir.path());
    let mut fleet = Fleet::start("v53", dir.path(), 2, &["--rate", "4000"], "lines=400");
    let mut seriald = run(&program, dir.path(), &fleet);
    wait_until(PATIENCE, "output", || logged(&fleet) > 1000);
    // The new program's first epoll instance is refused; the old one's, afterwards, is not.
    let mut tracer = Command::new(strace);
    tracer.args(["-qq", "-e", "trace=epoll_create1", "-e"]);
    tracer.args(["inject=epoll_create1:error=EMFILE:when=1", "-p", &seriald.id().to_string()]);
    let mut tracer = Process::start("strace", dir.path(), &mut tracer);
    let status = format!("/proc/{}/status", seriald.id());
    wait_until(PATIENCE, "the tracer", || {
        assert!(tracer.is_running(), "{}", tracer.output());
        fs::read_to_string(&status).is_ok_and(|status| !status.contains("TracerPid:\t0"))
    });
    replace(&program, &fs::read(SERIALD).expect("the program"));
    fails_with(&upgrade(seriald.id()), "event loop: Too many open files");
    tracer.terminate_and_wait();
    // The path leads to the next one all the same.
    succeeds(&upgrade(seriald.id()));
    assert_eq!(runs(seriald.id()), program);
    fleet.process.wait_for_exit();
    assert!(seriald.terminate_and_wait().success());
    fleet.assert_logs_are_whole(400);
    assert_eq!(seriald.output().matches(": connected").count(), 2);
}

#[test]
fn a_launched_vmm_and_its_exit_code_survive_an_upgrade() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = install(dir.path());
    let go = dir.path().join("go");
    // The VMM is a shell that ends with the code of our choice.
    let vmm = format!(
        "{} --as v53 \"$@\" & vmm=$!; while kill -0 $vmm 2>/dev/null; do \
         [ -e {} ] && kill $vmm; sleep 0.02; done; exit 7",
        env!("CARGO_BIN_EXE_ch-sim"),
        go.display()
    );
    let launch = json!({
        "dir": dir.path().join("a"), "vmm": ["sh", "-c", vmm, "sh"],
        "config": {"payload": {"kernel": "/dev/null", "cmdline": "lines=0 delay=1000"}},
    });
    let file = dir.path().join("a.json");
    fs::write(&file, launch.to_string()).expect("a launch file");
    let bad = dir.path().join("bad.json");
    let launch = json!({"dir": dir.path().join("b"), "vmm": ["/nonexistent"], "config": {}});
    fs::write(&bad, launch.to_string()).expect("a launch file");
    let mut command = Command::new(&program);
    let mut seriald =
        Process::start("seriald", dir.path(), command.arg("launch").args([&file, &bad]));
    wait_until(PATIENCE, "the launch", || {
        let said = seriald.output();
        said.contains("VM a: launched") && said.contains("VM \"b\": launch failed")
    });
    for _ in 0..3 {
        succeeds(&upgrade(seriald.id()));
    }
    fs::write(&go, "").expect("the sign");
    let status = seriald.wait_for_exit();
    let said = seriald.output();
    assert!(said.contains("closed: the VMM has ended (exit code 7)"), "{said}");
    assert_eq!(status.code(), Some(1), "a launch had failed, before the upgrades");
}

#[test]
fn a_process_that_the_signal_would_end_is_left_alone() {
    let mut sleeper = Command::new("sleep").arg("60").spawn().expect("it starts");
    fails_with(&upgrade(sleeper.id()), "is no seriald that can be upgraded");
    assert!(sleeper.try_wait().expect("asked").is_none(), "it was not signalled");
    sleeper.kill().expect("killed");
    sleeper.wait().expect("reaped");
    fails_with(&upgrade(sleeper.id()), "there is none");
}

#[test]
fn a_process_that_is_told_to_end_is_not_upgraded_any_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = install(dir.path());
    let mut fleet = Fleet::start("v53", dir.path(), 2, &["--rate", "4000"], "lines=0");
    let mut seriald = run(&program, dir.path(), &fleet);
    wait_until(PATIENCE, "output", || logged(&fleet) > 1000);
    // The new program takes its time to say its version; meanwhile the old one is to end.
    let go = dir.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    replace(&program, format!("#!/bin/sh\n{wait}\nexec {SERIALD} \"$@\"\n").as_bytes());
    // A console that does not end its stream holds the end up for a second.
    seriald.signal("USR2");
    wait_until(PATIENCE, "the check", || seriald.output().contains("asking"));
    seriald.signal("TERM");
    fs::write(&go, "").expect("the sign");
    assert!(seriald.wait_for_exit().success());
    assert!(!seriald.output().contains("goes on where"), "{}", seriald.output());
    fleet.process.terminate_and_wait();
}
