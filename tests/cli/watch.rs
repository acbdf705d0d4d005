//! `seriald run --watch`.

use crate::program::{DEADLINE, Running, ended, seriald, wait_until};
use crate::run::{dir, let_go, text};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// An instance directory that appears with its socket.
struct Instance {
    home: PathBuf,
    listener: UnixListener,
}

impl Instance {
    fn make(home: PathBuf) -> Self {
        fs::create_dir_all(&home).expect("made");
        let listener = UnixListener::bind(home.join("serial.sock")).expect("bound");
        listener.set_nonblocking(true).expect("set");
        Instance { home, listener }
    }

    fn accept(&self) -> UnixStream {
        let mut stream = None;
        wait_until("a client comes", || {
            stream = self.listener.accept().ok();
            stream.is_some()
        });
        let stream = stream.expect("a client").0;
        stream.set_nonblocking(false).expect("set");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream
    }

    fn wait_for_bytes(&self, bytes: &str) {
        let log = self.home.join("logs/app.log");
        wait_until(&format!("{} has {bytes:?}", log.display()), || {
            fs::read_to_string(&log).is_ok_and(|text| text == bytes)
        });
    }
}

fn start(pattern: &Path, more: &[&str]) -> Running {
    let mut command = seriald(&["run", "--watch", text(pattern)]);
    command.args(more).env("RUST_LOG", "info");
    Running::start(command)
}

#[test]
fn a_directory_that_appears_is_a_vm_until_it_goes_and_again_when_it_is_back() {
    let dir = dir();
    let at = dir.path();
    let early = Instance::make(at.join("vms/early"));
    let run = start(&at.join("vms/*"), &[]);
    let first = early.accept();
    for boot in ["first\n", "second\n"] {
        let late = Instance::make(at.join("vms/late"));
        let mut stream = late.accept();
        stream.write_all(boot.as_bytes()).expect("sent");
        late.wait_for_bytes(boot);
        fs::remove_dir_all(&late.home).expect("removed");
        let_go(stream);
    }
    wait_until("it is not made again by us", || !at.join("vms/late").exists());
    run.signal("TERM");
    let_go(first);
    let end = run.end();
    end.has(0, "VM late: closed: released");
    assert_eq!(end.err.matches("VM late: connected").count(), 2, "{}", end.err);
    assert!(!at.join("vms/late").exists());
}

#[test]
fn a_directory_that_is_renamed_is_a_vm_by_its_new_name() {
    let dir = dir();
    let at = dir.path();
    let old = Instance::make(at.join("old"));
    let run = start(&at.join("*"), &[]);
    let mut stream = old.accept();
    stream.write_all(b"old\n").expect("sent");
    old.wait_for_bytes("old\n");
    let new = Instance { home: at.join("new"), listener: old.listener };
    fs::rename(&old.home, &new.home).expect("moved");
    let_go(stream);
    let mut stream = new.accept();
    stream.write_all(b"new\n").expect("sent");
    new.wait_for_bytes("old\nnew\n");
    run.signal("TERM");
    let_go(stream);
    run.end().has(0, "VM new: connected");
}

#[test]
fn directories_that_came_and_went_before_they_were_looked_at_are_not_made_again() {
    let dir = dir();
    let at = dir.path();
    let run = start(&at.join("*"), &[]);
    let stream = Instance::make(at.join("first")).accept();
    run.signal("STOP");
    let brief: Vec<PathBuf> = (0..300).map(|n| at.join(format!("v{n}"))).collect();
    brief.iter().for_each(|home| fs::create_dir(home).expect("made"));
    brief.iter().for_each(|home| fs::remove_dir(home).expect("removed"));
    let last = Instance::make(at.join("last"));
    run.signal("CONT");
    let other = last.accept();
    run.signal("TERM");
    let_go(stream);
    let_go(other);
    assert_eq!(run.end().code, Some(0));
    assert!(brief.iter().all(|home| !home.exists()));
}

#[test]
fn what_can_be_no_vm_is_told_once_and_left_alone() {
    let dir = dir();
    let at = dir.path();
    fs::create_dir(at.join("a b")).expect("made");
    fs::create_dir(at.join(OsStr::from_bytes(b"no\xffUTF-8"))).expect("made");
    fs::write(at.join("file"), "").expect("written");
    let run = start(&at.join("*"), &[]);
    let good = Instance::make(at.join("good"));
    let stream = good.accept();
    // Another look at everything is no reason to tell it again.
    run.signal("HUP");
    let next = Instance::make(at.join("next"));
    let other = next.accept();
    run.signal("TERM");
    let_go(stream);
    let_go(other);
    let end = run.end();
    end.has(0, "id must match [A-Za-z0-9]");
    assert_eq!(end.err.matches("a b is left alone").count(), 1, "{}", end.err);
    assert_eq!(end.err.matches("UTF-8 is left alone").count(), 1, "{}", end.err);
    assert!(!end.err.contains("file"), "{}", end.err);
    assert_eq!(fs::read_dir(at.join("a b")).expect("a directory").count(), 0);
}

#[test]
fn a_vm_that_is_named_and_found_is_one_and_a_taken_id_is_told_and_tried_again_on_reload() {
    let dir = dir();
    let at = dir.path();
    let (one, two) = (Instance::make(at.join("x/a")), Instance::make(at.join("y/a")));
    let config = at.join("c.json");
    let named = json!({"watch": [at.join("x/*"), at.join("y/*")], "instances": [one.home]});
    fs::write(&config, named.to_string()).expect("written");
    let mut command = seriald(&["run", "--config", text(&config)]);
    let run = Running::start({
        command.env("RUST_LOG", "info");
        command
    });
    let stream = one.accept();
    fs::write(&config, json!({"watch": [at.join("y/*")]}).to_string()).expect("written");
    run.signal("HUP");
    let_go(stream);
    let stream = two.accept();
    run.signal("TERM");
    let_go(stream);
    let end = run.end();
    assert_eq!(end.err.matches("left alone").count(), 1, "{}", end.err);
    end.has(0, "y/a is left alone: VM \"a\" is that of");
}

#[test]
fn patterns_alone_are_enough_to_run_and_a_check_counts_them() {
    let dir = dir();
    let pattern = dir.path().join("*");
    let checked = ended(&["run", "--check", "--watch", text(&pattern), "--watch", "/vms/*"]);
    assert_eq!(checked.out, "VMs to run: 0. Patterns to watch: 2. Nothing is wrong.\n");
    ended(&["run", "--watch", ""])
        .is(2, "seriald: --watch: pattern \"\" is empty: name directories, as /var/lib/vms/*");
    let mut run = start(&pattern, &[]);
    let one = Instance::make(dir.path().join("one"));
    let stream = one.accept();
    assert!(run.runs());
    fs::remove_dir_all(&one.home).expect("removed");
    let_go(stream);
    run.signal("TERM");
    assert_eq!(run.end().code, Some(0));
}
