//! A command works on a backup when the collector is replaced, or killed.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::running::SERIALD;
use super::support::logs::assert_same;
use super::support::process::Process;
use super::support::wait::{PATIENCE, wait_until};

const LINE: &[u8] = b"sixteen bytes..\n";

/// A VM whose first backup is being packed by a command that won't end before `go` is there.
fn packing(dir: &Path) -> (Process, UnixListener, UnixStream, u32) {
    let serial = dir.join("a.sock");
    let listener = UnixListener::bind(&serial).expect("a listener");
    let pids = pids(dir);
    let script = format!(
        "[ -e {} ] && wait=0 || wait=1000; cat; echo $$ >> {}; sleep $wait",
        dir.join("go").display(),
        pids.display()
    );
    let log = json!({
        "max_bytes": 1024, "path": dir.join("a.log"),
        "after_rotate": {"command": ["sh", "-c", script], "suffix": ".out"},
    });
    let vms = json!({"vms": [{"id": "a", "serial": serial, "log": log}]});
    fs::write(dir.join("seriald.json"), vms.to_string()).expect("a configuration");
    let seriald = start(dir);
    let (mut client, _) = listener.accept().expect("a client");
    client.write_all(&LINE.repeat(70)).expect("room");
    wait_until(PATIENCE, "the command", || started(dir).len() == 1);
    let pid = started(dir)[0];
    fs::write(dir.join("go"), b"").expect("a file");
    (seriald, listener, client, pid)
}

fn start(dir: &Path) -> Process {
    let mut command = Command::new(SERIALD);
    command.args(["run", "--config"]).arg(dir.join("seriald.json"));
    Process::start("seriald", dir, &mut command)
}

fn pids(dir: &Path) -> PathBuf {
    dir.join("pids")
}

/// The commands that were started, by their pids.
fn started(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(pids(dir)).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The backup is packed, once, whole, and nothing is left beside it.
fn assert_packed(dir: &Path) {
    let packed = dir.join("a.log.1.out");
    wait_until(PATIENCE, "the packed backup", || packed.exists() && !dir.join("a.log.1").exists());
    let packed = fs::read(&packed).expect("a backup");
    let log = fs::read(dir.join("a.log")).expect("the log");
    assert!(!packed.is_empty() && !log.is_empty());
    assert_same(&[packed, log].concat(), &LINE.repeat(70), "the backup and the log");
    assert!(!dir.join("a.log.packing").exists());
    assert_eq!(started(dir).len(), 2);
}

#[test]
fn an_upgrade_ends_a_command_and_its_successor_begins_it_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut seriald, _listener, _client, pid) = packing(dir.path());
    let id = seriald.id().to_string();
    let upgraded = Command::new(SERIALD).args(["upgrade", "--pid", &id]).output().expect("it runs");
    assert!(upgraded.status.success(), "{}", String::from_utf8_lossy(&upgraded.stderr));
    assert_packed(dir.path());
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is reaped");
    assert!(!seriald.output().contains("after_rotate"), "that is no failure");
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn after_a_crash_a_half_packed_file_goes_and_the_backup_is_packed_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut seriald, listener, _client, pid) = packing(dir.path());
    seriald.signal("KILL");
    seriald.wait_for_exit();
    assert!(dir.path().join("a.log.packing").exists());
    // Nobody ends the command of a collector that was killed, and it is no harm.
    let _ = Command::new("kill").args(["-9", "--", &format!("-{pid}")]).status();
    let mut seriald = start(dir.path());
    let _client = listener.accept().expect("a client");
    assert_packed(dir.path());
    assert!(seriald.terminate_and_wait().success());
}
