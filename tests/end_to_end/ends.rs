//! What an end of stream was, told as such; a console that nobody serves; a collector that was
//! stopped for a while.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use seriald::ch::api::Call;
use seriald::{EventKind, OnExit, VmSpec, limits};

use super::support::embedded::Loop;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::process::Process;
use super::support::seriald as collector;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_for, wait_until};

/// Puts a question to a VMM's API, as a VM manager does; the answer's status line.
fn put(api: &Path, call: &str, body: &str) -> String {
    let mut stream = wait_for(PATIENCE, "the API", || UnixStream::connect(api).ok());
    let mut request = format!("PUT /api/v1/{call} HTTP/1.1\r\nHost: localhost\r\n");
    if !body.is_empty() {
        request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).expect("asked");
    let mut answer = [0; 512];
    let n = stream.read(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer[..n]).lines().next().unwrap_or_default().to_owned()
}

/// A VMM of somebody else's, and its VM's serial socket bound.
fn foreign(vmm: &Vmm, home: &Path, cmdline: &str) -> Process {
    let process = Process::start("vmm", home, &mut vmm.program(home));
    let mut config = vmm.config(cmdline);
    config["serial"] = json!({"mode": "Socket", "socket": home.join("serial.sock")});
    config["console"] = json!({"mode": "Off"});
    let answer = put(&home.join("ch.sock"), "vm.create", &config.to_string());
    assert!(answer.contains("204"), "{answer}");
    process
}

#[test]
fn a_shutdown_a_boot_a_reboot_and_an_exit_are_each_told_as_what_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    for mut vmm in Vmm::all(dir.path()) {
        if vmm.name == "v52" {
            // It has no ring: what is printed before the client is back is dropped in the VMM.
            vmm.command.push("--boot-on-connect".into());
        }
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        fs::create_dir_all(&home).expect("a directory");
        // A real v52 is to print nothing either before a client is back, which is dialed ever more
        // seldom while a guest is shut down.
        let begin = vmm.loops(limits::DIAL_BACKOFF_MAX * 2);
        let mut process = foreign(&vmm, &home, &format!("lines=3 echo=1 begin={begin}"));
        let mut spec = VmSpec::instance("a", &home);
        spec.on_exit = OnExit::Wait;
        let vm = turns.reactor.adopt(spec).expect("adopted");
        turns.turn_until_state(vm, "streaming");
        let words = expected_output(3);
        let mut boots = 0;
        for (call, kind) in [
            (Call::Boot, None),
            (Call::Reboot, Some(EventKind::Rebooted(Duration::ZERO))),
            (Call::Shutdown, Some(EventKind::ShutDown)),
            (Call::Boot, Some(EventKind::Booted)),
        ] {
            boots += usize::from(call != Call::Shutdown);
            assert!(turns.reactor.call(vm, call));
            turns.turn_until("the end's name", |this| {
                kind.as_ref().is_none_or(|kind| this.count(vm, |other| same(other, kind)) == 1)
            });
            turns.turn_until("the boot's words", |this| {
                let read = this.reactor.status(vm).map_or(0, |status| status.read_bytes);
                read == (words.len() * boots) as u64
            });
        }
        process.terminate_and_wait();
        turns.turn_until("the exit", |this| {
            this.count(vm, |kind| matches!(kind, EventKind::VmmExited(_))) == 1
        });
        let status = turns.reactor.status(vm).expect("it waits for a successor");
        let ends = status.ends;
        assert_eq!((ends.reboots, ends.shutdowns, ends.boots, ends.vmm_exits), (1, 1, 1, 1));
        assert_eq!((status.displaced, ends.unserved, status.upstream_loss_possible), (0, 0, 0));
        assert_eq!(turns.reactor.stats().ends, ends);
        assert_same(&whole(&home.join("logs/app.log")), &words.repeat(boots), vmm.name);
    }
}

