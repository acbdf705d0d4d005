//! The bug that seriald is the cure for, and the cure.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::json;

use super::support::embedded::Loop;
use super::support::logs::assert_no_hole;
use super::support::process::Process;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

/// What an outside copytruncate does: copy, then truncate.
fn copytruncate(log: &Path) {
    fs::copy(log, log.with_extension("copy")).expect("a copy");
    fs::File::options().write(true).open(log).and_then(|f| f.set_len(0)).expect("truncated");
}

fn put(api: &Path, call: &str, body: &str) {
    let mut stream = UnixStream::connect(api).expect("the API");
    let length = body.len();
    let head =
        format!("PUT /api/v1/{call} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).expect("sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("a status");
    assert_eq!(&status, b"HTTP/1.1 204", "{call}");
}

#[test]
fn in_mode_file_an_outside_copytruncate_leaves_a_hole_of_nuls() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        fs::create_dir(&home).expect("a directory");
        let (api, log) = (home.join("ch.sock"), home.join("app.log"));
        let mut command = std::process::Command::new(&vmm.command[0]);
        command.args(&vmm.command[1..]).arg("--api-socket").arg(format!("path={}", api.display()));
        let process = Process::start("vmm", &home, &mut command);
        wait_until(PATIENCE, "the API", || UnixStream::connect(&api).is_ok());
        let mut config = vmm.config("lines=0");
        config["serial"] = json!({"mode": "File", "file": log});
        config["console"] = json!({"mode": "Off"});
        put(&api, "vm.create", &config.to_string());
        let boot = "PUT /api/v1/vm.boot HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut stream = UnixStream::connect(&api).expect("the API");
        stream.write_all(boot.as_bytes()).expect("sent");
        let size = || fs::metadata(&log).map_or(0, |file| file.size());
        wait_until(PATIENCE, "output", || size() > 200_000);
        copytruncate(&log);
        wait_until(PATIENCE, "more output", || size() > 0);
        let mut start = [1; 100_000];
        fs::File::open(&log).and_then(|mut f| f.read_exact(&mut start)).expect("a long log");
        assert!(start.iter().all(|byte| *byte == 0), "{}: no hole", vmm.name);
        let file = fs::metadata(&log).expect("a log");
        assert!(file.blocks() * 512 < file.size() / 2, "{}: it is not sparse", vmm.name);
        drop(process);
    }
}

#[test]
fn through_seriald_an_outside_copytruncate_leaves_none() {
    let dir = tempfile::tempdir().expect("a directory");
    for vmm in Vmm::all(dir.path()) {
        let home = dir.path().join(vmm.name);
        let mut turns = Loop::new();
        let vm = turns.reactor.launch(vmm.launch("guest", &home, "lines=0")).expect("launched");
        let log = home.join("logs/app.log");
        let size = || fs::metadata(&log).map_or(0, |file| file.size());
        for _ in 0..3 {
            turns.turn_until("output", |_| size() > 50_000);
            copytruncate(&log);
            turns.turn_until("more output", |_| size() > 5_000);
            assert_no_hole(&log);
            let file = fs::metadata(&log).expect("a log");
            assert!(file.blocks() * 512 >= file.size(), "{}: it is sparse", vmm.name);
        }
        turns.reactor.shutdown_vmm(vm);
        turns.turn_until_closed(vm);
        assert_no_hole(&log);
    }
}
