//! Reboots, and boots that fail.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::support::*;

#[test]
fn a_reboot_gives_eof_and_a_new_listener_at_the_same_path() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut serial = vmm.boot("lines=1 echo=1 reboot=1");
        read_until(&mut serial, "DONE\n");
        serial.write_all(b"q").expect("written");
        assert_eq!(read_to_end(&mut serial), b"q");
        let mut serial = vmm.serial_when_there();
        if program != Program::V52 {
            assert!(read_until(&mut serial, "DONE\n").starts_with(b"GUEST-UP\n"));
        }
        vmm.done("vm.reboot");
        // v52: what was printed since this client came.
        let rest = read_to_end(&mut serial);
        assert!(program == Program::V52 || rest.is_empty());
        vmm.serial_when_there();
        assert_eq!(vmm.state(), "Running");
    }
}

#[test]
fn the_path_is_away_then_refusing_for_a_moment_after_eof() {
    let vmm = Vmm::start(Program::V53);
    let mut serial = vmm.boot("lines=1 echo=1 reboot=1");
    let mut seen = Vec::new();
    for _ in 0..50 {
        read_until(&mut serial, "DONE\n");
        serial.write_all(b"q").expect("written");
        assert_eq!(read_to_end(&mut serial), b"q");
        serial = loop {
            match UnixStream::connect(vmm.path("serial")) {
                Ok(stream) => break stream,
                Err(error) if !seen.contains(&error.kind()) => seen.push(error.kind()),
                Err(_) => {}
            }
        };
    }
    assert!(seen.contains(&ErrorKind::NotFound), "{seen:?}");
    assert!(seen.contains(&ErrorKind::ConnectionRefused), "{seen:?}");
}

#[test]
fn a_boot_that_ends_before_a_client_comes_is_lost() {
    let vmm = Vmm::start_with(Program::V53, &["--no-shutdown"]);
    vmm.create("lines=5 reboot=1 boots=3");
    vmm.done("vm.boot");
    wait_until("three boots", || {
        vmm.state() == "Created" && vmm.ledger().boots.len() == 3
    });
    let ledger = vmm.ledger();
    let ends: Vec<_> = ledger
        .boots
        .iter()
        .map(|boot| boot.ended.as_deref())
        .collect();
    assert_eq!(ends, [Some("reset"), Some("reset"), Some("power-off")]);
    for boot in &ledger.boots {
        assert_eq!(boot.counts.lost_at_end, whole("lines=5").len() as u64);
    }
}

#[test]
fn v53_keeps_what_a_boot_printed_before_its_first_client() {
    let vmm = Vmm::start(Program::V53);
    vmm.create("lines=4 echo=1");
    vmm.done("vm.boot");
    vmm.wait_for_printed(whole("lines=4").len() as u64);
    let mut serial = vmm.serial();
    assert_eq!(read_until(&mut serial, "DONE\n"), whole("lines=4"));
}

#[test]
fn a_missing_disk_fails_the_boot_and_the_next_one_is_unreachable() {
    for program in [Program::V53, Program::V52] {
        let vmm = Vmm::start(program);
        let mut config = vmm.config("lines=1 echo=1");
        config["disks"] = json!([{"path": vmm.path("disk")}]);
        assert_eq!(vmm.put_json("vm.create", &config).status(), 204);
        let mut serial = vmm.serial();
        let answer = vmm.put("vm.boot");
        assert_eq!(answer.status(), 500);
        assert!(answer.words().contains("Cannot open disk path"));
        assert_eq!(read_to_end(&mut serial), b"");
        assert_eq!(vmm.state(), "Created");
        assert!(!vmm.has("serial"));
        fs::write(vmm.path("disk"), "").expect("written");
        vmm.done("vm.boot");
        assert_eq!(vmm.state(), "Running");
        assert!(!vmm.has("serial"));
        vmm.done("vm.reboot");
        assert!(vmm.has("serial"));
    }
}

#[test]
fn a_missing_kernel_leaves_path_and_client() {
    let vmm = Vmm::start(Program::V53);
    let mut config = vmm.config("lines=1");
    config["payload"]["kernel"] = json!("/no/kernel");
    assert_eq!(vmm.put_json("vm.create", &config).status(), 204);
    let mut serial = vmm.serial();
    let words = vmm.put("vm.boot").words();
    let expected = "Error from API: The VM could not boot: Cannot open kernel file: \
                    No such file or directory (os error 2)";
    assert_eq!(words, expected);
    assert!(vmm.has("serial"));
    assert!(
        vmm.put("vm.boot")
            .words()
            .ends_with("VM is already created")
    );
    vmm.done("vm.delete");
    assert!(!vmm.has("serial"));
    assert_eq!(read_to_end(&mut serial), b"");
}

#[test]
fn in_v52_the_boot_after_a_missing_kernel_ends_the_vmm() {
    let mut vmm = Vmm::start(Program::V52);
    let mut config = vmm.config("lines=1");
    config["payload"]["kernel"] = json!("/no/kernel");
    vmm.put_json("vm.create", &config);
    assert_eq!(vmm.put("vm.boot").status(), 500);
    let mut serial = vmm.serial();
    assert_eq!(vmm.put("vm.boot").status(), 204);
    let _ = serial.read(&mut [0]);
    vmm.exit();
}

#[test]
fn without_a_payload_nothing_boots_and_the_client_waits_on() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let config = json!({"serial": {"mode": "Socket", "socket": vmm.path("serial")}});
        assert_eq!(vmm.put_json("vm.create", &config).status(), 204);
        let mut serial = vmm.serial();
        assert_eq!(vmm.put("vm.boot").status(), 500);
        assert!(vmm.has("serial"));
        let quiet = std::time::Duration::from_millis(100);
        serial.set_read_timeout(Some(quiet)).expect("set");
        let error = serial.read(&mut [0]).expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn the_command_line_of_ch_boots_at_once() {
    let mut vmm = Vmm::start_with(
        Program::V53,
        &[
            "--kernel",
            "/dev/null",
            "--cmdline",
            "lines=3 echo=1",
            "--serial",
            "socket=serial",
            "--console",
            "off",
        ],
    );
    let mut serial = vmm.serial_when_there();
    assert_eq!(read_until(&mut serial, "DONE\n"), whole("lines=3"));
    serial.write_all(b"q").expect("written");
    assert!(vmm.exit().success());
    let version = sim("v52").arg("--version").output().expect("run").stdout;
    assert_eq!(version, b"cloud-hypervisor v52.0.0\n");
}
