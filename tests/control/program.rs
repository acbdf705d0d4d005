//! The API of the binary: where its configuration says, over reloads and upgrades.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::support::process::{Process, output};
use super::support::wait::{PATIENCE, wait_until};
use super::viewer::{Printer, Viewer};

const SERIALD: &str = env!("CARGO_BIN_EXE_seriald");

/// Writes a configuration of one VM, `a`.
fn configure(dir: &Path, control: Value) {
    let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let vm = json!({"id": "a", "serial": path("a.sock"), "log": path("a.log")});
    let mut config = json!({"vms": [vm]});
    if !control.is_null() {
        config["control"] = control;
    }
    fs::write(dir.join("c.json"), config.to_string()).expect("written");
}

fn start(dir: &TempDir, more: &[&str]) -> Process {
    let mut command = Command::new(SERIALD);
    command.arg("run").arg("--config").arg(dir.path().join("c.json")).args(more);
    Process::start("seriald", dir.path(), &mut command)
}

fn ended(dir: &TempDir, more: &[&str]) -> Output {
    let mut command = Command::new(SERIALD);
    command.arg("run").arg("--config").arg(dir.path().join("c.json")).args(more);
    output(command.env("RUST_LOG", "off"))
}

/// Replaces a program by itself.
pub fn upgrade(seriald: &Process) {
    let pid = seriald.id().to_string();
    let upgraded = output(Command::new(SERIALD).args(["upgrade", "--pid", &pid]));
    assert!(upgraded.status.success(), "{upgraded:?}");
}

/// The same, so many times, while somebody connects again and again. Whoever was let in may be cut
/// off by an upgrade, nobody is refused: then `connect` panics.
pub fn upgrade_amid(seriald: &Process, times: usize, connect: impl Fn() + Sync) {
    let over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let end = SetAtEnd(&over);
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                connect();
                asked += 1;
            }
            asked
        });
        for _ in 0..times {
            upgrade(seriald);
        }
        drop(end);
        asker.join().expect("never refused")
    });
    assert!(asked > 0);
}

/// Tells a thread to end, also if the test fails: it would be waited for.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for(path: &Path) {
    // It is there a moment before it is listened on.
    wait_until(PATIENCE, "the socket", || UnixStream::connect(path).is_ok());
}

#[test]
fn without_the_key_there_is_no_socket_and_the_command_line_comes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (dir.path().join("one.sock"), dir.path().join("other.sock"));
    configure(dir.path(), Value::Null);
    let mut plain = start(&dir, &[]);
    wait_until(PATIENCE, "VMs in charge", || plain.output().contains("1 VMs in charge"));
    let names = fs::read_dir(dir.path()).expect("the directory").flatten();
    assert!(names.into_iter().all(|entry| !entry.path().to_string_lossy().ends_with("sock")));
    assert!(plain.terminate_and_wait().success());
    configure(dir.path(), json!(one));
    let mut seriald = start(&dir, &["--control", other.to_str().expect("UTF-8")]);
    wait_for(&other);
    assert_eq!(Client::connect(&other).get("/v1/vms/a").json()["id"], "a");
    assert!(!one.exists());
    assert!(seriald.terminate_and_wait().success());
    assert!(!other.exists());
}

#[test]
fn a_socket_that_cannot_be_had_ends_the_start_and_a_check_opens_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    configure(dir.path(), json!({"path": path, "mode": "0600"}));
    let checked = ended(&dir, &["--check"]);
    assert!(checked.status.success() && !path.exists());
    fs::write(&path, "mine").expect("written");
    let refused = ended(&dir, &[]);
    let why = "what is there is no socket, and is left alone";
    let expected = format!("seriald: control: cannot listen on {}: {why}\n", path.display());
    assert_eq!(String::from_utf8_lossy(&refused.stderr), expected);
    assert_eq!(refused.status.code(), Some(1));
    let usage = ended(&dir, &["--control", "/"]);
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(usage.stderr, b"seriald: --control: / names no file\n");
}

