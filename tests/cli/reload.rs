//! What SIGHUP and SIGUSR1 ask of `seriald run`.

use crate::program::{Running, wait_until};
use crate::run::{Port, dir, let_go, text, vm};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A configured VM whose socket and log are named by its id.
fn configured(dir: &Path, id: &str) -> Value {
    let path = |kind: &str| dir.join(format!("{id}.{kind}"));
    json!({"id": id, "serial": path("sock"), "log": path("log")})
}

fn write(dir: &Path, content: &Value) -> PathBuf {
    let file = dir.join("c.json");
    fs::write(&file, content.to_string()).expect("written");
    file
}

/// `run` with this configuration, and a log that tells of each change.
fn start(dir: &Path, content: &Value, more: &[&str]) -> Running {
    let file = write(dir, content);
    // What it tells is to be read while it runs.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>err"]).current_dir(dir).env("RUST_LOG", "info");
    command.args([env!("CARGO_BIN_EXE_seriald"), "run", "--config", text(&file)]).args(more);
    Running::start(command)
}

fn wait_until_told(dir: &Path, what: &str) {
    wait_until(&format!("it tells {what:?}"), || {
        fs::read_to_string(dir.join("err")).is_ok_and(|text| text.contains(what))
    });
}

fn wait_for_bytes(log: &Path, bytes: &str) {
    wait_until(&format!("{} has {bytes:?}", log.display()), || {
        fs::read_to_string(log).is_ok_and(|text| text == bytes)
    });
}

