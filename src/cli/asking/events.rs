//! `seriald events`: what happens to VMs.
//!
//! Owns the columns.
//! **Invariant:** a line is shown as soon as it comes; one that was missed is told, never skipped
//! in silence.

use super::exchange::{Exchange, Question};
use super::{Socket, printable};
use crate::cli::asking::each::check_ids;
use crate::cli::{Failure, complain};
use serde_json::{Map, Value};
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// Show what has happened to the VMs that a running seriald has in charge.
///
/// One line a change: its time, the VM, what happened, and more of it. The last megabyte of changes
/// is there to be shown; with -f also what comes. --json gives each as it is, with the id by which
/// --after goes on behind it. Where changes are missing, a line "missed" says how many.
///
/// Examples:
///   seriald events --vm web-1
///   seriald events -f --after now
///   seriald events -f --json | jq --unbuffered 'select(.event == "closed")'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// Only what came behind this one, by its id; "now": only what comes.
    #[arg(long, value_name = "EVENT")]
    after: Option<String>,
    /// Only of this VM.
    #[arg(long, value_name = "ID")]
    vm: Option<String>,
    /// For programs: a JSON text a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// How often a seriald that has ended the stream is asked again, as after an upgrade.
const AGAIN_INTERVAL: Duration = Duration::from_millis(100);
/// How often in all: half a minute.
const AGAIN_TRIES: u32 = 300;
/// So often it is nobody's concern: an upgrade takes no longer.
const AGAIN_TRIES_QUIET: u32 = 30;

/// Runs the subcommand.
pub fn events(args: &Args) -> Result<(), Failure> {
    check_ids(args.vm.as_slice())?;
    let mut shown = Shown { json: args.json, after: args.after.clone(), rest: Vec::new() };
    let mut exchange = begin(args, &shown)?;
    loop {
        let ended = match exchange.next_piece() {
            Ok(Some(piece)) => {
                if !shown.take(&piece)? {
                    return Ok(());
                }
                continue;
            }
            Ok(None) if !args.follow => return Ok(()),
            Err(why) if !args.follow => return Err(why),
            ended => ended,
        };
        shown.rest.clear();
        let why = ended.err().map_or_else(|| "it has ended".to_owned(), |why| why.to_string());
        exchange = begin_again(args, &shown, &why)?;
    }
}

fn begin(args: &Args, shown: &Shown) -> Result<Exchange, Failure> {
    let mut path = format!("/v1/events?follow={}", args.follow);
    if let Some(after) = &shown.after {
        path += &format!("&after={}", encoded(after));
    }
    if let Some(vm) = &args.vm {
        path += &format!("&vm={vm}");
    }
    args.socket.open(&Question::of("GET", &path))
}

/// A successor needs a moment to begin. What is missed meanwhile, if anything is, it tells.
fn begin_again(args: &Args, shown: &Shown, ended: &str) -> Result<Exchange, Failure> {
    for tried in 0..AGAIN_TRIES {
        if let Ok(begun) = begin(args, shown) {
            return Ok(begun);
        }
        if tried == AGAIN_TRIES_QUIET {
            complain(format_args!("{ended}; asking again"));
        }
        std::thread::sleep(AGAIN_INTERVAL);
    }
    begin(args, shown)
}

/// What is no letter or digit is sent as `%2f`.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let encode = |byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

/// What was shown already.
struct Shown {
    json: bool,
    /// The last id.
    after: Option<String>,
    /// The beginning of a line whose end is yet to come.
    rest: Vec<u8>,
}

impl Shown {
    /// Shows the lines that a piece completes. `false`: nobody reads them any more.
    fn take(&mut self, piece: &[u8]) -> Result<bool, Failure> {
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(true) };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        let mut out = std::io::stdout().lock();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Map<String, Value> = serde_json::from_slice(line)
                .map_err(|error| Failure::Failed(format!("no event of seriald's: {error}")))?;
            let text = match self.json {
                true => String::from_utf8_lossy(line).into_owned(),
                false => row(&event),
            };
            if let Some(id) = event.get("id").and_then(Value::as_str) {
                self.after = Some(id.to_owned());
            }
            match writeln!(out, "{text}").and_then(|()| out.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => return Err(Failure::failed(error)),
            }
        }
        Ok(true)
    }
}

/// A line for people.
fn row(event: &Map<String, Value>) -> String {
    let cell = |value: &Value| match value {
        Value::String(text) => printable(text),
        value => value.to_string(),
    };
    let of = |key: &str| event.get(key).map_or_else(|| "-".to_owned(), cell);
    let mut line = format!("{}  {}  {}", of("time"), of("vm"), of("event"));
    for (key, value) in event {
        if !matches!(key.as_str(), "id" | "time" | "vm" | "event" | "offset") && !value.is_null() {
            line += &format!("  {key}={}", cell(value));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_happened_and_nothing_that_changes_a_terminal() {
        let event = serde_json::json!({
            "id": "0-1", "time": "T", "vm": "a", "offset": 7, "event": "answered",
            "call": "vm.reboot", "error": "\u{1b}[2J",
        });
        let row = row(event.as_object().expect("an object"));
        assert_eq!(row, "T  a  answered  call=vm.reboot  error=\\u{1b}[2J");
        let missed =
            serde_json::json!({"id": "0-1", "time": "T", "event": "missed", "events": null});
        assert_eq!(super::row(missed.as_object().expect("an object")), "T  -  missed");
        assert_eq!(encoded("0a-1&b=\u{e9}"), "0a-1%26b%3d%c3%a9");
    }
}
