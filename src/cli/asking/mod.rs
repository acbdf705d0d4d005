//! What is asked of a running seriald, by its own API.
//!
//! Owns the way to it: where its socket is looked for, and what is said when nobody is there.
//! **Invariant:** one request a connection; what it answers is printed escaped, whatever a path
//! has in it.

pub mod adopt;
mod answer;
pub mod each;
pub mod ls;

use crate::cli::Failure;
use answer::{ANSWER_BYTES_MAX, Answer};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the socket is looked for, unless told otherwise.
const DEFAULT: &str = "/run/seriald/control.sock";
/// The variable that tells otherwise.
const VARIABLE: &str = "SERIALD_CONTROL";

/// How long an answer may take to go on: longer than a loop can be held up by a disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which seriald is asked.
#[derive(clap::Args)]
pub struct Socket {
    /// The running seriald's control socket.
    ///
    /// Without it $SERIALD_CONTROL says where, or else it is /run/seriald/control.sock.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Socket {
    fn path(&self) -> PathBuf {
        let told = std::env::var_os(VARIABLE).filter(|told| !told.is_empty()).map(PathBuf::from);
        self.control.clone().or(told).unwrap_or_else(|| DEFAULT.into())
    }

    /// Asks, and takes the answer if it is no error.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
        let socket = self.path();
        let place = socket.display();
        let bytes = exchange(&socket, method, path, body)?;
        let answer = Answer::parse(&bytes)
            .map_err(|why| Failure::Failed(format!("{place}: no answer of seriald's: {why}")))?;
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, json) {
            (200..300, Some(json)) => Ok(json),
            (status, json) => {
                let message = json.as_ref().and_then(|json| json["error"]["message"].as_str());
                let status = format!("status {status}");
                Err(Failure::Failed(printable(message.unwrap_or(&status))))
            }
        }
    }
}

/// The text without what would change a terminal: a path may have anything in it.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, c| {
        match c {
            '"' | '\'' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
        shown
    })
}

/// One request, and all that is answered.
fn exchange(socket: &Path, method: &str, path: &str, body: &str) -> Result<Vec<u8>, Failure> {
    let place = socket.display();
    let mut stream = UnixStream::connect(socket).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "nothing is there",
            ErrorKind::ConnectionRefused => "nobody listens there any more",
            ErrorKind::PermissionDenied => "its socket is not for this user",
            _ => return Failure::Failed(format!("{place}: {error}")),
        };
        let way_out = "name the running one's socket by --control, as its configuration does by \
                       \"control\"";
        Failure::Failed(format!("no seriald can be asked at {place}: {why}; {way_out}"))
    })?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.set_read_timeout(Some(PATIENCE)).map_err(Failure::failed)?;
    // Who is sent away at once is told why, which is to be read all the same.
    let sent = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    match (sent, stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)) {
        (_, Ok(n)) if n > 0 => Ok(bytes),
        (_, Err(_)) if !bytes.is_empty() => Ok(bytes),
        (Err(error), _) | (_, Err(error)) => Err(Failure::Failed(format!("{place}: {error}"))),
        _ => Err(Failure::Failed(format!("{place}: it ended without an answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_changes_a_terminal_is_shown_as_it_is() {
        assert_eq!(printable("VM \"é\" at /a b'c"), "VM \"é\" at /a b'c");
        let hostile = "\x1b]0;x\x07\r\n\u{9b}2J\u{202e}\u{2066}\u{200f}\0";
        let shown = printable(hostile);
        assert!(shown.is_ascii() && shown.bytes().all(|byte| byte >= b' '), "{shown}");
    }
}
