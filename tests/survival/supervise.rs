//! The supervisor itself: what it passes on, and how it lets go.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use super::running::{SERIALD, child_of, one_vm};
use super::support::process::{run_to_success, signal};
use super::support::wait::{PATIENCE, wait_for, wait_until};

#[test]
fn signals_are_passed_on_and_the_exit_code_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut supervisor, _listener, client) = one_vm(dir.path(), SERIALD.as_ref());
    let child = child_of(supervisor.id()).expect("a child");
    let mut upgrade = Command::new(SERIALD);
    upgrade.args(["upgrade", "--pid", &supervisor.id().to_string()]);
    run_to_success(&mut upgrade);
    supervisor.signal("USR2");
    wait_until(PATIENCE, "two upgrades", || {
        supervisor.output().matches("goes on where").count() == 2
    });
    assert_eq!(child_of(supervisor.id()), Some(child));
    supervisor.signal("TERM");
    drop(client);
    assert!(supervisor.wait_for_exit().success());
    assert!(!supervisor.output().contains("started again"));
}

#[test]
fn what_a_dead_collector_had_not_read_is_read_by_the_next_and_nobody_sees_an_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut supervisor, _listener, mut client) = one_vm(dir.path(), SERIALD.as_ref());
    let log = dir.path().join("a.log");
    let mut truth = Vec::new();
    for round in 0..20 {
        let child = wait_for(PATIENCE, "a child", || child_of(supervisor.id()));
        signal(child, "STOP");
        let line = format!("line {round}\n");
        client.write_all(line.as_bytes()).expect("the stream stands");
        truth.extend_from_slice(line.as_bytes());
        signal(child, "KILL");
        wait_until(PATIENCE, "the line", || fs::read(&log).is_ok_and(|log| log == truth));
    }
    let ended = client.read(&mut [0; 1]).expect_err("no end, and nothing to read");
    assert_eq!(ended.kind(), std::io::ErrorKind::WouldBlock);
    supervisor.signal("TERM");
    drop(client);
    assert!(supervisor.wait_for_exit().success());
}

#[test]
fn a_supervisor_that_gives_up_leaves_every_console_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("seriald");
    fs::copy(SERIALD, &program).expect("a copy");
    let (mut supervisor, _listener, mut client) = one_vm(dir.path(), &program);
    wait_until(PATIENCE, "the start", || supervisor.output().contains("in charge"));
    // From now on no start comes to anything.
    let child = child_of(supervisor.id()).expect("a child");
    fs::rename(&program, dir.path().join("moved")).expect("moved");
    client.write_all(b"a line before the end\n").expect("sent");
    wait_until(PATIENCE, "the line", || {
        fs::read(dir.path().join("a.log")).is_ok_and(|log| log.ends_with(b"end\n"))
    });
    signal(child, "KILL");
    client.write_all(b"unread").expect("the stream stands");
    // First our half is shut, and only when the VMM has answered the stream is closed.
    wait_until(PATIENCE, "the half-close", || matches!(client.read(&mut [0; 1]), Ok(0)));
    client.write_all(b"still read").expect("it is read to its end");
    drop(client);
    assert_eq!(supervisor.wait_for_exit().code(), Some(1));
    let said = supervisor.output();
    assert_eq!(said.matches("the program cannot be run").count(), 10, "{said}");
    assert!(said.contains("16 bytes of consoles that were left are in no log"), "{said}");
}

#[test]
fn wrong_words_are_refused_and_say_what_is_right() {
    let supervise = |words: &[&str]| {
        let ended = Command::new(SERIALD).arg("supervise").args(words).output().expect("it runs");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (code, said) = supervise(&["--", "launch", "a.json"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("only `run` can be supervised"), "{said}");
    assert_eq!(supervise(&[]).0, Some(2));
    // The collector's own usage error is not tried again.
    let (code, said) = supervise(&["--", "run", "--no-such-flag"]);
    assert_eq!((code, said.matches("no-such-flag").count()), (Some(2), 1), "{said}");
    assert_eq!(supervise(&["--", "run"]).0, Some(2));
}
