//! The calls of CH's API that seriald makes, typed: what to ask, and what the answer means.
//!
//! Owns nothing; the connection and its deadline are the caller's.
//!
//! **Invariant:** pure. Words of the peer reach an error only cleaned and bounded
//! ([`WORDS_BYTES_MAX`]): a terminal or a log never gets its control characters.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits;

use super::http::{Method, Request, Response};
use super::spans::JsonError;
use super::vm_config::{self, SerialSection};

/// Longest peer's words in an error, in bytes. CH's longest array of errors is a third of that.
pub const WORDS_BYTES_MAX: usize = 1024;

/// One call of CH's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Who answers?
    Ping,
    /// The VM's state and configuration; 404 without a VM (v52: 500).
    Info,
    /// Takes a VM configuration (JSON). In serial mode Socket the path is bound when it returns.
    Create(String),
    /// Starts the guest of a created VM.
    Boot,
    /// Stops the vCPUs.
    Pause,
    /// Lets a paused or restored VM run.
    Resume,
    /// Ends the guest, keeps the configuration.
    Shutdown,
    /// Resets the guest; the serial path is made anew.
    Reboot,
    /// Forgets the VM.
    Delete,
    /// Takes a snapshot; the body (JSON) names the destination, see [`Call::snapshot_to`].
    Snapshot(String),
    /// Restores one; the body (JSON) names the source, see [`Call::restore_from`].
    Restore(String),
    /// Ends the VMM, in order: the serial path of a VM that had booted is removed.
    VmmShutdown,
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Answered at once or never: [`limits::API_QUERY_DEADLINE`].
    Query,
    /// As long as the guest's size and the host's disks make it; ends with the VMM.
    Operation,
}

impl Call {
    /// A snapshot into a directory that exists, such as `file:///var/lib/vms/a/snapshot`.
    pub fn snapshot_to(url: &str) -> Self {
        Self::Snapshot(serde_json::json!({ "destination_url": url }).to_string())
    }

    /// A restore from such a directory. The VM is paused afterwards.
    pub fn restore_from(url: &str) -> Self {
        Self::Restore(serde_json::json!({ "source_url": url }).to_string())
    }

    /// The call's name as CH's documentation spells it, such as `vm.create`.
    pub fn name(&self) -> &'static str {
        self.path().trim_start_matches("/api/v1/")
    }

    /// Whether the call has a deadline.
    pub fn pace(&self) -> Pace {
        match self {
            Self::Ping | Self::Info => Pace::Query,
            _ => Pace::Operation,
        }
    }

    /// The time after which an unanswered call has failed; `None` for an operation.
    pub fn deadline(&self) -> Option<Duration> {
        match self.pace() {
            Pace::Query => Some(limits::API_QUERY_DEADLINE),
            Pace::Operation => None,
        }
    }

    /// The request to send. CH answers a body where none is due with a 400, so only the calls that
    /// carry one have one.
    pub fn request(&self) -> Request {
        let method = match self.pace() {
            Pace::Query => Method::Get,
            Pace::Operation => Method::Put,
        };
        let body = match self {
            Self::Create(body) | Self::Snapshot(body) | Self::Restore(body) => {
                Some(body.clone().into_bytes())
            }
            _ => None,
        };
        Request { method, path: self.path(), body }
    }

    fn path(&self) -> &'static str {
        match self {
            Self::Ping => "/api/v1/vmm.ping",
            Self::Info => "/api/v1/vm.info",
            Self::Create(_) => "/api/v1/vm.create",
            Self::Boot => "/api/v1/vm.boot",
            Self::Pause => "/api/v1/vm.pause",
            Self::Resume => "/api/v1/vm.resume",
            Self::Shutdown => "/api/v1/vm.shutdown",
            Self::Reboot => "/api/v1/vm.reboot",
            Self::Delete => "/api/v1/vm.delete",
            Self::Snapshot(_) => "/api/v1/vm.snapshot",
            Self::Restore(_) => "/api/v1/vm.restore",
            Self::VmmShutdown => "/api/v1/vmm.shutdown",
        }
    }
}

/// What CH said to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Call::Ping`].
    Ping(Ping),
    /// To [`Call::Info`].
    Info(Info),
    /// To all others: it is done.
    Done,
}

