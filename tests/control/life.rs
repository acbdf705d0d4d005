//! VMs launched, rebooted, snapshotted, restored and ended by requests: ch-sim in both versions
//! and, where `CLOUD_HYPERVISOR` names one, a real Cloud Hypervisor.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use super::requests::{
    Api, begin, has_happened, impostor, launch, log_of, post, put, refused, told, wait_for_output,
    words,
};
use super::served::Served;
use super::support::guest::expected_output;
use super::support::logs::{assert_same, whole};
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

/// A guest that prints so many lines and then waits to be ended.
const LINES: u32 = 200;

#[test]
fn a_vm_is_launched_once_by_the_same_request_and_its_end_leaves_its_log_whole() {
    let served = Served::start();
    for vmm in Vmm::all(served.dir.path()) {
        let home = served.dir.path().join(vmm.name);
        let body = launch(&vmm, &home, &format!("lines={LINES} echo=1"));
        let made = put(&served, "", &body);
        assert_eq!(made.status, 201, "{made:?}");
        let pid = made.json()["pid"].clone();
        assert!(pid.is_u64() && has_happened(&served, "launched"), "{made:?}");
        let again = put(&served, "", &body);
        assert_eq!((again.status, &again.json()["pid"]), (200, &pid));
        // Other limits are no other launch, and another launch is none.
        let mut limits = body.clone();
        limits["log"] = json!({"path": log_of(&home), "max_bytes": 1 << 20});
        assert_eq!(put(&served, "", &limits).status, 200);
        let mut other = body.clone();
        other["launch"]["config"]["cpus"]["boot_vcpus"] = json!(2);
        assert_eq!(refused(&put(&served, "", &other)), (409, "exists".into()));
        wait_for_output(&home, expected_output(LINES).len());
        let ended = post(&served, "shutdown", "");
        assert_eq!(ended.status, 200, "{ended:?}");
        assert_same(&whole(&log_of(&home)), &expected_output(LINES), vmm.name);
        wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
        assert!(!Path::new("/proc").join(pid.to_string()).exists(), "its VMM has ended");
    }
}

#[test]
fn a_vm_that_was_not_launched_here_is_not_launched_over() {
    let served = Served::start();
    let home = served.dir.path().join("a");
    let body = launch(&Vmm::sim("v53"), &home, "lines=1");
    assert_eq!(put(&served, "", &json!({"dir": home})).status, 201);
    assert_eq!(refused(&put(&served, "", &body)), (409, "exists".into()));
}

#[test]
fn a_reboot_is_answered_once_it_is_done_and_the_guest_prints_anew() {
    let served = Served::start();
    for vmm in Vmm::all(served.dir.path()) {
        let home = served.dir.path().join(vmm.name);
        let delay = vmm.loops(std::time::Duration::from_millis(5));
        let body = launch(&vmm, &home, &format!("lines=0 delay={delay}"));
        assert_eq!(put(&served, "", &body).status, 201);
        wait_for_output(&home, 2000);
        let rebooted = post(&served, "reboot", "");
        assert_eq!(rebooted.status, 200, "{rebooted:?}");
        wait_until(PATIENCE, "its console", || has_happened(&served, "rebooted"));
        let size = fs::metadata(log_of(&home)).expect("a log").len() as usize;
        wait_for_output(&home, size + 1000);
        // It counts from the beginning again.
        let log = String::from_utf8(whole(&log_of(&home))).expect("text");
        let first: Vec<&str> =
            log.lines().filter(|line| line.starts_with("SEQ 00000009 ")).collect();
        assert_eq!(first.len(), 2, "{}: {log}", vmm.name);
        assert_eq!(post(&served, "shutdown", "").status, 200);
        wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
    }
}