#[test]
fn a_reload_moves_the_socket_takes_it_away_and_brings_it_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (dir.path().join("one.sock"), dir.path().join("other.sock"));
    configure(dir.path(), json!(one));
    let mut seriald = start(&dir, &[]);
    wait_for(&one);
    configure(dir.path(), json!({"path": other}));
    seriald.signal("HUP");
    wait_for(&other);
    // The new one is there before the old one goes.
    wait_until(PATIENCE, "the old one's end", || !one.exists());
    configure(dir.path(), Value::Null);
    seriald.signal("HUP");
    wait_until(PATIENCE, "its end", || !other.exists());
    // One that can't be bound is told, and the reload goes on.
    configure(dir.path(), json!("/no/such/place/c.sock"));
    seriald.signal("HUP");
    wait_until(PATIENCE, "an error", || {
        let said = seriald.output();
        said.contains("ERROR] control: cannot listen on /no/such/place/c.sock: No such file")
            && said.matches("reloaded").count() == 3
    });
    configure(dir.path(), json!(one));
    seriald.signal("HUP");
    wait_for(&one);
    assert_eq!(Client::connect(&one).get("/healthz").status, 200);
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn an_upgrade_refuses_nobody_who_connects() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    configure(dir.path(), json!(path));
    let mut seriald = start(&dir, &[]);
    wait_for(&path);
    let socket = fs::metadata(&path).expect("the socket").ino();
    upgrade_amid(&seriald, 5, || drop(Client::connect(&path)));
    assert_eq!(fs::metadata(&path).expect("the socket").ino(), socket, "it is the same one");
    // Those who went in a hurry are in the way for a moment.
    let ask = || Client::connect(&path).try_get("/v1/vms/a");
    wait_until(PATIENCE, "room", || ask().is_some_and(|status| status == 200));
    // A configuration without it takes it away with the next upgrade.
    configure(dir.path(), Value::Null);
    upgrade(&seriald);
    wait_until(PATIENCE, "its end", || !path.exists());
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn an_upgrade_ends_viewers_and_keeps_how_far_input_is_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    configure(dir.path(), json!(path));
    let mut seriald = start(&dir, &[]);
    wait_for(&path);
    let printer = Printer::at(&dir.path().join("a.sock"));
    let mut console = printer.console();
    // A VMM that takes all there is; its guest prints nothing.
    thread::spawn(move || while matches!(console.read(&mut [0; 4096]), Ok(1..)) {});
    let (mut writer, _) = Viewer::attach(&path, "a", "");
    writer.type_in(&[b'x'; 4096].repeat(31));
    // What is sent last has gone on once there is room for no more.
    writer.type_in(&[b'x'; 8192]);
    let ahead = writer.notice("input_full")["ahead"].as_u64().expect("a number");
    upgrade(&seriald);
    while writer.next().is_some() {}
    let events = fs::read_to_string(dir.path().join("a.log.events")).expect("events");
    assert!(events.contains("\"cause\":\"upgraded\""), "{events}");
    let (mut next, _) = Viewer::attach(&path, "a", "");
    next.type_in(&[b'x'; 8192]);
    let still = next.notice("input_full")["ahead"].as_u64().expect("a number");
    assert!(still >= ahead, "{still} after {ahead}");
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn a_run_may_begin_without_a_vm_where_one_can_be_put() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    fs::write(dir.path().join("c.json"), json!({"control": path}).to_string()).expect("written");
    let mut seriald = start(&dir, &[]);
    wait_for(&path);
    let body = json!({"dir": dir.path().join("b")}).to_string();
    assert_eq!(Client::connect(&path).ask("PUT", "/v1/vms/b", &body).status, 201);
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn a_vm_that_was_put_stays_over_reloads_and_upgrades() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.sock");
    configure(dir.path(), json!(path));
    let mut seriald = start(&dir, &[]);
    wait_for(&path);
    let (serial, log) = (dir.path().join("b.sock"), dir.path().join("b.log"));
    let body = json!({"serial": serial, "log": log}).to_string();
    assert_eq!(Client::connect(&path).ask("PUT", "/v1/vms/b", &body).status, 201);
    let reloads = |seriald: &mut Process, times: usize| {
        seriald.signal("HUP");
        wait_until(PATIENCE, "a reload", || seriald.output().matches("reloaded").count() == times);
    };
    let ids = || {
        let told = Client::connect(&path).get("/v1/vms").json();
        let vms = told["vms"].as_array().expect("a list").iter();
        let mut ids: Vec<String> = vms.map(|vm| vm["id"].as_str().expect("an id").into()).collect();
        ids.sort_unstable();
        ids
    };
    reloads(&mut seriald, 1);
    assert_eq!(ids(), ["a", "b"]);
    upgrade(&seriald);
    assert_eq!(ids(), ["a", "b"]);
    reloads(&mut seriald, 2);
    assert_eq!(ids(), ["a", "b"]);
    // It is put as `run` has VMs, so that the same again changes nothing.
    assert_eq!(Client::connect(&path).ask("PUT", "/v1/vms/b", &body).status, 200);
    assert_eq!(Client::connect(&path).ask("DELETE", "/v1/vms/b", "").status, 202);
    assert_eq!(Client::connect(&path).ask("DELETE", "/v1/vms/a", "").status, 202);
    wait_until(PATIENCE, "their end", || ids().is_empty());
    // What the configuration names, a reload brings back.
    reloads(&mut seriald, 3);
    wait_until(PATIENCE, "its return", || ids() == ["a"]);
    assert!(seriald.terminate_and_wait().success());
}
