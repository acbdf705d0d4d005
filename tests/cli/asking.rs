//! `seriald ls`, `rotate`, `adopt` and `release`: a running seriald is asked.

use crate::program::{Ended, Running, ended, seriald, wait_until};
use crate::run::{dir, text, vm};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use tempfile::TempDir;

struct Asked {
    dir: TempDir,
    control: PathBuf,
    running: Running,
}

impl Asked {
    /// `seriald run` with two VMs, `b` and `a`.
    fn start() -> Asked {
        let dir = dir();
        let control = dir.path().join("c.sock");
        let (a, b) = (vm(dir.path(), "a"), vm(dir.path(), "b"));
        let args = ["run", "--vm", &b, "--vm", &a, "--control", text(&control)];
        let running = Running::start(seriald(&args));
        wait_until("the socket", || UnixStream::connect(&control).is_ok());
        Asked { dir, control, running }
    }

    fn ask(&self, args: &[&str]) -> Ended {
        ended(&[args, &["--control", text(&self.control)]].concat())
    }

    fn ids(&self) -> Vec<String> {
        let told: Value = serde_json::from_str(&self.ask(&["ls", "--json"]).out).expect("JSON");
        let vms = told.as_array().expect("an array").iter();
        vms.map(|vm| vm["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[test]
fn vms_are_listed_by_name_for_people_and_for_programs() {
    let asked = Asked::start();
    let listed = asked.ask(&["ls"]);
    assert_eq!((listed.code, listed.err.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> =
        listed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    let log = |id: &str| asked.dir.path().join(format!("{id}.log"));
    let (a, b) = (log("a"), log("b"));
    assert_eq!(
        lines,
        [
            ["ID", "STATE", "PID", "READ", "SIZE", "LOST", "LOG"],
            ["a", "dialing", "-", "0", "0", "0", text(&a)],
            ["b", "dialing", "-", "0", "0", "0", text(&b)],
        ]
    );
    assert_eq!(asked.ids(), ["a", "b"]);
    // The variable says where, too.
    let mut command = seriald(&["ls"]);
    command.env("SERIALD_CONTROL", &asked.control);
    assert_eq!(Running::start(command).end().out, listed.out);
    asked.running.signal("TERM");
    assert_eq!(asked.running.end().code, Some(0));
}

#[test]
fn a_vm_is_adopted_rotated_and_released() {
    let asked = Asked::start();
    let home = asked.dir.path().join("vms/c");
    fs::create_dir_all(home.join("logs")).expect("made");
    fs::write(home.join("logs/app.log"), "printed before\n").expect("written");
    // Relative to whoever types.
    let mut adopt = seriald(&["adopt", "c", "--dir", "vms/c", "--control", "c.sock"]);
    adopt.current_dir(asked.dir.path());
    assert_eq!(Running::start(adopt).end().out, "c: in charge\n");
    assert_eq!(asked.ids(), ["a", "b", "c"]);
    let rotated = asked.ask(&["rotate", "c", "a"]);
    assert_eq!((rotated.code, rotated.out.as_str()), (Some(0), "c: log rotated\na: log rotated\n"));
    assert_eq!(fs::read(home.join("logs/app.log.1")).expect("a backup"), b"printed before\n");
    assert_eq!(asked.ask(&["release", "c"]).out, "c: released\n");
    wait_until("its end", || asked.ids() == ["a", "b"]);
}

#[test]
fn one_vm_that_is_not_there_keeps_no_other_back() {
    let asked = Asked::start();
    let rotated = asked.ask(&["rotate", "x", "a"]);
    rotated.is(1, "seriald: there is no VM \"x\"");
    assert_eq!(rotated.out, "a: log rotated\n");
    let serial = asked.dir.path().join("a.sock");
    let taken = asked.ask(&["adopt", "c", "--serial", text(&serial), "--log", "/tmp/c.log"]);
    taken.has(1, "serial");
    taken.has(1, "belongs to VM");
    asked.ask(&["rotate", "a/../b"]).has(2, "is no VM's name");
    asked.ask(&["adopt", "c", "--serial", "s"]).has(2, "--dir <DIR>");
}

#[test]
fn where_nobody_can_be_asked_it_is_told_with_the_way_out() {
    let dir = dir();
    let path = dir.path().join("c.sock");
    let ask = |path: &Path| ended(&["ls", "--control", text(path)]);
    let at = |why: &str| {
        format!(
            "seriald: no seriald can be asked at {}: {why}; name the running one's socket by \
             --control, as its configuration does by \"control\"",
            path.display()
        )
    };
    ask(&path).is(1, &at("nothing is there"));
    drop(UnixListener::bind(&path).expect("bound"));
    ask(&path).is(1, &at("nobody listens there any more"));
    fs::remove_file(&path).expect("removed");
    let other = UnixListener::bind(&path).expect("bound");
    let served = thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a client");
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).expect("a request") > 0);
        drop(stream);
        let (mut stream, _) = other.accept().expect("a client");
        assert!(stream.read(&mut request).expect("a request") > 0);
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).expect("sent");
    });
    ask(&path).has(1, "c.sock: it ended without an answer");
    ask(&path).has(1, "c.sock: status 404: is it another's socket?");
    served.join().expect("served");
}
