//! A supervisor that was started with a low soft limit on descriptors, as most services are.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use serde_json::json;

use super::running::{SERIALD, child_of};
use super::support::process::{Process, signal};
use super::support::wait::{PATIENCE, wait_for, wait_until};

/// More than the soft limit, so that numbers beyond it are handed over.
const VMS: usize = 60;
const SOFT_LIMIT: &str = "40";
/// The VM whose end leaves a gap in the supervisor's numbers, between the limit and the last.
const GONE: usize = 45;

#[test]
fn a_descriptor_is_placed_also_at_a_number_beyond_the_limit_that_the_program_gets() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let path = |n: usize| dir.join(format!("{n}.sock"));
    let log = |n: usize| dir.join(format!("{n}.log"));
    let bind = |n| Some(UnixListener::bind(path(n)).expect("a listener"));
    let mut listeners: Vec<Option<UnixListener>> = (0..VMS).map(bind).collect();
    let vm = |n: usize| json!({"id": format!("vm{n}"), "serial": path(n), "log": log(n)});
    let config = json!({"vms": (0..VMS).map(vm).collect::<Vec<_>>()});
    fs::write(dir.join("seriald.json"), config.to_string()).expect("a configuration");
    let script = format!("ulimit -Sn {SOFT_LIMIT}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, SERIALD, "supervise", "--", "run", "--config"]);
    let mut supervisor = Process::start("supervise", dir, command.arg(dir.join("seriald.json")));
    let accept = |l: &Option<UnixListener>| l.as_ref().map(|l| l.accept().expect("a client").0);
    let mut clients: Vec<Option<UnixStream>> = listeners.iter().map(accept).collect();
    let say = |clients: &mut Vec<Option<UnixStream>>, line: &str, all: &str| {
        for client in clients.iter_mut().flatten() {
            client.write_all(line.as_bytes()).expect("the stream stands");
        }
        wait_until(PATIENCE, line, || {
            let here = (0..VMS).filter(|n| clients[*n].is_some());
            here.map(log).all(|log| fs::read_to_string(log).is_ok_and(|log| log == all))
        });
    };
    say(&mut clients, "one\n", "one\n");
    listeners[GONE] = None;
    clients[GONE] = None;
    // Said after the end of that stream, so heard after it.
    say(&mut clients, "two\n", "one\ntwo\n");
    let child = child_of(supervisor.id()).expect("a child");
    signal(child, "KILL");
    wait_for(PATIENCE, "the next", || child_of(supervisor.id()).filter(|next| *next != child));
    say(&mut clients, "three\n", "one\ntwo\nthree\n");
    let kept = supervisor.output().matches("was kept over the restart").count();
    assert_eq!(kept, VMS - 1);
    drop((clients, listeners));
    assert!(supervisor.terminate_and_wait().success());
}
