//! The API socket: HTTP as CH speaks it, statuses and words.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::support::*;

fn raw(vmm: &Vmm, text: &[u8]) -> Answer {
    let mut stream = vmm.api();
    stream.write_all(text).expect("sent");
    read_answer(&mut stream).expect("an answer")
}

#[test]
fn answers_have_no_reason_and_a_204_has_no_length() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let expected = "HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\n\
                        Connection: keep-alive\r\n\r\n";
        assert_eq!(vmm.put_json("vm.create", &json!({})).head, expected);
        let answer = vmm.get("vmm.ping");
        let length = answer.body.len();
        let expected = format!(
            "HTTP/1.1 200 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        assert_eq!(answer.head, expected);
        assert_eq!(answer.json()["pid"], vmm.child.id());
    }
}

#[test]
fn pipelined_calls_are_answered_in_order_on_one_connection() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut stream = vmm.api();
        let config = vmm.config("lines=1 echo=1").to_string();
        let mut calls = request("PUT", "vm.create", Some(&config));
        calls += &request("PUT", "vm.boot", None);
        for _ in 0..50 {
            calls += &request("GET", "vmm.ping", None);
        }
        stream.write_all(calls.as_bytes()).expect("sent");
        for number in 0..52 {
            let expected = if number < 2 { 204 } else { 200 };
            let answer = read_answer(&mut stream).expect("an answer");
            assert_eq!(answer.status(), expected, "{program:?}: {number}");
        }
        assert_eq!(vmm.state(), "Running");
    }
}

#[test]
fn the_eleventh_connection_is_told_503_unasked_and_the_ten_stay_served() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        // Each is served before the next comes, so that none of an earlier life takes a place.
        let mut ten = Vec::new();
        for _ in 0..10 {
            let mut stream = vmm.api();
            let ping = request("GET", "vmm.ping", None);
            stream.write_all(ping.as_bytes()).expect("sent");
            assert_eq!(read_answer(&mut stream).expect("an answer").status(), 200);
            ten.push(stream);
        }
        let mut text = String::new();
        vmm.api().read_to_string(&mut text).expect("EOF");
        let expected = "HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\n\
            Content-Length: 40\r\n\r\n{ \"error\": \"Too many open connections\" }";
        assert_eq!(text, expected);
        for stream in &mut ten {
            stream
                .write_all(request("GET", "vmm.ping", None).as_bytes())
                .expect("sent");
            assert_eq!(read_answer(stream).expect("an answer").status(), 200);
        }
        ten.pop();
        wait_until("a free place", || {
            let mut stream = vmm.api();
            let sent = stream.write_all(request("GET", "vmm.ping", None).as_bytes());
            sent.is_ok() && read_answer(&mut stream).is_ok_and(|answer| answer.status() == 200)
        });
    }
}

#[test]
fn calls_without_a_vm_are_refused_in_words() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let absent = if program == Program::V52 { 500 } else { 404 };
        let cases = [
            (
                "vm.boot",
                absent,
                "The VM could not boot: VM config is missing",
            ),
            (
                "vm.pause",
                500,
                "The VM could not be paused: VM is not running",
            ),
            (
                "vm.resume",
                500,
                "The VM could not resume: VM is not running",
            ),
            (
                "vm.reboot",
                404,
                "The VM could not reboot: VM is not created",
            ),
            (
                "vm.shutdown",
                500,
                "The VM could not shutdown: VM is not running",
            ),
            (
                "vm.power-button",
                500,
                "Error triggering power button: VM is not running",
            ),
        ];
        for (call, status, words) in cases {
            let answer = vmm.put(call);
            assert_eq!(
                answer.words(),
                format!("Error from API: {words}"),
                "{program:?}"
            );
            assert_eq!(answer.status(), status, "{program:?} {call}");
        }
        assert_eq!(vmm.get("vm.info").status(), absent);
        assert_eq!(vmm.put("vm.delete").status(), 204);
    }
}

