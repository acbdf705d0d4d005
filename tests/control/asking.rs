//! What is asked for, and what is answered.

use std::collections::BTreeSet;

use serde_json::json;
use seriald::control::routes::ROUTES;

use super::schema::assert_described;
use super::served::Served;
use super::support::wait::{PATIENCE, wait_until};

#[test]
fn every_route_answers_as_it_is_described() {
    let served = Served::start();
    let mut client = served.client();
    let mut tried = 0;
    for route in ROUTES {
        let method = route.method.name();
        for id in ["here", "absent"] {
            if served.handle.find("here").expect("it turns").is_none() {
                served.adopt(&["here"]);
            }
            let answer = client.ask(method, &route.path.replace("{id}", id), "");
            // These two are there to bring a VM that is not there.
            let brings = method == "PUT" || route.path.ends_with("/restore");
            let missing = id == "absent" && route.path.contains("{id}") && !brings;
            assert_eq!(answer.status == 404, missing, "{method} {}: {answer:?}", route.path);
            assert_described(method, route.path, &answer);
            tried += 1;
        }
        let with_query = format!("{}?a=b", route.path.replace("{id}", "here"));
        assert_described(method, route.path, &client.ask(method, &with_query, ""));
        // What was released is gone before it is taken charge of anew.
        wait_until(PATIENCE, "its end", || {
            let vm = served.handle.find("here").expect("it turns");
            let status = vm.and_then(|vm| served.handle.status(vm).expect("it turns"));
            status.is_none_or(|status| status.state != "leaving")
        });
    }
    assert_eq!(tried, 2 * ROUTES.len());
}

#[test]
fn a_vm_is_told_as_it_stands() {
    let served = Served::start();
    served.adopt(&["a"]);
    let told = served.client().get("/v1/vms/a");
    assert_eq!(told.status, 200);
    let vm = served.handle.find("a").expect("it turns").expect("a");
    let status = served.handle.status(vm).expect("it turns").expect("it is there");
    assert_eq!(told.json(), serde_json::to_value(&status).expect("JSON"));
    assert_eq!(told.json()["state"], "dialing");
}