/// Who answers at an API socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ping {
    /// Such as `v53.0`; empty if CH does not say.
    #[serde(default)]
    pub build_version: String,
    /// Such as `53.0.0`.
    pub version: String,
    /// The VMM's process id, in its own pid namespace.
    #[serde(default)]
    pub pid: Option<i64>,
    /// What CH was built with.
    #[serde(default)]
    pub features: Vec<String>,
}

/// What a VM is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmState {
    /// Configured and not booted, or shut down.
    Created,
    /// The guest runs.
    Running,
    /// The vCPUs stand still.
    Paused,
    /// A state that CH knows and we do not, cleaned.
    Other(String),
}

/// A VM, as `vm.info` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// What it is doing.
    pub state: VmState,
    /// The serial section of its configuration, as given.
    pub serial: Option<SerialSection>,
    /// The whole configuration, as CH wrote it.
    pub config: String,
}

/// A call that CH refused, or answered with what we can't read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The call's name.
    pub call: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// CH's own words, cleaned and bounded.
    pub words: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: HTTP {}: {}", self.call, self.status, self.words)
    }
}

impl std::error::Error for ApiError {}

/// What the response to a call means.
///
/// # Errors
/// [`ApiError`] for every status but 2xx, and for a ping or info whose body can't be read.
pub fn interpret(call: &Call, response: Response) -> Result<Reply, ApiError> {
    let refused = |words| ApiError { call: call.name(), status: response.status, words };
    if !(200..300).contains(&response.status) {
        return Err(refused(error_words(&response.body)));
    }
    let unreadable = |cause: String| refused(clean(&format!("the answer can't be read: {cause}")));
    match call {
        Call::Ping => serde_json::from_slice(&response.body)
            .map(Reply::Ping)
            .map_err(|error| unreadable(error.to_string())),
        Call::Info => info(&response.body).map(Reply::Info).map_err(unreadable),
        _ => Ok(Reply::Done),
    }
}

#[derive(Deserialize)]
struct InfoBody<'b> {
    state: String,
    #[serde(borrow)]
    config: &'b RawValue,
}

fn info(body: &[u8]) -> Result<Info, String> {
    let body: InfoBody<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let config = body.config.get();
    let serial =
        vm_config::serial_section(config).map_err(|error: JsonError| format!("config: {error}"))?;
    let state = match body.state.as_str() {
        "Created" => VmState::Created,
        "Running" => VmState::Running,
        "Paused" => VmState::Paused,
        other => VmState::Other(clean(other)),
    };
    Ok(Info { state, serial, config: config.to_owned() })
}

#[derive(Deserialize)]
struct HttpLayerBody {
    error: String,
}

/// CH answers an error with a JSON array of strings, outermost first; its HTTP layer (micro-http)
/// with an object whose string holds a raw newline, which is no JSON before it is cleaned; some
/// errors have no body at all (measured, v52 and v53).
fn error_words(body: &[u8]) -> String {
    if let Ok(causes) = serde_json::from_slice::<Vec<String>>(body)
        && !causes.is_empty()
    {
        return clean(&causes.join(": "));
    }
    let text = without_controls(&String::from_utf8_lossy(body));
    match serde_json::from_str::<HttpLayerBody>(&text) {
        Ok(body) => clean(&body.error),
        Err(_) => clean(&text),
    }
}

/// Words fit for a terminal and a log line: one line, no control or direction characters, at most
/// [`WORDS_BYTES_MAX`] bytes.
fn clean(words: &str) -> String {
    let words = without_controls(words);
    let words = words.trim();
    if words.is_empty() {
        return "(no words)".to_owned();
    }
    if words.len() <= WORDS_BYTES_MAX {
        return words.to_owned();
    }
    const CUT: &str = " ...";
    let room = WORDS_BYTES_MAX - CUT.len();
    let fits = |(at, c): (usize, char)| at + c.len_utf8() <= room;
    let kept: String = words.char_indices().take_while(|&at| fits(at)).map(|(_, c)| c).collect();
    kept + CUT
}

fn without_controls(words: &str) -> String {
    let shown = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        // Marks and overrides of the writing direction reorder what a person reads.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    words.chars().map(shown).collect()
}

#[cfg(test)]
mod tests;