#[test]
fn a_snapshot_is_taken_and_a_vm_restored_from_it() {
    let served = Served::start();
    for vmm in Vmm::all(served.dir.path()) {
        let (home, to) = (served.dir.path().join(vmm.name), served.dir.path().join("snapshot"));
        fs::create_dir_all(&to).expect("a directory");
        let url = json!({"url": format!("file://{}", to.display())});
        let delay = vmm.loops(std::time::Duration::from_millis(5));
        let body = launch(&vmm, &home, &format!("lines=0 delay={delay}"));
        assert_eq!(put(&served, "", &body).status, 201);
        wait_for_output(&home, 1000);
        let taken = post(&served, "snapshot", &url.to_string());
        assert_eq!(taken.status, 200, "{taken:?}");
        assert!(to.join("state.json").exists());
        // It runs on.
        let size = fs::metadata(log_of(&home)).expect("a log").len() as usize;
        wait_for_output(&home, size + 1000);
        assert_eq!(post(&served, "shutdown", "").status, 200);
        wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
        let size = fs::metadata(log_of(&home)).expect("a log").len() as usize;
        let body = json!({"dir": home, "vmm": words(&vmm), "url": url["url"]}).to_string();
        let restored = post(&served, "restore", &body);
        assert_eq!(restored.status, 201, "{restored:?}");
        wait_for_output(&home, size + 1000);
        // The same again, and by its longer name.
        assert_eq!(post(&served, "restore", &body).status, 200);
        let launch = json!({"vmm": words(&vmm), "restore": {"source_url": url["url"]}});
        assert_eq!(put(&served, "", &json!({"dir": home, "launch": launch})).status, 200);
        assert_eq!(post(&served, "shutdown", "").status, 200);
        wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
        fs::remove_dir_all(&to).expect("removed");
    }
}

#[test]
fn what_the_vmm_refuses_is_told_in_its_words_and_the_guest_runs_on() {
    let served = Served::start();
    let vmm = Vmm::sim("v53");
    let home = served.dir.path().join("a");
    let delay = vmm.loops(std::time::Duration::from_millis(5));
    put(&served, "", &launch(&vmm, &home, &format!("lines=0 delay={delay}")));
    wait_for_output(&home, 500);
    let answer = post(&served, "snapshot", r#"{"url": "file:///nowhere/at/all"}"#);
    assert_eq!(refused(&answer), (502, "vmm_refused".into()));
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("vm.snapshot: HTTP 500: Error from API"), "{message}");
    let size = fs::metadata(log_of(&home)).expect("a log").len() as usize;
    wait_for_output(&home, size + 1000);
}

#[test]
fn whoever_does_not_wait_is_told_at_once_and_finds_the_outcome_among_the_events() {
    let served = Served::start();
    let vmm = Vmm::sim("v53");
    let home = served.dir.path().join("a");
    let begun = put(&served, "?wait=false", &launch(&vmm, &home, "lines=1 echo=1"));
    assert_eq!(begun.status, 202);
    wait_until(PATIENCE, "its launch", || has_happened(&served, "launched"));
    assert_eq!(post(&served, "reboot?wait=false", "").status, 202);
    wait_until(PATIENCE, "an answer", || has_happened(&served, "answered"));
    let events = told(&served);
    let answered = events.iter().find(|told| told["event"] == "answered").expect("it is there");
    assert_eq!((&answered["call"], &answered["error"]), (&json!("vm.reboot"), &Value::Null));
    assert_eq!(post(&served, "shutdown?wait=false", "").status, 202);
    wait_until(PATIENCE, "its end", || has_happened(&served, "closed"));
}

#[test]
fn a_guest_of_ours_may_be_shut_down_without_its_vmm() {
    let served = Served::start();
    let vmm = Vmm::sim("v53");
    let home = served.dir.path().join("a");
    put(&served, "", &launch(&vmm, &home, "lines=1 echo=1"));
    wait_for_output(&home, expected_output(1).len());
    assert_eq!(post(&served, "shutdown?vmm=false", "").status, 200);
    wait_until(PATIENCE, "its end", || has_happened(&served, "shut_down"));
    assert_eq!(post(&served, "shutdown", "").status, 200);
    assert!(has_happened(&served, "closed"));
}

