//! Launches that hang, are asked for twice, or end: what their clients are told, and what is left.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use seriald::OnExit;

use super::client::Client;
use super::requests::{begin, launch, post, put, refused, words};
use super::served::Served;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

/// A VMM that says that it is there and answers nothing else; it notes that it was asked more.
const DEAF: &str = "import socket, sys
path = sys.argv[2][len('path='):]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
held = []
while True:
    client = listener.accept()[0]
    held.append(client)
    if b'vmm.ping' in client.recv(65536):
        client.sendall(b'HTTP/1.1 200 \\r\\nContent-Length: 19\\r\\n\\r\\n{\"version\":\"v53.0\"}')
    else:
        open(path + '.asked', 'w')
";

/// The launch of a VMM that hangs in vm.create; without a time-out unless the caller has one.
pub fn deaf(dir: &Path) -> (Value, PathBuf) {
    let home = dir.join("a");
    std::fs::create_dir_all(&home).expect("a directory");
    let launch = json!({"vmm": ["python3", "-c", DEAF], "config": {}, "launch_timeout_s": null});
    (json!({"dir": home, "launch": launch}), home.join("ch.sock.asked"))
}

/// One that has come as far as that, and whoever waits for it.
fn hanging(served: &Served) -> (Client, Value, u64) {
    let (body, asked) = deaf(served.dir.path());
    let client = begin(served, "PUT", "/v1/vms/a", &body);
    wait_until(PATIENCE, "vm.create", || asked.exists());
    let told = served.client().get("/v1/vms/a").json();
    assert_eq!(told["state"], "held", "it is there to be seen: {told}");
    (client, body, told["pid"].as_u64().expect("its VMM's"))
}

fn wait_for_end(served: &Served, pid: u64) {
    wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
    assert!(!Path::new("/proc").join(pid.to_string()).exists(), "its VMM has ended");
}

fn wait_for_clients(served: &Served, count: usize) {
    let line = format!("\nseriald_clients{{socket=\"control\"}} {count}\n");
    wait_until(PATIENCE, "so many clients", || {
        String::from_utf8(served.client().get("/metrics").body).expect("UTF-8").contains(&line)
    });
}

#[test]
fn a_launch_that_hangs_keeps_nobody_who_leaves_and_is_removed_by_a_release() {
    let served = Served::start();
    let (client, body, pid) = hanging(&served);
    wait_for_clients(&served, 2);
    drop(client);
    wait_for_clients(&served, 1);
    assert_eq!(served.client().get("/v1/vms/a").json()["state"], "held", "it hangs on");
    // Whoever asks for the same waits for the same; whoever does not wait is told how it stands.
    let mut again = begin(&served, "PUT", "/v1/vms/a", &body);
    assert_eq!(put(&served, "?wait=false", &body).status, 202);
    for what in ["reboot", "snapshot"] {
        let answer = post(&served, what, r#"{"url": "file:///tmp"}"#);
        assert_eq!(refused(&answer), (409, "launching".into()));
    }
    assert_eq!(served.client().ask("DELETE", "/v1/vms/a", "").status, 202);
    let told = again.answer().expect("an answer");
    assert_eq!(refused(&told), (409, "broken_off".into()));
    assert_eq!(told.json()["error"]["message"], "launch: vm.create: broken off");
    wait_for_end(&served, pid);
}

#[test]
fn a_launch_that_hangs_is_ended_by_a_shutdown_and_all_who_wait_are_told() {
    let served = Served::start();
    let (first, body, pid) = hanging(&served);
    let second = begin(&served, "PUT", "/v1/vms/a", &body);
    wait_for_clients(&served, 3);
    assert_eq!(post(&served, "shutdown", "").status, 200);
    for mut waiting in [first, second] {
        let told = waiting.answer().expect("an answer");
        assert_eq!(refused(&told), (409, "broken_off".into()));
    }
    wait_for_end(&served, pid);
}

#[test]
fn all_who_ask_for_the_same_launch_are_answered_once_the_guest_runs() {
    let served = Served::start();
    let (vmm, home) = (Vmm::sim("v53"), served.dir.path().join("a"));
    let mut body = launch(&vmm, &home, "lines=1 echo=1");
    // Its VMM begins once it may.
    let may = served.dir.path().join("may");
    let script = "while [ ! -e \"$0\" ]; do sleep 0.02; done; exec \"$@\"";
    let waiting = ["sh", "-c", script, may.to_str().expect("UTF-8")].map(str::to_owned);
    body["launch"]["vmm"] = json!([&waiting[..], &words(&vmm)[..]].concat());
    let clients = [0, 1].map(|_| begin(&served, "PUT", "/v1/vms/a", &body));
    wait_for_clients(&served, 3);
    std::fs::write(&may, "").expect("written");
    for mut client in clients {
        assert_eq!(client.answer().expect("an answer").status, 201);
    }
    assert_eq!(put(&served, "", &body).status, 200);
    assert_eq!(post(&served, "shutdown", "").status, 200);
}

#[test]
fn a_vm_that_is_launched_goes_with_its_vmm_whatever_others_do() {
    let served = Served::with(|spec| spec.vms.on_exit = OnExit::Wait);
    let home = served.dir.path().join("a");
    let body = launch(&Vmm::sim("v53"), &home, "lines=1 echo=1");
    for status in [201, 200] {
        assert_eq!(put(&served, "", &body).status, status);
    }
    assert_eq!(post(&served, "shutdown", "").status, 200);
    wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
}

#[test]
fn what_a_restore_may_not_say_is_refused_with_its_place() {
    let served = Served::start();
    for (body, why) in [
        (
            json!({"dir": "/a", "restore": {"source_url": "file:///s"}, "url": "file:///s"}),
            "restore: there is a \"url\" too",
        ),
        (
            json!({"serial": "/s", "log": "/l", "url": "file:///s"}),
            "body:1:1: key \"api\" is missing, and no \"dir\"",
        ),
        (
            json!({"serial": "/s", "log": "/l", "restore": {"source_url": "file:///s"}}),
            "key \"api\" is missing",
        ),
        (json!({"dir": "/a", "url": "file:///s", "config": {}}), "unknown key \"config\""),
        (
            json!({"dir": "/a", "url": "file:///s", "on_exit": "wait"}),
            "on_exit: a VM that is launched closes when its VMM exits",
        ),
    ] {
        let answer = post(&served, "restore", &body.to_string());
        assert_eq!(refused(&answer), (400, "bad_vm".into()), "{body}");
        let told = answer.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(told.contains(why), "{told}");
    }
}
