//! A fleet, and the ledger.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

use mio::{Events, Interest, Poll, Token};

use crate::ch_sim::ledger::Ledger;
use crate::ch_sim::transcript;
use crate::support::*;

const VMS: usize = 60;

fn start(release: &str, dir: &Path, args: &[&str]) -> Child {
    let mut child = sim(release)
        .args(["--fleet", &VMS.to_string(), "--dir"])
        .arg(dir)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("read");
    assert!(
        line.starts_with(&format!("ch-sim: {VMS} VMs run in ")),
        "{line}"
    );
    child
}

/// Reads every VM's serial socket to its EOF.
fn read_all(dir: &Path) -> Vec<Vec<u8>> {
    let mut poll = Poll::new().expect("a poll");
    let mut streams = Vec::new();
    for number in 0..VMS {
        let path = dir.join(format!("vm-{number:04}/serial.sock"));
        let stream = UnixStream::connect(path).expect("connected");
        stream.set_nonblocking(true).expect("set");
        let mut stream = mio::net::UnixStream::from_std(stream);
        let registry = poll.registry();
        registry
            .register(&mut stream, Token(number), Interest::READABLE)
            .expect("registered");
        streams.push(stream);
    }
    let mut logs = vec![Vec::new(); VMS];
    let mut open: BTreeSet<usize> = (0..VMS).collect();
    let mut events = Events::with_capacity(256);
    while !open.is_empty() {
        poll.poll(&mut events, Some(DEADLINE)).expect("polled");
        assert!(!events.is_empty(), "nothing comes from {open:?}");
        for event in &events {
            let number = event.token().0;
            let mut chunk = [0; 65536];
            loop {
                match streams[number].read(&mut chunk) {
                    Ok(0) => {
                        open.remove(&number);
                        break;
                    }
                    Ok(count) => logs[number].extend_from_slice(&chunk[..count]),
                    Err(_) => break,
                }
            }
        }
    }
    logs
}

#[test]
fn each_log_of_a_fleet_is_what_its_ledger_says_and_v52_misses_nothing() {
    for release in ["v53", "v52"] {
        let dir = tempfile::tempdir().expect("a directory");
        let script = [
            "--cmdline",
            "lines=200",
            "--flat-out",
            "--boot-on-connect",
            "--until-done",
        ];
        let mut child = start(release, dir.path(), &script);
        let logs = read_all(dir.path());
        assert!(child.wait().expect("reaped").success());
        for (number, log) in logs.iter().enumerate() {
            let path = dir.path().join(format!("vm-{number:04}/ledger.json"));
            let ledger = Ledger::read(&path).expect("a ledger");
            assert_eq!(
                transcript::first_difference(&ledger, &log[..]).expect("read"),
                None
            );
            let sum = ledger.sum();
            assert_eq!(sum.printed, 11420);
            assert_eq!(sum.handed + sum.lost_at_end, sum.printed);
            if release == "v52" {
                assert_eq!(sum.handed, sum.printed);
            }
        }
    }
}

#[test]
fn sigterm_ends_a_fleet_in_order_with_its_ledgers_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = start("v53", dir.path(), &["--cmdline", "lines=0 delay=1000000"]);
    let path = |name: &str| dir.path().join("vm-0007").join(name);
    let mut serial = connect(&path("serial.sock"));
    let first = read_bytes(&mut serial, 500);
    signal(&child, "TERM");
    let mut log = first;
    log.extend(read_to_end(&mut serial));
    assert!(child.wait().expect("reaped").success());
    assert!(!path("serial.sock").exists() && !path("ch.sock").exists());
    let ledger = Ledger::read(&path("ledger.json")).expect("a ledger");
    assert_eq!(log, transcript::bytes(&ledger));
    assert_eq!(ledger.boots[0].ended.as_deref(), Some("exit"));
}

#[test]
fn the_ledger_is_at_most_moments_old_after_sigkill() {
    let mut vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=3 echo=1");
    let log = read_until(&mut serial, "DONE\n");
    let path = vmm.path("ledger.json");
    wait_until("the ledger", || {
        Ledger::read(&path).is_ok_and(|ledger| transcript::bytes(&ledger) == log)
    });
    vmm.signal("KILL");
    vmm.exit();
    assert_eq!(
        transcript::bytes(&Ledger::read(&path).expect("a ledger")),
        log
    );
}

#[test]
fn verify_tells_a_right_log_from_a_wrong_one() {
    let mut vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=20");
    let mut log = read_to_end(&mut serial);
    vmm.exit();
    let verify = |log: &[u8]| {
        let (old, new) = log.split_at(100);
        std::fs::write(vmm.path("log.1"), old).expect("written");
        std::fs::write(vmm.path("log"), new).expect("written");
        let mut command = sim("v53");
        command
            .arg("--verify")
            .args(["ledger.json", "log.1", "log"].map(|name| vmm.path(name)));
        command.output().expect("run").status.success()
    };
    assert!(verify(&log));
    log[150] = 0;
    assert!(!verify(&log));
}

#[test]
fn an_idle_vmm_uses_no_processor_time() {
    let vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=1 echo=1");
    read_until(&mut serial, "DONE\n");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", vmm.child.id()));
        let stat = stat.expect("read");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
    };
    let before = ticks();
    read_until_quiet(&mut serial, std::time::Duration::from_millis(500));
    assert!(ticks() - before <= 2, "it spins");
}
