//! VMs launched, rebooted, snapshotted and shut down by a running seriald, and its events.

use crate::launch::{Bench, output};
use crate::program::{Ended, Running, ended, processes, seriald, wait_until};
use crate::run::text;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

struct Served {
    bench: Bench,
    control: PathBuf,
    running: Running,
}

impl Served {
    fn start() -> Served {
        let bench = Bench::new();
        let control = bench.path("c.sock");
        let running = Running::start(seriald(&["run", "--control", text(&control)]));
        wait_until("the socket", || UnixStream::connect(&control).is_ok());
        Served { bench, control, running }
    }

    fn ask(&self, args: &[&str]) -> Ended {
        ended(&[args, &["--control", text(&self.control)]].concat())
    }

    fn events(&self) -> Vec<Value> {
        let told = self.ask(&["events", "--json"]).out;
        told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn upgrade(&self) {
        let pid = self.running.id().to_string();
        let upgraded = ended(&["upgrade", "--pid", &pid]);
        assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    }

    fn end(self) {
        self.running.signal("TERM");
        assert_eq!(self.running.end().code, Some(0));
        self.bench.nothing_is_left();
    }
}

#[test]
fn a_vm_lives_at_a_running_serialds() {
    let served = Served::start();
    let (bench, control) = (&served.bench, &served.control);
    // Paths are relative to whoever types.
    let home = json!({"dir": "a", "log": {"path": "a/logs/app.log", "keep": 7}});
    bench.file("a", "lines=3 echo=1", home);
    let mut launch = seriald(&["launch", "--control", text(control), "a.json"]);
    launch.current_dir(bench.dir.path());
    let launched = Running::start(launch).end();
    assert_eq!((launched.out.as_str(), launched.err.as_str()), ("a: launched\n", ""));
    wait_until("its output", || bench.log("a") == output(3));
    assert_eq!(served.ask(&["reboot", "a"]).out, "a: rebooted\n");
    let to = bench.path("snapshot");
    fs::create_dir(&to).expect("made");
    let taken = served.ask(&["snapshot", "take", "a", text(&to)]);
    assert_eq!((taken.code, taken.err.as_str()), (Some(0), ""));
    assert!(to.join("config.json").exists());
    let shut_down = served.ask(&["shutdown", "a"]);
    assert_eq!((shut_down.out.as_str(), shut_down.code), ("a: shut down\n", Some(0)));
    assert!(!bench.path("a/ch.sock").exists() && !bench.path("a/serial.sock").exists());
    let told = served.events();
    let told: Vec<&str> = told.iter().map(|told| told["event"].as_str().expect("a word")).collect();
    assert!(told.starts_with(&["adopted", "connected", "launched"]), "{told:?}");
    assert_eq!(told.last(), Some(&"closed"));
    let people = served.ask(&["events", "--vm", "a"]);
    assert!(people.out.contains("  a  answered  call=vm.reboot\n"), "{}", people.out);
    served.end();
}

#[test]
fn a_test_that_fails_leaves_no_vmm_behind() {
    let served = Served::start();
    let file = served.bench.file("a", "lines=0", json!({}));
    assert_eq!(served.ask(&["launch", &file]).out, "a: launched\n");
    let name = text(served.bench.dir.path()).to_owned();
    assert_eq!(processes(&name).len(), 2, "seriald and the VMM");
    // As a panic does it.
    drop(served);
    assert_eq!(processes(&name), [0_u32; 0]);
}

#[test]
fn what_fails_is_told_by_the_vms_name_and_keeps_no_other_back() {
    let served = Served::start();
    let fails = served.bench.file("a", "lines=1", json!({"vmm": ["/no/such/vmm"]}));
    let works = served.bench.file("b", "lines=1 echo=1", json!({}));
    let launched = served.ask(&["launch", &fails, &works]);
    let why = "launch failed: start of the VMM: /no/such/vmm: No such file or directory";
    launched.has(1, &format!("seriald: VM \"a\": {why}"));
    assert_eq!(launched.out, "b: launched\n");
    served.ask(&["snapshot", "take", "b", "/no/such/place"]).has(1, "vm.snapshot: HTTP 500");
    served.ask(&["shutdown", "x"]).is(1, "seriald: there is no VM \"x\"");
    served.ask(&["events", "--after", "x"]).has(1, "neither the id of an event nor now");
    // What was launched by it ends with it.
    served.end();
}

#[test]
fn events_are_followed_over_an_upgrade() {
    let served = Served::start();
    let args = ["events", "-f", "--json", "--control", text(&served.control)];
    let mut follower = Running::start(seriald(&args));
    let lines = follower.lines();
    let next = || -> Value { serde_json::from_str(&lines.next()).expect("JSON") };
    served.ask(&["adopt", "a", "--serial", "/s", "--log", text(&served.bench.path("a.log"))]);
    assert_eq!(next()["event"], "adopted");
    let seen = served.events();
    served.upgrade();
    // Nothing is missed, and nothing told twice, however long ago somebody has asked.
    assert_eq!(served.events(), seen);
    served.ask(&["release", "a"]);
    let end = next();
    assert_eq!(end["event"], "closed");
    let id = seen[0]["id"].as_str().expect("an id");
    assert_eq!(end["id"], id.replace("-1", "-2"));
    let since = served.ask(&["events", "--json", "--after", id]).out;
    assert_eq!(serde_json::from_str::<Value>(&since).expect("one line"), end);
    drop(follower);
    served.end();
}

#[test]
fn a_launch_is_known_again_after_an_upgrade_and_its_vm_ends_with_its_vmm() {
    let served = Served::start();
    let bench = &served.bench;
    let file = bench.file("a", "lines=1 echo=1", json!({}));
    assert_eq!(served.ask(&["launch", &file]).out, "a: launched\n");
    // Its limits may be changed without a word of its launch.
    let adopted = served.ask(&["adopt", "a", "--dir", text(&bench.path("a"))]);
    assert_eq!((adopted.code, adopted.err.as_str()), (Some(0), ""));
    let pid = || {
        let listed = served.ask(&["ls", "--json"]).out;
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        listed[0]["pid"].as_u64()
    };
    let before = pid();
    let started = before.expect("it runs");
    served.upgrade();
    assert_eq!(served.ask(&["launch", &file]).out, "a: launched\n");
    assert_eq!(pid(), Some(started), "no second VMM");
    let other = bench.file("a", "lines=2 echo=1", json!({}));
    served.ask(&["launch", &other]).has(1, "is in charge already, from another launch");
    assert_eq!(served.ask(&["shutdown", "a"]).out, "a: shut down\n");
    wait_until("its end", || served.ask(&["ls", "--ids"]).out.is_empty());
    served.end();
}
