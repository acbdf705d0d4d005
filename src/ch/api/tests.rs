//! What calls and their answers promise.

use super::*;
use crate::fuzz;
use proptest::prelude::*;

fn answer(status: u16, body: &[u8]) -> Response {
    Response { status, body: body.to_vec(), close: false }
}

fn words(call: Call, status: u16, body: &[u8]) -> String {
    interpret(&call, answer(status, body)).unwrap_err().to_string()
}

#[test]
fn every_call_asks_by_its_own_path_and_only_three_carry_a_body() {
    let body = || "{}".to_owned();
    let calls = [
        (Call::Ping, "vmm.ping"),
        (Call::Info, "vm.info"),
        (Call::Create(body()), "vm.create"),
        (Call::Boot, "vm.boot"),
        (Call::Pause, "vm.pause"),
        (Call::Resume, "vm.resume"),
        (Call::Shutdown, "vm.shutdown"),
        (Call::Reboot, "vm.reboot"),
        (Call::Delete, "vm.delete"),
        (Call::Snapshot(body()), "vm.snapshot"),
        (Call::Restore(body()), "vm.restore"),
        (Call::VmmShutdown, "vmm.shutdown"),
    ];
    for (call, name) in calls {
        let request = call.request();
        let asks = matches!(call, Call::Ping | Call::Info);
        let carries = matches!(call, Call::Create(_) | Call::Snapshot(_) | Call::Restore(_));
        assert_eq!(call.name(), name);
        assert_eq!(request.path, format!("/api/v1/{name}"));
        assert_eq!(request.method, if asks { Method::Get } else { Method::Put });
        assert_eq!(request.body, carries.then(|| b"{}".to_vec()));
        assert_eq!(call.deadline(), asks.then_some(Duration::from_secs(10)));
    }
}

#[test]
fn snapshot_and_restore_name_their_url() {
    let url = "file:///a\"b";
    assert_eq!(
        Call::snapshot_to(url).request().body.unwrap(),
        br#"{"destination_url":"file:///a\"b"}"#
    );
    assert_eq!(
        Call::restore_from(url).request().body.unwrap(),
        br#"{"source_url":"file:///a\"b"}"#
    );
}

#[test]
fn an_array_of_errors_is_joined_outermost_first() {
    assert_eq!(
        words(
            Call::Create("{}".into()),
            500,
            br#"["The VM could not be created","Error creating console device",
                "Address already in use (os error 98)"]"#
        ),
        "vm.create: HTTP 500: The VM could not be created: Error creating console device: \
         Address already in use (os error 98)"
    );
}

#[test]
fn a_body_that_is_no_json_is_shown_cleaned() {
    for (body, expected) in [
        (&b"{ \"error\": \"Bad.\nAll requests dropped.\" }"[..], "Bad. All requests dropped."),
        (b"{ \"error\": \"Too many open connections\" }", "Too many open connections"),
        (b"", "(no words)"),
        (b" \r\n", "(no words)"),
        (b"[]", "[]"),
        (b"[1]", "[1]"),
        (b"\x1b[31mred\xff\0", "\u{fffd}[31mred\u{fffd}\u{fffd}"),
        (b"[\"a\\u001b[2J\\nb\\u202e\"]", "a\u{fffd}[2J b\u{fffd}"),
    ] {
        assert_eq!(words(Call::Boot, 400, body), format!("vm.boot: HTTP 400: {expected}"));
    }
}

#[test]
fn words_may_have_their_limit_and_not_one_byte_more() {
    let of = |words: &str| interpret(&Call::Boot, answer(500, words.as_bytes())).unwrap_err().words;
    let at = "x".repeat(WORDS_BYTES_MAX);
    assert_eq!(of(&at), at);
    let over = of(&"\u{20ac}".repeat(WORDS_BYTES_MAX));
    assert!(over.len() <= WORDS_BYTES_MAX && over.ends_with("\u{20ac} ..."), "{over}");
}

#[test]
fn every_success_of_an_operation_is_done() {
    assert_eq!(interpret(&Call::Boot, answer(204, b"")), Ok(Reply::Done));
    assert_eq!(interpret(&Call::VmmShutdown, answer(200, b"")), Ok(Reply::Done));
}

