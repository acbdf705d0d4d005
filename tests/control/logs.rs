//! Logs over our own API: read back over rotations, and followed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use seriald::config::LogSpec;
use seriald::{Config, ControlSpec, Seriald};

use super::client::Client;
use super::schema::assert_described;
use super::served::Served;
use super::support::embedded::spec;
use super::support::wait::{PATIENCE, wait_until};
use super::viewer::{Printer, bytes_from};

/// A VM that has printed `text`, which is in its log.
fn printed(
    served: &Served,
    rotated: impl FnOnce(&mut LogSpec),
    text: &[u8],
) -> (Printer, UnixStream) {
    let mut spec = served.spec("a");
    rotated(&mut spec.log);
    let printer = Printer::at(&spec.serial);
    let vm = served.handle.adopt(spec).expect("it turns").expect("adopted");
    let mut console = printer.console();
    console.write_all(text).expect("sent");
    wait_until(PATIENCE, "the output", || {
        let status = served.handle.status(vm).expect("it turns").expect("it is there");
        status.log_counters.written_bytes == text.len() as u64
    });
    (printer, console)
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("line {n} of some\n").into_bytes()).collect()
}

#[test]
fn a_log_is_read_over_its_generations_from_wherever_it_is_asked_for() {
    let served = Served::start();
    let text = lines(20_000);
    let _vm = printed(&served, |log| log.max_bytes = 16_384, &text);
    let mut client = served.client();
    let mut get = |query: &str| {
        let answer = client.get(&format!("/v1/vms/a/log?{query}"));
        assert_described("GET", "/v1/vms/{id}/log", &answer);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    assert!(get("") == text);
    assert_eq!(get("tail=3"), lines(20_000)[text.len() - 3 * 19..].to_vec());
    assert_eq!(get("tail=3").split(|byte| *byte == b'\n').count(), 4);
    assert_eq!(get("tail=0"), b"");
    assert!(get("tail=1000000") == text, "as far as there are any");
    assert!(get("offset=100000") == text[100_000..]);
    assert_eq!(get("offset=999999999999"), b"");
    assert!(get("since=0") == text);
    assert_eq!(get("since=2100-01-01T00:00:00Z"), b"");
    assert!(get("since=2026-01-01T00:00:00Z").ends_with(b"line 19999 of some\n"));
    assert_eq!(get("until=0"), b"");
}

#[test]
fn the_last_lines_begin_behind_a_line_end_however_the_log_ends() {
    for (text, tail, expected) in [
        (&b"a\nb\nc\n"[..], 2, &b"b\nc\n"[..]),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\n\n", 1, b"\n"),
        (b"abc", 5, b"abc"),
        (b"\n", 1, b"\n"),
        (b"", 1, b""),
    ] {
        let served = Served::start();
        let _vm = printed(&served, |log| log.max_bytes = 1 << 20, text);
        let answer = served.client().get(&format!("/v1/vms/a/log?tail={tail}"));
        assert_eq!(answer.body, expected, "{tail} of {:?}", String::from_utf8_lossy(text));
    }
}

fn records(body: &[u8]) -> Vec<Value> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

/// What base64 stands for, by its alphabet.
fn decoded(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let digits: Vec<u32> = digits
        .map(|byte| alphabet.iter().position(|digit| *digit == byte).expect("a digit") as u32)
        .collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

#[test]
fn records_tell_offsets_times_and_what_is_missing() {
    let served = Served::start();
    let text = bytes_from(0, 100_000);
    let _vm = printed(&served, |log| log.max_bytes = 16_384, &text);
    let backup = served.spec("a").log.path.with_extension("log.2");
    std::fs::remove_file(backup).expect("removed");
    let answer = served.client().get("/v1/vms/a/log?format=records");
    assert_described("GET", "/v1/vms/{id}/log", &answer);
    assert_eq!(answer.header("Content-Type"), Some("application/jsonl"));
    let (mut next, mut missing) = (0, 0);
    for record in records(&answer.body) {
        assert_eq!(record["offset"], next);
        if let Some(bytes) = record["missing"].as_u64() {
            assert_eq!(record["why"], "removed");
            missing += bytes;
            next += bytes;
            continue;
        }
        let bytes = decoded(record["bytes"].as_str().expect("bytes"));
        assert_eq!(bytes, text[next as usize..][..bytes.len()]);
        assert!(record["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{record}");
        next += bytes.len() as u64;
    }
    assert_eq!(next, text.len() as u64);
    assert!((12_000..=16_384).contains(&missing), "{missing}");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let served = Served::start();
    served.adopt(&["a"]);
    let mut client = served.client();
    for (query, why) in [
        ("tail=1&offset=2", "of tail, offset and since one says where to begin"),
        ("follow&until=1", "until is an end, and follow has none"),
        ("tail=x", "tail: \"x\" is not a whole number"),
        ("format=json", "format: \"json\" is not raw or records"),
        (
            "lines=1",
            "unknown key \"lines\", the keys here are: tail, offset, since, until, follow, format",
        ),
    ] {
        let answer = client.get(&format!("/v1/vms/a/log?{query}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"), "{query}");
        assert_eq!(answer.json()["error"]["message"], why);
    }
    assert_eq!(client.get("/v1/vms/b/log").code(), "no_such_vm");
}

/// The next chunk of an answer whose head was taken.
fn chunk(client: &mut Client) -> Option<Vec<u8>> {
    let size = client.take_to(b"\r\n")?;
    let size = String::from_utf8(size).expect("digits");
    let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
    let mut chunk = client.take(size + 2);
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

#[test]
fn a_follower_gets_every_byte_once_over_rotations_until_the_vm_is_released() {
    const ALL: u64 = 2 << 20;
    let served = Served::start();
    let mut spec = served.spec("a");
    spec.log.max_bytes = 64 * 1024;
    let mut printer = Printer::at(&spec.serial);
    served.handle.adopt(spec).expect("it turns").expect("adopted");
    let got = Arc::new(AtomicU64::new(0));
    let of_printer = got.clone();
    // Now it follows at once, now it has to read back from files.
    printer.print(vec![1, 70, 5000, 9], move |at| {
        at < ALL && at < of_printer.load(Ordering::Relaxed) + 600_000
    });
    let mut client = served.client();
    client.send(b"GET /v1/vms/a/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.take_to(b"\r\n\r\n").expect("a head").starts_with(b"HTTP/1.1 200 "));
    let mut at = 0;
    while at < ALL {
        let bytes = chunk(&mut client).expect("a chunk");
        assert_eq!(bytes, bytes_from(at, bytes.len()), "at {at}");
        at += bytes.len() as u64;
        got.store(at, Ordering::Relaxed);
    }
    assert_eq!(served.client().ask("DELETE", "/v1/vms/a", "").status, 202);
    let printed = printer.stop();
    while let Some(bytes) = chunk(&mut client) {
        assert_eq!(bytes, bytes_from(at, bytes.len()));
        at += bytes.len() as u64;
    }
    assert_eq!(at, printed);
    // The answer has its end, and the connection goes on.
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn who_comes_in_the_very_turn_in_which_a_vm_goes_is_told_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let control = ControlSpec::new(dir.path().join("control.sock"));
    let path = control.path.clone();
    let mut reactor = Seriald::bind(Config::default()).expect("a loop");
    reactor.serve_control(control).expect("served");
    let turn = |reactor: &mut Seriald| {
        reactor.turn(Some(Duration::from_millis(1))).expect("a turn");
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: seriald-raw\r\n";
    for (nth, (what, head)) in
        [("log?follow", ""), ("console?mode=spy", upgrade)].iter().enumerate()
    {
        let vm = reactor.adopt(spec("a", dir.path(), 1 << 20)).expect("adopted");
        let mut client = UnixStream::connect(&path).expect("connected");
        wait_until(PATIENCE, "the client", || {
            turn(&mut reactor);
            reactor.stats().clients.accepted > nth as u64
        });
        let request = format!("GET /v1/vms/a/{what} HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        client.write_all(request.as_bytes()).expect("sent");
        // A step of a client a turn: this one reads the request, the next answers it.
        turn(&mut reactor);
        assert!(reactor.release(vm));
        client.set_nonblocking(true).expect("set");
        let mut answer = Vec::new();
        wait_until(PATIENCE, what, || {
            turn(&mut reactor);
            let ended = client.read_to_end(&mut answer).is_ok();
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains(" 404 "), "it came too late: {text}");
            ended || text.ends_with("\r\n0\r\n\r\n")
        });
    }
}

#[test]
fn a_viewer_sees_what_lies_behind_a_gap_also_while_nothing_is_printed() {
    let served = Served::start();
    let (_printer, _console) =
        printed(&served, |log| (log.max_bytes, log.keep) = (4096, 1), &lines(4000));
    let mut client = served.client();
    let upgrade = "Connection: Upgrade\r\nUpgrade: seriald-raw\r\n";
    let path = "/v1/vms/a/console?mode=spy&offset=0";
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n").as_bytes());
    assert_eq!(client.head().status, 101);
    assert!(client.take_to(b"line 3999 of some\n").is_some());
}
