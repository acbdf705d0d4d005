//! Calls of a VMM for a client: in which order, and what is told if the VM goes meanwhile.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use super::requests::{Api, begin, launch, post, put, refused, wait_for_output};
use super::served::Served;
use super::support::process::{Process, signal};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};
use super::viewer::Printer;

const DONE: &[u8] = b"HTTP/1.1 204 \r\n\r\n";

#[test]
fn a_guest_is_paused_before_its_end_and_its_vmm_ends_with_it_if_that_is_wanted() {
    for (what, call) in [("shutdown", "vm.shutdown"), ("shutdown?vmm=true", "vmm.shutdown")] {
        let served = Served::start();
        let api = Api::of(&served);
        let printer = Printer::at(&served.dir.path().join("a/serial.sock"));
        let _console = printer.console();
        wait_until(PATIENCE, "its console", || {
            served.client().get("/v1/vms/a").json()["state"] == "streaming"
        });
        let mut client = begin(&served, "POST", &format!("/v1/vms/a/{what}"), &Value::Null);
        for call in ["vm.pause", call] {
            let (mut vmm, asked) = api.asked();
            assert_eq!(asked, format!("PUT /api/v1/{call} HTTP/1.1"));
            vmm.write_all(DONE).expect("answered");
        }
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
}

#[test]
fn a_vmm_that_ends_before_it_has_answered_was_shut_down_all_the_same() {
    let served = Served::start();
    let home = served.dir.path().join("sim");
    fs::create_dir_all(&home).expect("a directory");
    let mut command = Vmm::sim("v53").by_itself(&home, "lines=1 echo=1");
    let mut vmm = Process::start("ch-sim", &home, &mut command);
    let path = served.dir.path().join("api.sock");
    let api = Api::at(UnixListener::bind(&path).expect("bound"));
    let body = json!({"serial": home.join("serial.sock"), "log": home.join("a.log"), "api": path});
    assert_eq!(put(&served, "", &body).status, 201);
    wait_until(PATIENCE, "its VMM", || served.client().get("/v1/vms/a").json()["pid"].is_u64());
    let mut client = begin(&served, "POST", "/v1/vms/a/shutdown?vmm=true", &Value::Null);
    api.asked().0.write_all(DONE).expect("paused");
    let (_unanswered, asked) = api.asked();
    assert_eq!(asked, "PUT /api/v1/vmm.shutdown HTTP/1.1");
    vmm.signal("KILL");
    vmm.wait_for_exit();
    assert_eq!(client.answer().expect("an answer").status, 200);
}

#[test]
fn who_waits_for_a_call_is_told_that_the_vm_was_let_go_of_meanwhile() {
    for what in ["reboot", "shutdown", "shutdown?vmm=true"] {
        let served = Served::start();
        let api = Api::of(&served);
        let mut client = begin(&served, "POST", &format!("/v1/vms/a/{what}"), &Value::Null);
        let _unanswered = api.asked();
        assert_eq!(served.client().ask("DELETE", "/v1/vms/a", "").status, 202);
        let told = client.answer().expect("an answer");
        assert_eq!(refused(&told), (409, "gone".into()), "{what}");
    }
}

#[test]
fn a_vm_of_ours_that_is_busy_is_not_shut_down_meanwhile() {
    let served = Served::start();
    let home = served.dir.path().join("a");
    let made = put(&served, "", &launch(&Vmm::sim("v53"), &home, "lines=1 echo=1"));
    let pid = made.json()["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a pid");
    wait_for_output(&home, 10);
    signal(pid, "STOP");
    let mut client = begin(&served, "POST", "/v1/vms/a/reboot", &Value::Null);
    let meanwhile = post(&served, "shutdown", "");
    signal(pid, "CONT");
    assert_eq!(refused(&meanwhile), (409, "busy".into()));
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert_eq!(post(&served, "shutdown", "").status, 200);
}
