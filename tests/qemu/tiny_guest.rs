//! The tiny guest, which prints lines that are known beforehand.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::tempdir;

use crate::support::process::Process;
use crate::support::relay::Relay;
use crate::support::{guest, logs, qemu, seriald, skip};

const LINES: u32 = 500;

/// What a test with the tiny guest needs; `None` where it has to be skipped.
fn tools() -> Option<PathBuf> {
    skip::guest_compiler()?;
    skip::program("qemu-system-x86_64")
}

fn boot(qemu: &Path, dir: &Path, serial: &Path) -> Process {
    let kernel = guest::build(dir);
    let command_line = format!("lines={LINES} lsr=1");
    let guest = qemu::Guest {
        kernel: &kernel,
        initramfs: None,
        command_line: &command_line,
        memory_mib: 32,
    };
    qemu::boot(qemu, dir, serial, &guest)
}

#[test]
fn the_relay_records_and_hands_over_all_that_a_guest_prints() {
    let Some(qemu) = tools() else { return };
    let dir = tempdir().unwrap();
    let (vmm, serial) = (dir.path().join("vmm.sock"), dir.path().join("serial.sock"));
    let relay = Relay::start(&vmm, &serial);
    let mut displaced = UnixStream::connect(&serial).unwrap();
    let mut qemu = boot(&qemu, dir.path(), &vmm);
    let mut received = vec![0; 1000];
    displaced.read_exact(&mut received).unwrap();
    let mut client = UnixStream::connect(&serial).unwrap();
    displaced.read_to_end(&mut received).unwrap();
    client.read_to_end(&mut received).unwrap();

    let truth = relay.wait_for_end();
    assert!(qemu.wait_for_exit().success());
    logs::assert_same(&truth, &guest::expected_output(LINES), "the record");
    logs::assert_same(&received, &truth, "what the clients got");
    assert_eq!(relay.clients(), 2);
    assert!(!serial.exists());
}

#[test]
fn the_log_of_a_qemu_guest_is_whole_to_the_byte() {
    let Some(qemu) = tools() else { return };
    let dir = tempdir().unwrap();
    let (vmm, serial) = (dir.path().join("vmm.sock"), dir.path().join("serial.sock"));
    let log = dir.path().join("logs/app.log");
    let relay = Relay::start(&vmm, &serial);
    let configuration = seriald::configuration(&serial, &log, json!({}));
    let mut seriald = seriald::run(dir.path(), &configuration);
    let mut qemu = boot(&qemu, dir.path(), &vmm);

    let truth = relay.wait_for_end();
    assert!(qemu.wait_for_exit().success());
    assert_eq!(seriald.terminate_and_wait().code(), Some(0));
    logs::assert_same(&truth, &guest::expected_output(LINES), "the record");
    logs::assert_same(&logs::generations(&log)[0], &truth, "the log");
}