/// Leaves a console with unread bytes until its thread has ended: v52's outlives the first time now
/// and then (seen with a plain client, 1 of 3).
fn end_serial_thread(pid: u32, serial: &Path) {
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flatten();
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).ok();
    let lives = || threads().filter_map(name).any(|name| name.trim() == "serial-manager");
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        if !lives() {
            return;
        }
        let mut client = UnixStream::connect(serial).expect("connected");
        // The guest sends it back.
        client.write_all(b"some words").expect("said");
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the serial thread of {pid} lives on");
}

#[test]
fn a_console_whose_serial_thread_is_dead_is_called_unserved_and_a_silent_one_never() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let mut turns = Loop::new();
        let mut vms = Vec::new();
        let mut processes = Vec::new();
        for (id, silent) in [("dead", false), ("silent", true), ("unbooted", true)] {
            let home = dir.path().join(format!("{}-{id}", vmm.name));
            fs::create_dir_all(&home).expect("a directory");
            processes.push(foreign(&vmm, &home, "lines=20 echo=1"));
            let serial = home.join("serial.sock");
            if id != "unbooted" {
                // Its first client: one takes all that is said and stays silent, one leaves with
                // it unread, which ends the serial thread.
                let mut client = UnixStream::connect(&serial).expect("connected");
                let answer = put(&home.join("ch.sock"), "vm.boot", "");
                assert!(answer.contains("204"), "{answer}");
                let mut words = vec![0; if silent { expected_output(20).len() } else { 9 }];
                client.read_exact(&mut words).expect("its words");
                if !silent {
                    // More than it has read lies in its queue when it closes.
                    thread::sleep(Duration::from_millis(200));
                    drop(client);
                    end_serial_thread(processes[0].id(), &serial);
                } else {
                    client.shutdown(std::net::Shutdown::Write).expect("left");
                    let _ = client.read(&mut words);
                }
            }
            let vm = turns.reactor.adopt(VmSpec::instance(id, &home)).expect("adopted");
            vms.push((vm, home));
        }
        turns.turn_until("the dead one's name", |this| {
            this.count(vms[0].0, |kind| *kind == EventKind::Unserved) == 1
        });
        let end = Instant::now() + Duration::from_millis(1500);
        turns.turn_until("the others' looks", |_| Instant::now() > end);
        let unserved = |n: usize| turns.reactor.status(vms[n].0).map(|status| status.unserved);
        assert_eq!([0, 1, 2].map(unserved), [Some(true), Some(false), Some(false)], "{}", vmm.name);
        assert_eq!(turns.reactor.stats().ends.unserved, 1, "{}", vmm.name);
        // The way out that the warning names.
        assert!(turns.reactor.call(vms[0].0, Call::Reboot));
        turns.turn_until("its words", |this| {
            this.reactor.status(vms[0].0).is_some_and(|s| s.read_bytes > 0 && !s.unserved)
        });
    }
}

#[test]
fn a_burst_into_a_stopped_collector_is_whole_once_it_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        fs::create_dir_all(&home).expect("a directory");
        let mut guest = foreign(&vmm, &home, "lines=100 echo=1");
        let log = home.join("guest.log");
        let configuration = collector::configuration(&home.join("serial.sock"), &log, json!({}));
        let mut running = collector::run(&home, &configuration);
        wait_until(PATIENCE, "the connection", || running.output().contains("connected"));
        running.signal("STOP");
        let answer = put(&home.join("ch.sock"), "vm.boot", "");
        assert!(answer.contains("204"), "{answer}");
        // The rule is about a second's stop.
        thread::sleep(Duration::from_secs(1));
        running.signal("CONT");
        let since = Instant::now();
        let words = expected_output(100);
        assert_eq!(words.len(), 5720);
        wait_until(PATIENCE, "the whole burst", || whole(&log) == words);
        println!("{}: the log was whole {:?} after SIGCONT", vmm.name, since.elapsed());
        assert!(running.terminate_and_wait().success());
        guest.terminate_and_wait();
    }
}

/// Equal but for what was measured.
fn same(one: &EventKind, other: &EventKind) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
