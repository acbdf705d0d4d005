//! A thousand clients at once, of the worst kinds, beside VMs that print.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::json;
use seriald::{Config, Seriald, limits};
use tempfile::TempDir;

use super::client::Client;
use super::fleets::Fleet;
use super::support::process::Process;
use super::support::wait::{PATIENCE, wait_until};

const CROWD: usize = 1000;
const VMS: usize = 20;
const LINES: u32 = 4000;

/// The binary, in a process whose descriptors and memory are its own.
struct Scene {
    dir: TempDir,
    path: PathBuf,
    seriald: Process,
}

impl Scene {
    fn start() -> Scene {
        // A thousand clients are as many descriptors of ours: it raises their number to what is
        // allowed.
        drop(Seriald::bind(Config::default()).expect("a loop"));
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.sock");
        let watch = dir.path().join("fleet/vm-*");
        fs::create_dir(dir.path().join("fleet")).expect("made");
        let config = json!({"control": path, "watch": [watch], "log": {"max_bytes": 65_536}});
        fs::write(dir.path().join("c.json"), config.to_string()).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_seriald"));
        command.arg("run").arg("--config").arg(dir.path().join("c.json"));
        let seriald = Process::start("seriald", dir.path(), &mut command);
        wait_until(PATIENCE, "the socket", || UnixStream::connect(&path).is_ok());
        Scene { dir, path, seriald }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path)
    }

    /// The names of all descriptors that it has.
    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.seriald.id())).expect("it runs").count()
    }

    /// Its memory that belongs to no file, in bytes.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.seriald.id()));
        let status = status.expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        let kib = kib.trim().trim_end_matches(" kB").parse::<usize>().expect("a number");
        kib * 1024
    }

    /// The number behind a counter's name.
    fn counter(&self, name: &str) -> u64 {
        let page = self.patiently(|client| {
            client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            client.answer().filter(|answer| answer.status == 200).map(|answer| answer.body)
        });
        let page = String::from_utf8(page).expect("UTF-8");
        let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("the counter");
        line.trim().parse().expect("a number")
    }

    /// What a client is answered that comes again as long as there is no place for it.
    fn patiently<T>(&self, ask: impl Fn(&mut Client) -> Option<T>) -> T {
        let mut answer = None;
        wait_until(PATIENCE, "an answer", || {
            answer = ask(&mut self.client());
            answer.is_some()
        });
        answer.expect("an answer")
    }
}

/// One of a crowd.
struct Hostile {
    stream: UnixStream,
    kind: usize,
    /// How much of what drips in was sent.
    dripped: usize,
}

const LIST: &[u8] = b"GET /v1/vms HTTP/1.1\r\nHost: x\r\n\r\n";
const DRIP: &[u8] = b"PUT /v1/vms/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"dir\": ";

