//! A supervised seriald is killed, whatever it does at that moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use serde_json::json;

use super::fleets::Fleet;
use super::running::{SERIALD, child_of, logged, one_vm, supervise};
use super::support::process::signal;
use super::support::strace::{self, Tracer};
use super::support::wait::{PATIENCE, wait_for, wait_until};

/// A number that no two rounds share, so that the kills come at all moments of a turn.
fn pause(round: u64) -> std::time::Duration {
    std::time::Duration::from_micros(round * 7919 % 20_000)
}

fn fifty_kills(version: &'static str) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut fleet = Fleet::start(version, dir.path(), 50, &["--rate", "4000"], "lines=0");
    let mut supervisor = supervise(dir.path(), &fleet);
    wait_until(PATIENCE, "output", || logged(&fleet) > 50_000);
    let mut ended: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..50 {
        let name = ["KILL", "KILL", "KILL", "SEGV", "ABRT"][round as usize % 5];
        let child = wait_for(PATIENCE, "a child", || child_of(supervisor.id()));
        std::thread::sleep(pause(round));
        signal(child, name);
        *ended.entry(name).or_default() += 1;
        let next = wait_for(PATIENCE, "the next", || {
            let next = child_of(supervisor.id())?;
            if next == child && name == "SEGV" {
                // Rust's handler lets a fault that is none of its own happen again, and dies of
                // that: a signal that was only sent has to be sent again, if it is there yet.
                let again = format!("kill -SEGV {child} 2> /dev/null");
                let _ = Command::new("sh").args(["-c", &again]).status();
            }
            Some(next).filter(|next| *next != child)
        });
        // Every log grows again: nobody was left out, and the guests have gone on.
        let before = logged(&fleet);
        wait_until(PATIENCE, "more output", || logged(&fleet) > before + 5_000);
        assert_eq!(child_of(supervisor.id()), Some(next), "{}", supervisor.output());
        assert!(fleet.process.is_running(), "the guests were to print all the while");
    }
    // A start may have been killed before it had taken charge of all; the last one was not.
    let last = |said: &str| said.rsplit("the collector has ended").next().map(str::to_owned);
    wait_until(PATIENCE, "all of them", || {
        last(&supervisor.output()).is_some_and(|last| last.contains("50 VMs in charge"))
    });
    let said = supervisor.output();
    fleet.process.terminate_and_wait();
    assert!(supervisor.terminate_and_wait().success());
    fleet.assert_logs_are_as_handed_over();
    assert_eq!(said.matches("the collector has ended").count(), 50, "{ended:?}");
    // Each console that is kept now was kept by all before.
    let kept = last(&said).expect("a last one").matches("was kept over the restart").count();
    assert_eq!(kept, 50);
    for bad in ["ERROR", "displaced", "lost", "possible loss", "dropped"] {
        assert!(!said.contains(bad), "{bad} in {said}");
    }
}

#[test]
fn fifty_kills_lose_and_double_no_byte_of_v52() {
    fifty_kills("v52");
}

#[test]
fn fifty_kills_lose_and_double_no_byte_of_v53() {
    fifty_kills("v53");
}

#[test]
fn without_a_store_there_is_one_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    let fleet = Fleet::start("v53", dir.path(), 3, &["--rate", "4000"], "lines=10");
    let mut seriald = super::running::run(SERIALD.as_ref(), dir.path(), &fleet);
    wait_until(PATIENCE, "output", || logged(&fleet) > 100);
    assert!(seriald.terminate_and_wait().success());
    assert_eq!(seriald.output().matches("no descriptor store: if this process").count(), 1);
}

/// A collector of one VM is killed while a system call is held at its entry or exit; the next one
/// leaves the log with the line exactly once.
fn killed_within(call: &str, hold: &str) {
    let Some(strace) = strace::allowed() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("a.log");
    let (mut supervisor, _listener, mut client) = one_vm(dir.path(), SERIALD.as_ref());
    client.write_all(b"one\n").expect("sent");
    wait_until(PATIENCE, "the first line", || fs::read(&log).is_ok_and(|log| log == b"one\n"));
    let child = child_of(supervisor.id()).expect("a child");
    // Ten seconds: whoever holds it is killed long before.
    let inject = format!("inject={call}:{hold}=10000000");
    let mut args = vec!["-e".into(), format!("trace={call}"), "-e".into(), inject];
    if call == "write" {
        args.extend(["-P".into(), log.display().to_string()]);
    }
    let _tracer = Tracer::attach(&strace, dir.path(), "strace", child, &args);
    let of_child = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}"));
    client.write_all(b"two\n").expect("sent");
    // A traced call stops for an instant; one that is held stays stopped.
    let mut stopped = 0;
    wait_until(PATIENCE, "the held call", || {
        let stops = of_child("stat").is_ok_and(|stat| stat.contains(") t "));
        stopped = if stops { stopped + 1 } else { 0 };
        stopped > 20
    });
    signal(child, "KILL");
    wait_until(PATIENCE, "both lines", || {
        fs::read(&log).is_ok_and(|log| log.len() >= b"one\ntwo\n".len())
    });
    client.write_all(b"three\n").expect("sent");
    wait_until(PATIENCE, "the third line", || {
        fs::read(&log).is_ok_and(|log| log.ends_with(b"three\n"))
    });
    assert_eq!(fs::read_to_string(&log).expect("a log"), "one\ntwo\nthree\n");
    drop(client);
    assert!(supervisor.terminate_and_wait().success());
}

#[test]
fn a_kill_after_a_read_and_before_anything_else_loses_no_byte() {
    killed_within("recvmmsg", "delay_exit");
}

#[test]
fn a_kill_before_a_read_loses_no_byte() {
    killed_within("recvmmsg", "delay_enter");
}

#[test]
fn a_kill_before_the_write_of_what_was_read_loses_no_byte() {
    killed_within("write", "delay_enter");
}

#[test]
fn a_kill_right_after_a_write_doubles_no_byte() {
    killed_within("write", "delay_exit");
}

#[test]
fn a_vm_that_is_no_longer_wanted_after_a_crash_is_left_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut supervisor, _listener, mut client) = one_vm(dir.path(), SERIALD.as_ref());
    let child = child_of(supervisor.id()).expect("a child");
    signal(child, "STOP");
    // Another VM is all that is wanted from now on.
    let vms = json!({"vms": [{"id": "b", "serial": dir.path().join("b.sock"),
                              "log": dir.path().join("b.log")}]});
    fs::write(dir.path().join("seriald.json"), vms.to_string()).expect("a configuration");
    client.write_all(b"unread").expect("sent");
    signal(child, "KILL");
    // Our half is shut first, and what is unread is read: the VMM's serial thread lives on.
    wait_until(PATIENCE, "the half-close", || matches!(client.read(&mut [0; 1]), Ok(0)));
    drop(client);
    wait_until(PATIENCE, "the word", || {
        supervisor.output().contains("6 bytes of consoles that are nobody's were dropped")
    });
    assert!(supervisor.output().contains("VM a: no longer in charge, its console is left"));
    assert!(supervisor.terminate_and_wait().success());
}