#[test]
fn wrong_paths_methods_and_bodies_are_refused() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        for path in ["nope", "vmm.ping?x=1"] {
            let answer = vmm.get(path);
            assert_eq!(
                (answer.status(), answer.words().as_str()),
                (404, "Not Found")
            );
        }
        for (method, call) in [
            ("PUT", "vmm.ping"),
            ("PUT", "vm.info"),
            ("GET", "vm.create"),
        ] {
            let answer = vmm.call(method, call, None);
            assert_eq!(
                (answer.status(), answer.words().as_str()),
                (400, "Bad Request")
            );
        }
        assert_eq!(vmm.put_json("vm.boot", &json!({})).words(), "Bad Request");
        let answer = vmm.put("vm.create");
        assert_eq!((answer.status(), answer.body.len()), (400, 0));
        let text = request("PUT", "vm.create", Some("{"));
        let words = raw(&vmm, text.as_bytes()).words();
        let expected = "Failed to deserialize JSON: EOF while parsing an object at line 1 column 1";
        assert_eq!(words, expected);
    }
}

#[test]
fn what_the_http_layer_refuses_is_no_json() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let cases: [(&[u8], &str); 3] = [
            (b"GARBAGE\r\n\r\n", "Invalid request."),
            (
                b"POST /x HTTP/1.1\r\n\r\n",
                "Invalid HTTP Method: Unsupported HTTP method.",
            ),
            (
                b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 51201\r\n\r\n",
                "Request payload with size 51201 is larger than the limit of 51200 allowed by \
                 server.",
            ),
        ];
        for (text, words) in cases {
            let answer = raw(&vmm, text);
            assert_eq!(answer.status(), 400);
            assert!(answer.head.contains("\r\nServer: Firecracker API\r\n"));
            let expected = format!(
                "{{ \"error\": \"{words}\nAll previous unanswered requests will be dropped.\" }}"
            );
            assert_eq!(String::from_utf8_lossy(&answer.body), expected);
        }
    }
}

#[test]
fn lines_that_end_in_a_bare_newline_are_never_answered() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut stream = vmm.api();
        stream
            .write_all(b"GET /api/v1/vmm.ping HTTP/1.1\n\n")
            .expect("sent");
        assert_eq!(
            read_until_quiet(&mut stream, Duration::from_millis(100)),
            b""
        );
    }
}

#[test]
fn http_1_0_is_served_and_connection_close_ignored() {
    for program in Program::all() {
        let vmm = Vmm::start(program);
        let mut stream = vmm.api();
        for _ in 0..2 {
            let ping = b"GET /api/v1/vmm.ping HTTP/1.0\r\nConnection: close\r\n\r\n";
            stream.write_all(ping).expect("sent");
            assert_eq!(read_answer(&mut stream).expect("an answer").status(), 200);
        }
    }
}

#[test]
fn an_idle_api_client_gets_eof_at_exit() {
    for program in Program::all() {
        for signal in ["TERM", "KILL"] {
            let mut vmm = Vmm::start(program);
            let mut idle = vmm.api();
            idle.write_all(request("GET", "vmm.ping", None).as_bytes())
                .expect("sent");
            read_answer(&mut idle).expect("an answer");
            vmm.signal(signal);
            assert_eq!(read_to_end(&mut idle), b"");
            vmm.exit();
        }
    }
}

#[test]
fn impossible_changes_of_state_are_refused_in_words() {
    for program in [Program::V53, Program::V52] {
        let vmm = Vmm::start(program);
        let _serial = vmm.boot("lines=1 echo=1");
        assert!(
            vmm.put("vm.boot")
                .words()
                .ends_with("VM is already created")
        );
        assert!(vmm.put("vm.resume").words().ends_with("(Running, Running)"));
        vmm.done("vm.pause");
        assert!(vmm.put("vm.pause").words().ends_with("(Paused, Paused)"));
        vmm.done("vm.resume");
        assert_eq!(vmm.get("vm.counters").json(), json!({}));
    }
}
