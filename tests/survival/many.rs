//! As many VMs as this process may have descriptors for, up to ten thousand, with the longest ids.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use seriald::env::os::OsEnv;
use seriald::env::{Descriptor, Env};
use seriald::handover::state::{FORMAT, State, StreamState, VmState};
use seriald::limits;
use seriald::log::SavedLog;

use super::running::{SERIALD, child_of};
use super::support::process::{Process, run_to_success, signal};
use super::support::wait::{PATIENCE, wait_for, wait_until};

const MOST: usize = 10_000;
/// What `seriald` sets aside per VM, and for itself.
const DESCRIPTORS_PER_VM: u64 = 10;

fn id(n: usize) -> String {
    format!("{n:05}-{}", "i".repeat(limits::ID_MAX - 6))
}

fn log_has(dir: &Path, n: usize, lines: &str) -> bool {
    fs::read_to_string(dir.join(format!("{n}.log"))).is_ok_and(|log| log == lines)
}

#[test]
fn as_many_vms_as_there_are_descriptors_for_survive_a_kill_and_an_upgrade() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    // The limit is raised by this, for this process too.
    let limit = OsEnv::new().expect("a world").descriptors_max();
    let vms = usize::try_from((limit - 112) / DESCRIPTORS_PER_VM).expect("a number").min(MOST);
    eprintln!("{vms} VMs; RLIMIT_NOFILE is {limit}");
    let path = |n: usize| dir.join(format!("{n}.sock"));
    let bind = |n| UnixListener::bind(path(n)).expect("a listener");
    let listeners: Vec<UnixListener> = (0..vms).map(bind).collect();
    let vm = |n: usize| -> Value {
        json!({"id": id(n), "serial": path(n), "log": dir.join(format!("{n}.log"))})
    };
    let config = json!({"vms": (0..vms).map(vm).collect::<Vec<_>>()});
    fs::write(dir.join("seriald.json"), config.to_string()).expect("a configuration");
    let mut command = Command::new(SERIALD);
    command.args(["supervise", "--", "run", "--config"]).arg(dir.join("seriald.json"));
    let mut supervisor = Process::start("supervise", dir, command.env("RUST_LOG", "warn"));
    let mut clients: Vec<UnixStream> =
        listeners.iter().map(|listener| listener.accept().expect("a client").0).collect();
    let mut say = |line: &str, all: &str| {
        for client in &mut clients {
            client.write_all(line.as_bytes()).expect("the stream stands");
        }
        wait_until(PATIENCE * 4, line, || (0..vms).all(|n| log_has(dir, n, all)));
    };
    say("one\n", "one\n");
    let child = child_of(supervisor.id()).expect("a child");
    signal(child, "KILL");
    wait_for(PATIENCE, "the next", || child_of(supervisor.id()).filter(|next| *next != child));
    say("two\n", "one\ntwo\n");
    let mut upgrade = Command::new(SERIALD);
    upgrade.args(["upgrade", "--pid", &supervisor.id().to_string()]);
    run_to_success(&mut upgrade);
    say("three\n", "one\ntwo\nthree\n");
    // And what the upgraded one leaves is found after a crash too.
    let child = child_of(supervisor.id()).expect("a child");
    signal(child, "KILL");
    say("four\n", "one\ntwo\nthree\nfour\n");
    for client in &mut clients {
        client.set_nonblocking(true).expect("non-blocking");
        let end = client.read(&mut [0; 1]).expect_err("no end was seen");
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(clients);
    drop(listeners);
    assert!(supervisor.terminate_and_wait().success());
}

#[test]
fn ten_thousand_vms_fit_into_a_state_that_the_program_understands() {
    let vm = |n: usize| {
        let number = |of: usize| (3 * n + of) as Descriptor;
        VmState {
            id: id(n),
            serial: format!("/run/vms/{}/serial.sock", id(n)).into(),
            stream: Some(StreamState { descriptor: number(0), socket: None, berth: None }),
            log: SavedLog {
                path: format!("/var/log/vms/{}.log", id(n)).into(),
                max_bytes: limits::MAX_BYTES_MIN,
                file_mode: 0o640,
                dir: number(1),
                file: number(2),
                ..SavedLog::default()
            },
            ..VmState::default()
        }
    };
    let vms = (0..MOST).map(vm).collect();
    let state = State { format: FORMAT, vms, ..State::default() };
    let bytes = state.encode().expect("as JSON");
    assert_eq!(State::parse(&bytes).expect("read back"), state);
    let check = |bytes: &[u8]| {
        let mut check = Command::new(SERIALD)
            .arg("--check-state")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        check.stdin.take().expect("a pipe").write_all(bytes).expect("written");
        let ended = check.wait_with_output().expect("an end");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    assert_eq!(check(&bytes), (Some(0), String::new()));
    let other = String::from_utf8(bytes).expect("text").replacen("\"format\":1", "\"format\":9", 1);
    let said = "seriald: state: is of format 9; this program knows format 1\n";
    assert_eq!(check(other.as_bytes()), (Some(1), said.to_owned()));
}