#[test]
fn a_ping_names_the_vmm() {
    let body =
        br#"{"build_version":"v53.0","version":"53.0.0","pid":7,"features":["kvm"],"new":1}"#;
    let expected = Ping {
        build_version: "v53.0".into(),
        version: "53.0.0".into(),
        pid: Some(7),
        features: vec!["kvm".into()],
    };
    assert_eq!(interpret(&Call::Ping, answer(200, body)), Ok(Reply::Ping(expected)));
    let Ok(Reply::Ping(old)) = interpret(&Call::Ping, answer(200, br#"{"version":"1"}"#)) else {
        panic!("an old CH says less");
    };
    assert_eq!((old.version.as_str(), old.pid), ("1", None));
}

#[test]
fn an_info_has_state_serial_section_and_the_raw_configuration() {
    let info = |body: &str| match interpret(&Call::Info, answer(200, body.as_bytes())) {
        Ok(Reply::Info(info)) => info,
        other => panic!("{other:?}"),
    };
    let config = r#"{"serial": {"mode":"Socket", "file":null,"socket":"/s"}, "x":1e2}"#;
    for (state, expected) in [
        ("Created", VmState::Created),
        ("Running", VmState::Running),
        ("Paused", VmState::Paused),
        ("BreakPoint", VmState::Other("BreakPoint".into())),
    ] {
        let info = info(&format!(r#"{{"config": {config},"state":"{state}","new":[]}}"#));
        assert_eq!(info.state, expected);
        assert_eq!(info.config, config);
        assert_eq!(info.serial.unwrap().socket.as_deref(), Some("/s"));
    }
    assert_eq!(info(r#"{"config":{},"state":"Created"}"#).serial, None);
}

#[test]
fn an_answer_that_cannot_be_read_is_an_error_with_its_status() {
    assert_eq!(
        words(Call::Ping, 200, b"{}"),
        "vmm.ping: HTTP 200: the answer can't be read: missing field `version` at line 1 column 2"
    );
    assert!(
        words(Call::Info, 200, b"[").starts_with("vm.info: HTTP 200: the answer can't be read")
    );
    assert_eq!(
        words(Call::Info, 200, br#"{"state":"Created","config":{"serial":1}}"#),
        "vm.info: HTTP 200: the answer can't be read: config: line 1, column 11: serial: \
         should be an object, is a number"
    );
    assert_eq!(
        words(Call::Info, 404, br#"["The VM info is not available"]"#),
        "vm.info: HTTP 404: The VM info is not available"
    );
}

/// Bodies as CH sends them.
fn bodies() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 6] = [
        br#"{"build_version":"v53.0","version":"53.0.0","pid":7,"features":["kvm"],"new":1}"#,
        br#"{"config":{"serial": {"mode":"Socket", "file":null,"socket":"/s"}, "x":1e2},
            "state":"Created"}"#,
        br#"["Error from API","The VM could not be created","Address in use (os error 98)"]"#,
        b"{ \"error\": \"Bad.\nAll requests dropped.\" }",
        br#"{"state":"Break\u202ePoint","config":{},"memory":[[],{"":[]}]}"#,
        b"",
    ];
    bodies.map(<[u8]>::to_vec).into()
}

/// Fit for a terminal and a log line.
fn is_clean(words: &str) -> bool {
    !words.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

#[test]
fn a_body_may_be_nested_as_deep_as_it_is_long() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    for body in
        [deep.clone(), format!("{{\"error\":{deep}}}"), format!("{{\"x\":{deep},\"error\":\"e\"}}")]
    {
        for call in [Call::Ping, Call::Info, Call::Boot] {
            let error = interpret(&call, answer(500, body.as_bytes())).unwrap_err();
            assert!(error.words.len() <= WORDS_BYTES_MAX);
            let _ = interpret(&call, answer(200, body.as_bytes()));
        }
    }
    let body = format!("{{\"state\":\"Created\",\"config\":{{\"x\":{deep}}}}}");
    let Ok(Reply::Info(info)) = interpret(&Call::Info, answer(200, body.as_bytes())) else {
        panic!()
    };
    assert_eq!(info.config.len(), deep.len() + 6);
}

proptest! {
    #[test]
    fn whatever_the_body_an_error_is_one_clean_bounded_line(
        body in fuzz::damaged(bodies()),
        wrapped in any::<bool>(),
        long in 1..200usize,
    ) {
        let body = if wrapped {
            serde_json::to_vec(&[String::from_utf8_lossy(&body).repeat(long)]).unwrap()
        } else {
            body
        };
        for (call, status) in [(Call::Info, 500), (Call::Info, 200), (Call::Ping, 200)] {
            match interpret(&call, answer(status, &body)) {
                Err(error) => {
                    prop_assert!(!error.words.is_empty() && error.words.len() <= WORDS_BYTES_MAX);
                    prop_assert!(is_clean(&error.words), "{:?}", error.words);
                }
                Ok(Reply::Info(Info { state: VmState::Other(name), .. })) => {
                    prop_assert!(is_clean(&name) && name.len() <= WORDS_BYTES_MAX);
                }
                Ok(_) => prop_assert_eq!(status, 200),
            }
        }
    }
}
