//! `seriald attach` where there is no terminal: what goes through, and how it ends.

use crate::api::Api;
use crate::program::{Ended, Running, ended, seriald};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// A frame.
fn frame(kind: char, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[kind as u8], &length[1..], payload].concat()
}

fn attached(offset: u64, writes: bool) -> Vec<u8> {
    let notice = json!({"notice": "attached", "offset": offset, "writes": writes});
    frame('n', notice.to_string().as_bytes())
}

fn gone() -> Vec<u8> {
    frame('n', br#"{"notice":"console_gone"}"#)
}

/// Changes the connection and sends this.
fn upgrade(stream: &mut UnixStream, pieces: &[&[u8]]) {
    let head = b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: seriald-frames\r\n\r\n";
    stream.write_all(&[&head[..], &pieces.concat()].concat()).expect("sent");
}

/// Attaches with this for input.
fn attach(api: &Api, args: &[&str], input: &[u8]) -> Ended {
    let mut command = seriald(&["attach", "web-1", "--control", api.path()]);
    command.args(args);
    let mut attached = Running::with_input(command, Stdio::piped());
    attached.type_in(input);
    attached.end()
}

#[test]
fn input_goes_to_the_guest_and_its_bytes_come_out_as_they_are() {
    let api = Api::serve_raw(|mut stream, _, _| {
        upgrade(&mut stream, &[&attached(0, true), &frame('o', b"\x1b]0;t\x07login: ")]);
        let expected = frame('i', b"~.\nroot\n");
        let mut input = vec![0; expected.len()];
        stream.read_exact(&mut input).expect("input");
        assert_eq!(input, expected);
        stream.write_all(&[frame('o', b"root\r\n"), gone()].concat()).expect("sent");
    });
    let ended = attach(&api, &[], b"~.\nroot\n");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "\x1b]0;t\x07login: root\r\n"));
    assert!(ended.err.contains("seriald: attached to web-1\n"), "{}", ended.err);
    assert!(ended.err.contains("nobody is in charge of this console any more"), "{}", ended.err);
    assert_eq!(api.asked(), ["/v1/vms/web-1/console?mode=attach&history=4096"]);
}

#[test]
fn a_refusal_is_told_in_the_words_of_seriald() {
    let api = Api::serve(|_, _| {
        (409, json!({"error": {"code": "x", "message": "user 7 (process 8) types there"}}))
    });
    attach(&api, &[], b"").is(1, "seriald: user 7 (process 8) types there");
    attach(&api, &["--spy", "--history", "9"], b"");
    attach(&api, &["--force"], b"");
    let modes: Vec<String> = api.asked().iter().map(|path| path[21..].to_owned()).collect();
    assert_eq!(
        modes,
        ["?mode=attach&history=4096", "?mode=spy&history=9", "?mode=force&history=4096"]
    );
    let older = Api::serve(|_, _| (200, json!({})));
    attach(&older, &[], b"").has(1, "it gives no console");
}

#[test]
fn where_it_was_cut_off_it_is_attached_anew_at_the_next_byte() {
    let api = Api::serve_raw(|mut stream, _, before| match before {
        0 => upgrade(&mut stream, &[&attached(100, true), &frame('o', b"one ")]),
        // Not back yet.
        1 => {}
        _ => {
            upgrade(&mut stream, &[&attached(104, true), &frame('o', b"two"), &gone()]);
        }
    });
    let ended = attach(&api, &["--force"], b"");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "one two"));
    assert!(ended.err.contains("attaching anew") && ended.err.contains("web-1 again"), "{ended:?}");
    // Nobody is sent away for it a second time.
    let path = "/v1/vms/web-1/console";
    let [first, again] = ["?mode=force&history=4096", "?mode=attach&offset=104"];
    let asked = [path.to_owned() + first, path.to_owned() + again, path.to_owned() + again];
    assert_eq!(api.asked(), asked);
}

#[test]
fn what_is_no_console_ends_it() {
    let api = Api::serve_raw(|mut stream, _, _| {
        upgrade(&mut stream, &[&attached(0, true), b"n\xff\xff\xff"]);
    });
    attach(&api, &[], b"").has(1, "seriald: no console of seriald's: a frame of 16777215 bytes");
}

#[test]
fn after_the_end_of_its_input_it_lingers_as_long_as_it_is_told() {
    let api = Api::serve_raw(|mut stream, _, _| {
        upgrade(&mut stream, &[&attached(0, true), &frame('o', b"x")]);
        // Until the client has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let ended = attach(&api, &["--linger", "0"], b"");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "x"));
    let script = format!(
        "{:?} attach web-1 --control {:?} </dev/null 2>/dev/null | head -c 1",
        env!("CARGO_BIN_EXE_seriald"),
        api.path()
    );
    let mut piped = Command::new("sh");
    piped.args(["-c", &script]);
    assert_eq!(Running::start(piped).end().out, "x", "it ends with whoever reads it");
}

#[test]
fn what_makes_no_sense_is_told() {
    ended(&["attach"]).has(2, "<ID>");
    ended(&["attach", "a/b"]).has(2, "is no VM's name");
    ended(&["attach", "a", "--spy", "--force"]).has(2, "cannot be used with");
    ended(&["attach", "a", "--escape", "ab"]).has(2, "is neither one key, as ~ or ^], nor none");
    ended(&["attach", "a", "--raw"]).has(2, "--spy");
}
