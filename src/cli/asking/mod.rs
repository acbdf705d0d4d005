//! What is asked of a running seriald, by its own API.
//!
//! Owns the way to it: where its socket is looked for, and what is said when nobody is there.
//! **Invariant:** one request a connection; what it answers is printed escaped, whatever a path
//! has in it.

pub mod adopt;
pub mod each;
pub mod events;
pub mod exchange;
pub mod launch;
pub mod ls;

use crate::cli::Failure;
use exchange::{Exchange, Question};
use serde_json::Value;
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

    /// Whoever is asked at this path.
    pub fn at(path: &Path) -> Socket {
        Socket { control: Some(path.to_owned()) }
    }

    /// Asks, and takes the answer if it is no error.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, Failure> {
        self.ask_within(method, path, body, Some(PATIENCE))
    }

    /// The same, for an answer that may take longer; `None`: as long as it does.
    pub fn ask_within(
        &self,
        method: &str,
        path: &str,
        body: &str,
        patience: Option<Duration>,
    ) -> Result<Value, Failure> {
        let question = Question { body, patience, ..Question::of(method, path) };
        let mut exchange = self.open(&question)?;
        let body = exchange.whole_body()?;
        serde_json::from_slice(&body).map_err(|error| exchange.failed(&format!("no JSON: {error}")))
    }

    /// What there is at a path, as it came.
    pub fn get(&self, path: &str, patience: Duration) -> Result<Vec<u8>, Failure> {
        self.open(&Question { patience: Some(patience), ..Question::of("GET", path) })?.whole_body()
    }

    /// Asks, and gives the answer as it comes, if it is no error.
    pub fn open(&self, question: &Question<'_>) -> Result<Exchange, Failure> {
        let mut exchange = Exchange::begin(&self.path(), question)?;
        if matches!(exchange.status(), 101 | 200..300) {
            return Ok(exchange);
        }
        let body = exchange.whole_body()?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        let message = json.as_ref().and_then(|json| json["error"]["message"].as_str());
        let Some(message) = message else {
            let status = exchange.status();
            return Err(exchange.failed(&format!("status {status}: is it another's socket?")));
        };
        // What a query says is said by options here.
        let message = message.replace("?mode=spy", "--spy").replace("?mode=force", "--force");
        Err(Failure::Failed(printable(&message)))
    }
}

/// The text without what would change a terminal: a path may have anything in it.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, c| {
        match c {
            '"' | '\'' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
        shown
    })
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
