//! `seriald snapshot`.

use crate::program::{ended, tree};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

const FILE_MODE: &str = r#"{"serial": {"file": "/vms/a/logs/app.log", "mode": "File"},
  "disks": [{"path": "/vms/a/disk.raw"}], "payload": {"kernel": "/boot/vmlinux"}, "x" : 1}
"#;

/// A snapshot whose serial port is in mode File.
fn snapshot() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("config.json"), FILE_MODE).expect("written");
    fs::write(dir.path().join("state.json"), "{}").expect("written");
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn config(dir: &Path) -> String {
    fs::read_to_string(dir.join("config.json")).expect("read")
}

#[test]
fn show_prints_the_serial_section_and_the_paths_and_changes_nothing() {
    let dir = snapshot();
    let shown = ended(&["snapshot", "show", text(dir.path())]);
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""));
    for line in ["serial  File  /vms/a/logs/app.log", "config.json disks[0].path  /vms/a/disk.raw"]
    {
        assert!(shown.out.lines().any(|l| l == line), "{}", shown.out);
    }
    let shown = ended(&["snapshot", "show", text(dir.path()), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!(json["serial"]["mode"], "File");
    assert!(json["paths"].as_array().expect("paths").iter().any(|p| p["at"] == "payload.kernel"));
    assert_eq!(config(dir.path()), FILE_MODE);
}

#[test]
fn upgrade_sets_mode_socket_once_and_leaves_every_other_byte() {
    let dir = snapshot();
    let args = ["snapshot", "upgrade", text(dir.path()), "--socket", "/vms/a/serial.sock"];
    let done = ended(&args);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert!(done.out.contains("File (/vms/a/logs/app.log) -> Socket (/vms/a/serial.sock)"));
    let after = config(dir.path());
    let json: serde_json::Value = serde_json::from_str(&after).expect("JSON");
    let wanted = serde_json::json!({"mode": "Socket", "socket": "/vms/a/serial.sock"});
    assert_eq!(json["serial"], wanted);
    let rest = |text: &str| text[text.find("\n").expect("a second line")..].to_string();
    assert_eq!(rest(&after), rest(FILE_MODE));
    let again = ended(&args);
    assert!(again.out.contains("nothing changed"), "{}", again.out);
    assert_eq!(config(dir.path()), after);
    assert_eq!(tree(dir.path()).len(), 2);
}

#[test]
fn fork_rewrites_what_lies_below_the_old_directory_and_names_what_is_shared() {
    let dir = snapshot();
    let args = ["snapshot", "fork", text(dir.path()), "--from", "/vms/a", "--to", "/vms/b"];
    let done = ended(&args);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let kernel = "shared     config.json payload.kernel  /boot/vmlinux";
    let disk = "rewritten  config.json disks[0].path  /vms/a/disk.raw -> /vms/b/disk.raw";
    assert!(done.out.lines().any(|l| l == kernel) && done.out.lines().any(|l| l == disk));
    assert_eq!(config(dir.path()), FILE_MODE.replace("/vms/a", "/vms/b"));
    assert!(ended(&args).out.contains("nothing changed"));
}

#[test]
fn an_error_names_the_file_and_leaves_it_as_it_was() {
    let upgrade =
        |dir: &Path, socket: &str| ended(&["snapshot", "upgrade", text(dir), "--socket", socket]);
    let dir = snapshot();
    let nowhere = dir.path().join("nowhere");
    upgrade(&nowhere, "/s").has(1, "nowhere/config.json: no such file");
    let long = format!("/{}", "s".repeat(107));
    upgrade(dir.path(), &long).has(1, "has 108 bytes");
    let fork = |from: &str, to: &str| {
        ended(&["snapshot", "fork", text(dir.path()), "--from", from, "--to", to])
    };
    fork("vms/a", "/vms/b").has(1, "must be an absolute path");
    fork("/vms/a", "/vms/a/b").has(1, "one lies in the other");
    assert_eq!(config(dir.path()), FILE_MODE);

    for broken in ["{\"serial\": {\"mode\": \"File\"", "[]", "{\"serial\": 3}"] {
        fs::write(dir.path().join("config.json"), broken).expect("written");
        let end = upgrade(dir.path(), "/s");
        end.has(1, "config.json: ");
        assert!(end.err.contains("the file is untouched"), "{}", end.err);
        assert_eq!(config(dir.path()), broken);
    }
    fs::remove_file(dir.path().join("config.json")).expect("removed");
    symlink("/etc/hostname", dir.path().join("config.json")).expect("linked");
    upgrade(dir.path(), "/s").has(1, "not a regular file");
    assert_eq!(tree(dir.path()).len(), 2);
}