#[test]
fn a_reload_adds_removes_and_changes_vms_and_leaves_the_others_alone() {
    let dir = dir();
    let at = dir.path();
    let (a, b, c, d) =
        (Port::bind(at, "a"), Port::bind(at, "b"), Port::bind(at, "c"), Port::bind(at, "d"));
    let vms = |ids: &[&str]| ids.iter().map(|id| configured(at, id)).collect::<Vec<_>>();
    let run = start(at, &json!({"vms": vms(&["a", "b"])}), &["--vm", &vm(at, "d")]);
    let (mut a, b, mut d) = (a.accept(), b.accept(), d.accept());
    let mut changed = vms(&["a", "c"]);
    changed[0]["log"] = json!({"path": at.join("a.log"), "file_mode": "0600"});
    write(at, &json!({"vms": changed}));
    run.signal("HUP");
    let mut c = c.accept();
    let_go(b);
    a.write_all(b"kept\n").expect("sent");
    c.write_all(b"added\n").expect("sent");
    d.write_all(b"of the command line\n").expect("sent");
    wait_for_bytes(&at.join("a.log"), "kept\n");
    wait_for_bytes(&at.join("c.log"), "added\n");
    wait_for_bytes(&at.join("d.log"), "of the command line\n");
    let mode = fs::metadata(at.join("a.log")).expect("the log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    run.signal("TERM");
    for stream in [a, c, d] {
        let_go(stream);
    }
    let line = "reloaded: 1 VMs to add, 1 removed, 1 with other limits, 0 with other paths, \
                1 unchanged";
    assert_eq!(run.end().code, Some(0));
    wait_until_told(at, line);
}

#[test]
fn a_vm_whose_log_has_another_path_is_drained_and_then_taken_anew() {
    let dir = dir();
    let at = dir.path();
    let port = Port::bind(at, "a");
    let mut config = json!({"vms": [configured(at, "a")]});
    let run = start(at, &config, &[]);
    let mut stream = port.accept();
    stream.write_all(b"old\n").expect("sent");
    wait_for_bytes(&at.join("a.log"), "old\n");
    config["vms"][0]["log"] = json!(at.join("new.log"));
    write(at, &config);
    // What lies in the socket then is the old log's.
    stream.write_all(b"drained\n").expect("sent");
    run.signal("HUP");
    let_go(stream);
    let mut stream = port.accept();
    stream.write_all(b"new\n").expect("sent");
    wait_for_bytes(&at.join("new.log"), "new\n");
    assert_eq!(fs::read_to_string(at.join("a.log")).expect("read"), "old\ndrained\n");
    run.signal("TERM");
    let_go(stream);
    assert_eq!(run.end().code, Some(0));
    wait_until_told(at, "0 with other limits, 1 with other paths");
}

#[test]
fn two_vms_may_exchange_their_logs() {
    let dir = dir();
    let at = dir.path();
    let ports = [Port::bind(at, "a"), Port::bind(at, "b")];
    let mut config = json!({"vms": [configured(at, "a"), configured(at, "b")]});
    let run = start(at, &config, &[]);
    let before: Vec<_> = ports.iter().map(Port::accept).collect();
    config["vms"][0]["log"] = json!(at.join("b.log"));
    config["vms"][1]["log"] = json!(at.join("a.log"));
    write(at, &config);
    run.signal("HUP");
    before.into_iter().for_each(let_go);
    let mut after: Vec<_> = ports.iter().map(Port::accept).collect();
    after[0].write_all(b"from a\n").expect("sent");
    wait_for_bytes(&at.join("b.log"), "from a\n");
    run.signal("TERM");
    after.into_iter().for_each(let_go);
    assert_eq!(run.end().code, Some(0));
    wait_until_told(at, "2 with other paths");
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_says_why() {
    let dir = dir();
    let at = dir.path();
    let port = Port::bind(at, "a");
    let mut run = start(at, &json!({"vms": [configured(at, "a")]}), &[]);
    let mut stream = port.accept();
    write(at, &json!({"vms": [], "lgo": {}}));
    run.signal("HUP");
    wait_until_told(at, "not reloaded, everything stays as it is: ");
    wait_until_told(at, "c.json:1:2: unknown key \"lgo\", did you mean \"log\"?");
    fs::remove_file(at.join("c.json")).expect("removed");
    run.signal("HUP");
    wait_until_told(at, "c.json: cannot be read");
    stream.write_all(b"still here\n").expect("sent");
    wait_for_bytes(&at.join("a.log"), "still here\n");
    assert!(run.runs());
    write(at, &json!({"vms": []}));
    run.signal("HUP");
    let_go(stream);
    run.signal("TERM");
    assert_eq!(run.end().code, Some(0));
    wait_until_told(at, "0 VMs to add, 1 removed");
}

#[test]
fn a_log_that_was_renamed_is_opened_anew_on_sigusr1_though_its_guest_is_silent() {
    let dir = dir();
    let at = dir.path();
    let port = Port::bind(at, "a");
    let run = start(at, &json!({"vms": [configured(at, "a")]}), &[]);
    let mut stream = port.accept();
    stream.write_all(b"before\n").expect("sent");
    let log = at.join("a.log");
    wait_for_bytes(&log, "before\n");
    fs::rename(&log, at.join("a.log-1")).expect("moved");
    run.signal("USR1");
    wait_for_bytes(&log, "");
    stream.write_all(b"after\n").expect("sent");
    wait_for_bytes(&log, "after\n");
    assert_eq!(fs::read_to_string(at.join("a.log-1")).expect("read"), "before\n");
    run.signal("TERM");
    let_go(stream);
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn a_vm_beyond_the_descriptors_is_refused_alone_and_taken_once_another_has_gone() {
    let dir = dir();
    let at = dir.path();
    let ids = ["a", "b", "c"];
    let [a, b, c] = ids.map(|id| Port::bind(at, id));
    let vms = |ids: &[&str]| ids.iter().map(|id| configured(at, id)).collect::<Vec<_>>();
    let file = write(at, &json!({"vms": vms(&ids)}));
    let mut command = Command::new("sh");
    // Room for two: 64 and 12 are set aside, ten for each VM.
    command.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\" 2>err"]).current_dir(at);
    command.args([env!("CARGO_BIN_EXE_seriald"), "run", "--config", text(&file)]);
    command.env("RUST_LOG", "info");
    let run = Running::start(command);
    let (mut a, b) = (a.accept(), b.accept());
    let fit =
        "out of descriptors: 2 VMs are all that RLIMIT_NOFILE 100 is enough for; 1 more, VM \"c\"";
    wait_until_told(at, fit);
    a.write_all(b"not hurt\n").expect("sent");
    wait_for_bytes(&at.join("a.log"), "not hurt\n");
    write(at, &json!({"vms": vms(&["a", "c"])}));
    run.signal("HUP");
    let_go(b);
    let mut c = c.accept();
    c.write_all(b"there is room\n").expect("sent");
    wait_for_bytes(&at.join("c.log"), "there is room\n");
    run.signal("TERM");
    for stream in [a, c] {
        let_go(stream);
    }
    assert_eq!(run.end().code, Some(0));
}