#[test]
fn a_second_request_for_a_vm_that_is_busy_is_refused_and_the_first_goes_on() {
    let served = Served::start();
    let api = Api::of(&served);
    let mut first = served.client();
    first.send(b"POST /v1/vms/a/shutdown HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut vmm, asked) = api.asked();
    assert_eq!(asked, "PUT /api/v1/vm.shutdown HTTP/1.1");
    for what in ["shutdown", "shutdown?vmm=true", "reboot"] {
        assert_eq!(refused(&post(&served, what, "")), (409, "busy".into()));
    }
    assert_eq!(refused(&post(&served, "snapshot", r#"{"url": "x"}"#)), (409, "busy".into()));
    vmm.write_all(b"HTTP/1.1 204 \r\n\r\n").expect("answered");
    assert_eq!(first.answer().expect("an answer").status, 200);
    // What was asked meanwhile is answered after it.
    assert_eq!(first.answer().expect("an answer").body, br#"{"status":"ok"}"#);
    assert_eq!(refused(&post(&served, "snapshot", r#"{"to": "x"}"#)), (400, "bad_request".into()));
}

#[test]
fn a_vmm_that_does_not_answer_in_time_is_told_so_and_can_be_asked_again() {
    let served = Served::start();
    let api = Api::of(&served);
    let asked = thread::spawn(move || {
        let silent = api.asked();
        (api.asked().0.write_all(b"HTTP/1.1 204 \r\n\r\n"), silent)
    });
    let late = post(&served, "reboot?timeout_s=1", "");
    assert_eq!(refused(&late), (504, "vmm_silent".into()));
    assert_eq!(late.json()["error"]["message"], "vm.reboot: no answer in 1 s");
    assert_eq!(post(&served, "reboot", "").status, 200);
    asked.join().expect("asked twice").0.expect("answered");
    for wrong in ["reboot?timeout_s=0", "reboot?timeout_s=86401", "reboot?wait=maybe"] {
        assert_eq!(refused(&post(&served, wrong, "")), (400, "bad_query".into()));
    }
}

#[test]
fn whoever_goes_away_leaves_what_he_began_to_be_done() {
    let served = Served::start();
    let api = Api::of(&served);
    let mut client = served.client();
    client.send(b"POST /v1/vms/a/reboot HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut vmm, _) = api.asked();
    drop(client);
    wait_until(PATIENCE, "his end", || {
        let page = String::from_utf8(served.client().get("/metrics").body).expect("UTF-8");
        page.contains("\nseriald_clients{socket=\"control\"} 1\n")
    });
    vmm.write_all(b"HTTP/1.1 204 \r\n\r\n").expect("answered");
    wait_until(PATIENCE, "an answer", || has_happened(&served, "answered"));
    assert_eq!(served.client().get("/healthz").status, 200);
}

#[test]
fn who_cannot_be_asked_is_told_before_anything_is_done() {
    let served = Served::start();
    served.adopt(&["a"]);
    for what in ["shutdown", "reboot"] {
        assert_eq!(refused(&post(&served, what, "")), (409, "no_api".into()));
    }
    assert_eq!(refused(&post(&served, "restore", "{}")), (400, "bad_vm".into()));
    let vm = served.handle.find("a").expect("it turns").expect("a VM");
    assert!(served.handle.release(vm).expect("it turns"));
    wait_until(PATIENCE, "its end", || served.client().get("/v1/vms/a").status == 404);
    assert_eq!(refused(&post(&served, "reboot", "")), (404, "no_such_vm".into()));
    // An API that was told, and is not there.
    assert_eq!(put(&served, "", &json!({"dir": served.dir.path().join("b")})).status, 201);
    let answer = post(&served, "reboot", "");
    assert_eq!(refused(&answer), (502, "vmm_unreachable".into()));
    assert!(answer.json()["error"]["message"].to_string().contains("b/ch.sock: No such file"));
}

#[test]
fn a_launch_that_fails_is_told_with_the_step_at_which_it_did() {
    let served = Served::start();
    let launch_of = |vmm: Value| {
        let answer = put(&served, "", &impostor(&served, vmm));
        wait_until(PATIENCE, "a free name", || served.client().get("/v1/vms/a").status == 404);
        (refused(&answer), answer.json()["error"]["message"].as_str().expect("words").to_owned())
    };
    let (code, why) = launch_of(json!(["/no/such/vmm"]));
    assert_eq!(code, (502, "launch_failed".into()));
    assert_eq!(
        why,
        "launch failed: start of the VMM: /no/such/vmm: No such file or directory (os error 2)"
    );
    let (code, why) = launch_of(json!(["false"]));
    assert_eq!(code, (502, "launch_failed".into()));
    assert!(why.contains("the VMM has ended (exit code 1)"), "{why}");
    let (code, why) = launch_of(json!(["sh", "-c", "exec sleep 1000"]));
    assert_eq!(code, (504, "launch_failed".into()));
    assert_eq!(why, "launch failed: wait for the VMM's API: not done in time");
}

#[test]
fn what_a_launch_may_not_say_is_refused_with_its_place() {
    let served = Served::start();
    for (body, why) in [
        (
            json!({"dir": "/a", "launch": {}}),
            "body:1:22: launch: \"config\" (the body of vm.create) or \"restore\" (of vm.restore) is missing",
        ),
        (
            json!({"dir": "/a", "launch": {"config": {}, "cpus": 1}}),
            "body:1:35: launch: unknown key \"cpus\", the keys here are: launch_timeout_s, vmm, config, restore",
        ),
        (
            json!({"serial": "/s", "log": "/l", "launch": {"config": {}}}),
            "body:1:1: key \"api\" is missing, and no \"dir\"",
        ),
    ] {
        let answer = put(&served, "", &body);
        assert_eq!(refused(&answer), (400, "bad_vm".into()));
        assert_eq!(answer.json()["error"]["message"], why);
    }
    let waits = json!({"dir": "/a", "on_exit": "wait", "launch": {"config": {}}});
    let why = put(&served, "", &waits).json()["error"]["message"].to_string();
    assert!(why.contains("on_exit: a VM that is launched closes when its VMM exits"), "{why}");
}

#[test]
fn a_launch_that_hangs_is_broken_off_by_a_shutdown() {
    let served = Served::start();
    let mut body = impostor(&served, json!(["sh", "-c", "exec sleep 1000"]));
    body["launch"]["launch_timeout_s"] = Value::Null;
    let mut client = begin(&served, "PUT", "/v1/vms/a", &body);
    wait_until(PATIENCE, "its begin", || served.client().get("/v1/vms/a").status == 200);
    assert_eq!(refused(&post(&served, "reboot", "")), (409, "launching".into()));
    assert_eq!(post(&served, "shutdown", "").status, 200);
    assert_eq!(refused(&client.answer().expect("an answer")), (409, "broken_off".into()));
}

#[test]
fn a_client_that_waits_may_send_no_more_than_a_piece_meanwhile() {
    let served = Served::start();
    let api = Api::of(&served);
    let mut client = served.client();
    client.send(b"POST /v1/vms/a/reboot HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut vmm, _) = api.asked();
    client.stream.set_nonblocking(true).expect("set");
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut sent = 0;
    loop {
        match client.stream.write(request) {
            Ok(n) if n == request.len() => sent += 1,
            Ok(_) => panic!("a request was torn"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 1_000_000, "all of it was taken");
    }
    assert_eq!(served.client().get("/healthz").status, 200);
    vmm.write_all(b"HTTP/1.1 204 \r\n\r\n").expect("answered");
    client.stream.set_nonblocking(false).expect("set");
    for _ in 0..=sent {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
}
