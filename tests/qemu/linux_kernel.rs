//! A real Linux kernel with a user space of one program.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::tempdir;

use crate::support::process::Process;
use crate::support::relay::Relay;
use crate::support::{linux, logs, qemu, seriald, skip};

const LINES: u32 = 300;

/// Small, so that one boot is cut into many generations.
const MAX_BYTES: usize = 4096;

/// Enough for all that a guest prints.
const KEEP: usize = 100;

struct Tools {
    qemu: PathBuf,
    busybox: PathBuf,
    kernel: PathBuf,
}

/// What these tests need; `None` where they have to be skipped.
fn tools() -> Option<Tools> {
    skip::program("cpio")?;
    let qemu = skip::program("qemu-system-x86_64")?;
    Some(Tools { qemu, busybox: skip::program("busybox")?, kernel: skip::linux_kernel()? })
}

fn boot(tools: &Tools, dir: &Path, serial: &Path) -> Process {
    let initramfs = linux::initramfs(&tools.busybox, dir, LINES);
    let guest = qemu::Guest {
        kernel: &tools.kernel,
        initramfs: Some(&initramfs),
        command_line: linux::COMMAND_LINE,
        memory_mib: 192,
    };
    qemu::boot(&tools.qemu, dir, serial, &guest)
}

/// The kernel's first words, all lines of the user space in one piece, and the kernel's last.
fn assert_booted_up_to_power_off(record: &[u8]) {
    let lines = linux::expected_lines(LINES);
    let positions = [&b"Linux version"[..], &lines, b"reboot: Power down"].map(|words| {
        record.windows(words.len()).position(|window| window == words).unwrap_or_else(|| {
            let (words, record) = (words.escape_ascii(), String::from_utf8_lossy(record));
            panic!("the guest didn't print {words}, but:\n{record}")
        })
    });
    assert!(positions.is_sorted(), "in another order: {positions:?}");
}

#[test]
fn the_relay_records_a_linux_kernel_up_to_its_power_off() {
    let Some(tools) = tools() else { return };
    let dir = tempdir().unwrap();
    let (vmm, serial) = (dir.path().join("vmm.sock"), dir.path().join("serial.sock"));
    let relay = Relay::start(&vmm, &serial);
    let mut client = UnixStream::connect(&serial).unwrap();
    let mut qemu = boot(&tools, dir.path(), &vmm);
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();

    let truth = relay.wait_for_end();
    assert!(qemu.wait_for_exit().success());
    assert_booted_up_to_power_off(&truth);
    logs::assert_same(&received, &truth, "what the client got");
}

#[test]
fn a_linux_kernel_boots_into_the_log_up_to_its_power_off_while_it_is_renamed() {
    boots_into_a_rotated_log("rename");
}

#[test]
fn a_linux_kernel_boots_into_the_log_up_to_its_power_off_while_it_is_copied_and_truncated() {
    boots_into_a_rotated_log("copytruncate");
}

fn boots_into_a_rotated_log(mode: &str) {
    let Some(tools) = tools() else { return };
    let dir = tempdir().unwrap();
    let (vmm, serial) = (dir.path().join("vmm.sock"), dir.path().join("serial.sock"));
    let log = dir.path().join("logs/app.log");
    let relay = Relay::start(&vmm, &serial);
    let options = json!({"max_bytes": MAX_BYTES, "keep": KEEP, "mode": mode});
    let configuration = seriald::configuration(&serial, &log, options);
    let mut seriald = seriald::run(dir.path(), &configuration);
    let mut qemu = boot(&tools, dir.path(), &vmm);

    let truth = relay.wait_for_end();
    assert!(qemu.wait_for_exit().success());
    assert_eq!(seriald.terminate_and_wait().code(), Some(0));
    assert_booted_up_to_power_off(&truth);
    logs::assert_whole(&log, &truth);
    logs::assert_no_hole(&log);
    let generations = logs::generations(&log);
    assert!(generations.len() > truth.len() / (2 * MAX_BYTES), "it was rotated in between");
    assert!(generations.len() <= KEEP, "no generation was dropped");
}
