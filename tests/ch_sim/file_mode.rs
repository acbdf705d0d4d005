//! Serial mode File, and the bug that it has.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::json;

use crate::support::*;

fn boot(program: Program, cmdline: &str) -> Vmm {
    let vmm = Vmm::start(program);
    fs::write(vmm.path("log"), "from before").expect("written");
    fs::set_permissions(vmm.path("log"), fs::Permissions::from_mode(0o644)).expect("set");
    let mut config = vmm.config(cmdline);
    config["serial"] = json!({"mode": "File", "file": vmm.path("log")});
    assert_eq!(vmm.put_json("vm.create", &config).status(), 204);
    vmm
}

fn size(vmm: &Vmm) -> u64 {
    fs::metadata(vmm.path("log")).expect("a log").len()
}

#[test]
fn the_log_is_truncated_at_create_and_reboot_and_written_byte_by_byte() {
    for program in Program::all() {
        let vmm = boot(program, "lines=20 echo=1");
        assert_eq!(size(&vmm), 0);
        vmm.done("vm.boot");
        wait_until("the log", || size(&vmm) == whole("lines=20").len() as u64);
        assert_eq!(fs::read(vmm.path("log")).expect("read"), whole("lines=20"));
        OpenOptions::new().append(true).open(vmm.path("log")).expect("open");
        fs::rename(vmm.path("log"), vmm.path("old")).expect("moved");
        vmm.done("vm.reboot");
        wait_until("the log", || size(&vmm) == whole("lines=20").len() as u64);
        let mode = fs::metadata(vmm.path("log")).expect("a log").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn copytruncate_leaves_a_hole_of_nuls() {
    for program in Program::all() {
        let vmm = boot(program, "lines=0");
        vmm.done("vm.boot");
        wait_until("some output", || size(&vmm) > 20_000);
        let log = OpenOptions::new().write(true).open(vmm.path("log")).expect("open");
        log.set_len(0).expect("truncated");
        wait_until("more output", || size(&vmm) > 20_000);
        vmm.done("vm.pause");
        let bytes = fs::read(vmm.path("log")).expect("read");
        let nuls = bytes.iter().take_while(|byte| **byte == 0).count();
        assert!(nuls > 20_000, "{program:?}: {nuls}");
        assert!(bytes[nuls..].iter().all(|byte| *byte != 0));
    }
}

/// Runs `seriald log` on the log.
fn seriald_log(vmm: &Vmm, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seriald"));
    command.arg("log").args(words).arg(vmm.path("log"));
    command.output().expect("it runs")
}

#[test]
fn seriald_finds_what_a_copytruncate_left_and_repairs_it_to_exactly_the_text() {
    for program in Program::all() {
        let mut vmm = boot(program, "lines=1000");
        vmm.done("vm.boot");
        wait_until("some output", || size(&vmm) > 20_000);
        // Paused, so that nothing is lost between the copy and the truncation.
        vmm.done("vm.pause");
        let copy = fs::read(vmm.path("log")).expect("copied");
        let log = OpenOptions::new().write(true).open(vmm.path("log")).expect("open");
        log.set_len(0).expect("truncated");
        drop(log);
        vmm.done("vm.resume");
        wait_until("more output", || size(&vmm) > copy.len() as u64);
        // The VM would write on to the old file.
        let refused = seriald_log(&vmm, &["repair"]);
        assert_eq!(refused.status.code(), Some(1), "{program:?}: {refused:?}");
        let why = String::from_utf8(refused.stderr).expect("text");
        assert!(why.contains("a process has it open for writing (a VM in mode File?)"), "{why}");
        assert!(vmm.exit().success());

        let found = seriald_log(&vmm, &["check", "--json"]);
        assert_eq!(found.status.code(), Some(1), "{program:?}: {found:?}");
        let first = found.stdout.split(|byte| *byte == b'\n').next().expect("a line");
        let run: serde_json::Value = serde_json::from_slice(first).expect("JSON");
        assert_eq!((&run["run"]["offset"], &run["run"]["bytes"]), (&json!(0), &json!(copy.len())));
        // Another test's child may have our own descriptor a moment longer, up to its exec.
        wait_until("the repair", || {
            let repaired = seriald_log(&vmm, &["repair"]);
            let why = String::from_utf8_lossy(&repaired.stderr);
            let again = ["open for writing", "it changed while it was read"];
            let is_for_later = again.iter().any(|reason| why.contains(reason));
            assert!(repaired.status.success() || is_for_later, "{why}");
            repaired.status.success()
        });
        let text = fs::read(vmm.path("log")).expect("read");
        assert!([copy, text].concat() == whole("lines=1000"), "{program:?}: other text");
        assert_eq!(seriald_log(&vmm, &["check"]).status.code(), Some(0));
    }
}

#[test]
fn after_a_move_ch_writes_on_to_the_moved_file() {
    for program in Program::all() {
        let vmm = boot(program, "lines=0");
        vmm.done("vm.boot");
        wait_until("some output", || size(&vmm) > 1000);
        fs::rename(vmm.path("log"), vmm.path("log.1")).expect("moved");
        let moved = || fs::metadata(vmm.path("log.1")).expect("there").len();
        let before = moved();
        wait_until("more output", || moved() > before + 1000);
        assert!(!vmm.has("log"));
    }
}