#[test]
fn all_vms_come_in_pieces_each_of_them_once() {
    let served = Served::start();
    let ids: Vec<String> = (0..100).map(|n| format!("vm-{n}")).collect();
    served.adopt(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = served.client();
    let answer = client.get("/v1/vms");
    assert_described("GET", "/v1/vms", &answer);
    assert!(answer.chunks.is_some_and(|chunks| chunks >= 4), "{:?}", answer.chunks);
    let told = answer.json();
    let told = told["vms"].as_array().expect("a list").iter();
    let told: Vec<&str> = told.map(|vm| vm["id"].as_str().expect("an id")).collect();
    assert_eq!(told.len(), ids.len());
    assert_eq!(BTreeSet::from_iter(told), ids.iter().map(String::as_str).collect());
    // The connection goes on behind the end of the list.
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn no_vm_is_an_empty_list() {
    let served = Served::start();
    assert_eq!(served.client().get("/v1/vms").body, br#"{"vms":[]}"#);
}

#[test]
fn a_released_vm_goes_and_a_rotated_one_has_a_backup() {
    let served = Served::start();
    served.adopt(&["a"]);
    let log = served.spec("a").log.path;
    std::fs::write(&log, b"what was printed\n").expect("written");
    let mut client = served.client();
    assert_eq!(client.ask("POST", "/v1/vms/a/rotate", "").status, 202);
    let backup = log.with_extension("log.1");
    wait_until(PATIENCE, "a backup", || backup.exists());
    assert_eq!(std::fs::read(&backup).expect("the backup"), b"what was printed\n");
    assert_eq!(client.ask("DELETE", "/v1/vms/a", "").status, 202);
    wait_until(PATIENCE, "its end", || client.get("/v1/vms/a").status == 404);
    assert_eq!(client.ask("DELETE", "/v1/vms/a", "").code(), "no_such_vm");
}

#[test]
fn what_is_asked_for_wrongly_is_answered_by_a_fitting_error() {
    let served = Served::start();
    let mut client = served.client();
    for (method, path, status, code) in [
        ("GET", "/", 404, "no_such_path"),
        ("GET", "/v1/vms/", 404, "no_such_path"),
        ("GET", "/v1/vms/a/b", 404, "no_such_path"),
        ("GET", "/v1/vms/%61", 404, "no_such_vm"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
        ("GET", "/healthz?x", 400, "bad_query"),
    ] {
        let answer = client.ask(method, path, "");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
    }
    assert_eq!(client.ask("PUT", "/healthz", "").header("Allow"), Some("GET"));
}

#[test]
fn a_connection_serves_many_requests_and_ends_where_it_was_asked_to() {
    let served = Served::start();
    let mut client = served.client();
    // Pipelined: all are sent before one is answered.
    client.send(&b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500));
    client.send(b"GET /v1/vms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    for _ in 0..500 {
        assert_eq!(client.answer().expect("an answer").body, br#"{"status":"ok"}"#);
    }
    let last = client.answer().expect("an answer");
    assert_eq!((last.header("Connection"), last.chunks), (Some("close"), Some(1)));
    assert!(client.is_at_end());
}

#[test]
fn whoever_waits_to_be_told_to_send_a_body_is_told_so() {
    let served = Served::start();
    let mut client = served.client();
    let head = "POST /v1/vms/a/rotate HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n";
    client.send(format!("{head}Content-Length: 3\r\n\r\n").as_bytes());
    assert_eq!(client.answer().expect("told so").status, 100);
    client.send(b"abc");
    assert_eq!(client.answer().expect("an answer").code(), "no_such_vm");
}

#[test]
fn a_vm_that_is_put_is_taken_charge_of_once_and_then_changed() {
    let served = Served::start();
    let spec = served.spec("a");
    let (serial, log) = (spec.serial.clone(), spec.log.path.clone());
    let body = |max_bytes: u64| {
        json!({"serial": serial, "log": {"path": log, "max_bytes": max_bytes}}).to_string()
    };
    let mut client = served.client();
    let mut put = |id: &str, body: &str| {
        let answer = client.ask("PUT", &format!("/v1/vms/{id}"), body);
        assert_described("PUT", "/v1/vms/{id}", &answer);
        let told = answer.json();
        let told = told["error"]["code"].as_str().or(told["id"].as_str()).map(str::to_owned);
        (answer.status, told.expect("a code or an id"))
    };
    let told = |status: u16, word: &str| (status, word.to_owned());
    assert_eq!(put("a", &body(4096)), told(201, "a"));
    assert_eq!(put("a", &body(4096)), told(200, "a"));
    assert_eq!(put("a", &body(8192)), told(200, "a"), "other limits");
    assert_eq!(put("b", &body(8192)), told(409, "taken"));
    let moved = json!({"serial": "/elsewhere", "log": log}).to_string();
    assert_eq!(put("a", &moved), told(409, "moved"));
    for wrong in ["", "{", "[]", "{}", "{\"serial\": 1}", "{\"id\": \"c\"}", &body(1), "\u{e9}"] {
        assert_eq!(put("c", wrong), told(400, "bad_vm"), "{wrong}");
    }
    assert_eq!(put("%", &body(4096)), told(400, "bad_vm"));
    let nowhere = json!({"serial": "/s", "log": "/dev/null/a.log"}).to_string();
    assert_eq!(put("c", &nowhere), told(500, "log_failed"));
    assert!(served.handle.find("c").expect("it turns").is_none());
    let place = client.ask("PUT", "/v1/vms/c", "{\"serial\": \"s\",\n \"logs\": 1}").json();
    let why = "body:2:2: unknown key \"logs\", did you mean \"log\"?";
    assert_eq!(place["error"]["message"], why);
}