impl Hostile {
    /// Comes, and does the first of what it does. Whatever it is answered is no concern of its.
    fn come(path: &Path, number: usize) -> Hostile {
        let mut stream = UnixStream::connect(path).expect("connected");
        stream.set_nonblocking(true).expect("set");
        let kind = number % 10;
        let mut say = |bytes: &[u8]| drop(stream.write(bytes));
        match kind {
            // Noise; half a word, which goes on a byte at a time; a head without an end.
            0 => say(&(0..20_000).map(|n: usize| (n * 7 + number) as u8).collect::<Vec<_>>()),
            1 | 2 => say(&DRIP[..1]),
            3 => say(&[&LIST[..20], &[b'A'; 100_000]].concat()),
            // A body that lacks its last byte.
            4 => {
                let head = b"PUT /v1/vms/a HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n";
                say(&[&head[..], &[b' '; 65_535]].concat());
            }
            // Answers that are not taken, of which one kind sends no more and one goes.
            5 | 6 => say(&LIST.repeat(200)),
            7 => {
                say(&LIST.repeat(50));
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            // What never ends, and is not taken.
            8 => say(b"GET /v1/vms/vm-0000/log?follow&offset=0 HTTP/1.1\r\nHost: x\r\n\r\n"),
            _ => {}
        }
        Hostile { stream, kind, dripped: 1 }
    }

    /// Does the next; `None`: it has hung up in the middle of an answer.
    fn go_on(mut self) -> Option<Hostile> {
        match self.kind {
            1 | 2 => {
                let next = DRIP.get(self.dripped).into_iter().copied().collect::<Vec<_>>();
                self.dripped += 1;
                let _ = self.stream.write(&next);
            }
            6 => {
                let _ = self.stream.read(&mut [0; 10]);
                return None;
            }
            0 | 3 => {
                // One that was refused comes again.
                let mut piece = [0; 4096];
                if !matches!(self.stream.read(&mut piece), Err(error) if error.kind() == ErrorKind::WouldBlock)
                {
                    return None;
                }
            }
            _ => {}
        }
        Some(self)
    }
}

fn crowd(path: &Path) -> Vec<Hostile> {
    (0..CROWD).map(|number| Hostile::come(path, number)).collect()
}

/// Each goes on, and in the place of those who are gone others come.
fn go_on(path: &Path, crowd: Vec<Hostile>) -> Vec<Hostile> {
    let next = |(number, one): (usize, Hostile)| match one.go_on() {
        Some(one) => one,
        None => Hostile::come(path, number),
    };
    crowd.into_iter().enumerate().map(next).collect()
}

#[test]
fn a_thousand_clients_leave_no_descriptor_behind_and_hold_a_bounded_memory() {
    let scene = Scene::start();
    assert_eq!(scene.client().get("/healthz").status, 200);
    wait_until(PATIENCE, "nobody", || scene.counter("seriald_clients{socket=\"control\"}") == 1);
    let mut settled = 0;
    wait_until(PATIENCE, "a number of descriptors", || {
        std::mem::replace(&mut settled, scene.descriptors()) == scene.descriptors()
    });
    let (descriptors, memory) = (scene.descriptors(), scene.memory());
    let mut most = (0, 0);
    for _ in 0..3 {
        let mut all = crowd(&scene.path);
        for _ in 0..3 {
            all = go_on(&scene.path, all);
            most = (most.0.max(scene.descriptors()), most.1.max(scene.memory()));
        }
        assert_eq!(
            scene.patiently(|client| client.try_get("/healthz").filter(|it| *it == 200)),
            200
        );
        drop(all);
        wait_until(PATIENCE, "no descriptor of theirs", || scene.descriptors() <= descriptors);
    }
    // Each a connection, and the directory of a log.
    let of_clients = 2 * limits::CONTROL_CLIENTS_MAX + 3;
    assert!(most.0 <= descriptors + of_clients, "{most:?}");
    assert!(most.0 > descriptors + 100, "there was a crowd: {most:?}");
    let of_clients = 100 * 1024 * limits::CONTROL_CLIENTS_MAX;
    assert!(most.1 <= memory + of_clients, "{most:?}, {memory} before");
    let gone = ["idle", "request", "slow"]
        .map(|why| scene.counter(&format!("seriald_clients_dropped_total{{cause=\"{why}\"}}")));
    let refused = scene.counter("seriald_clients_refused_total{cause=\"full\"}");
    let left_out = gone.iter().sum::<u64>() + refused;
    assert!(left_out >= 1000, "{gone:?}, {refused}");
    eprintln!("{most:?} of {descriptors}, {memory}; dropped {gone:?}, refused {refused}");
}

#[test]
fn a_thousand_hostile_clients_cost_no_vm_a_byte_and_keep_nobody_out() {
    let mut scene = Scene::start();
    let fleet_dir = scene.dir.path().join("fleet");
    let cmdline = format!("lines={LINES} wait=1000000");
    let mut fleet = Fleet::start("v52", &fleet_dir, VMS, &["--rate", "40000"], &cmdline);
    let mut all = crowd(&scene.path);
    let (mut served, mut turned_away) = (0_u32, 0_u32);
    while fleet.process.is_running() {
        all = go_on(&scene.path, all);
        // Whoever has a request is answered meanwhile.
        match scene.client().try_get("/v1/vms/vm-0003") {
            Some(200 | 404) => served += 1,
            Some(503) | None => turned_away += 1,
            Some(other) => panic!("{other}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
    eprintln!("{served} were served, {turned_away} turned away");
    assert!(served >= 20, "{served} were served, {turned_away} turned away");
    assert_eq!(scene.patiently(|client| client.try_get("/healthz").filter(|it| *it == 200)), 200);
    assert_eq!(scene.counter("seriald_lost_bytes_total{cause=\"write_failed\"}"), 0);
    drop(all);
    assert_eq!(scene.patiently(|client| client.try_get("/v1/vms").filter(|it| *it == 200)), 200);
    assert!(scene.seriald.terminate_and_wait().success());
    fleet.assert_logs_are_whole(LINES);
}
