//! `seriald events -f` over the end of a stream.

use crate::api::Api;
use crate::program::Running;
use std::io::Write;
use std::process::Command;

/// A line of an event, by its number.
fn line(number: u32) -> String {
    format!("{{\"id\":\"00000000000000ab-{number}\",\"vm\":\"a\",\"event\":\"connected\"}}\n")
}

#[test]
fn a_stream_that_breaks_off_is_gone_on_with_behind_the_last_whole_line_without_a_word() {
    let api = Api::serve_raw(|mut stream, _, before| {
        let text = match before {
            0 => line(1) + &line(2)[..20],
            // A successor that is not there yet.
            1 => return,
            _ => line(2) + &line(3),
        };
        let head = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = write!(stream, "{head}{:x}\r\n{text}\r\n", text.len());
    });
    let script = format!(
        "{:?} events -f --json --control {} | for _ in 1 2 3; do read -r line; echo \"$line\"; done",
        env!("CARGO_BIN_EXE_seriald"),
        api.path()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let ended = Running::start(command).end();
    assert_eq!(ended.out, [line(1), line(2), line(3)].concat());
    assert_eq!(ended.err, "");
    let asked = api.asked();
    assert_eq!(asked[0], "/v1/events?follow=true");
    let again = "/v1/events?follow=true&after=00000000000000ab-1";
    assert_eq!(asked[1..3], [again, again]);
}
