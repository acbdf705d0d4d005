//! The state that a collector leaves to its successor in the same process, as JSON.
//!
//! Owns its format, number 1. A field that is not known is ignored, one that is missing has its
//! default: so a successor may know more, or less, than its predecessor.
//! **Invariant:** what format 1 means is frozen (`fixture_1.json`); a change of meaning is another
//! number, and a format that is not known is refused whole.

use crate::control::frames::Writer;
use crate::env::{Descriptor, SocketId};
use crate::log::SavedLog;
use crate::vm::SavedVm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod check;

/// The format that this program writes, and the only one so far.
pub const FORMAT: u32 = 1;

/// Longest state that is read, in bytes: 10,000 VMs take some 20 MB.
pub const STATE_BYTES_MAX: u64 = 1 << 30;

/// All that a successor needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// See [`FORMAT`].
    pub format: u32,
    /// The program that wrote it, for the log.
    pub version: String,
    /// When the clock of all its moments began, by CLOCK_MONOTONIC.
    pub origin: Duration,
    /// Counters of the whole loop, by the names that [`crate::Stats`] gives them.
    pub stats: Map<String, Value>,
    /// What a launcher's exit code will tell: how many VMs it could not launch.
    pub failures: u32,
    /// Every VM in charge.
    pub vms: Vec<VmState>,
    /// The memory that is shared with the descriptor store, where there is one.
    pub store: Option<Descriptor>,
    /// The socket on which our own API is asked for.
    pub control: Option<ControlState>,
    /// The state changes that were told to those who follow them.
    pub feed: Option<FeedState>,
    /// The TCP socket on which counters are asked for.
    pub scraping: Option<ScrapingState>,
    /// The VMs that were taken charge of by a request to it, by their names.
    pub requested: Vec<String>,
}

/// One VM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VmState {
    /// Its name.
    pub id: String,
    /// Its serial socket.
    pub serial: PathBuf,
    /// CH's API socket.
    pub api: Option<PathBuf>,
    /// Whether it is waited for a successor of its VMM.
    pub waits_on_exit: bool,
    /// How long its first connection may take.
    pub dial_timeout: Option<Duration>,
    /// The user at the other end of its serial socket.
    pub expect_uid: Option<u32>,
    /// The stream that is read.
    pub stream: Option<StreamState>,
    /// The stream that displaces it.
    pub successor: Option<StreamState>,
    /// The VMM's process.
    pub vmm: Option<ProcessState>,
    /// Its launch, if it was launched here.
    pub launch: Option<LaunchState>,
    /// It was released while its launched VMM runs on.
    pub let_go: bool,
    /// Its machine.
    pub machine: SavedVm,
    /// Its log.
    pub log: SavedLog,
    /// How far what was typed into its console is ahead of its guest: of so many bytes nothing that
    /// it has printed proves that it has read them.
    pub input_ahead: u64,
    /// How many of them are taken for read all the same, as it has printed so much.
    pub input_loose: u64,
    /// Who types into its console: the upgrade ends that.
    pub writer: Option<Writer>,
    /// Counters, by the names that [`crate::VmStatus`] gives them.
    pub counters: Map<String, Value>,
}

/// A serial stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// Its number.
    pub descriptor: Descriptor,
    /// The socket that it is connected to.
    #[serde(default)]
    pub socket: Option<SocketId>,
    /// Its name's number in the descriptor store.
    #[serde(default)]
    pub berth: Option<u32>,
}

/// The socket on which our own API is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlState {
    /// Its number.
    pub descriptor: Descriptor,
    /// Its path.
    pub path: PathBuf,
    /// What was bound there.
    pub socket: SocketId,
    /// Its permission bits.
    pub mode: u32,
    /// Its group.
    #[serde(default)]
    pub group: Option<String>,
}

/// State changes, for those who come back for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    /// Whose numbers these are.
    pub epoch: u64,
    /// The number of the first line.
    pub first: u64,
    /// The last lines, each with its VM's name.
    pub lines: Vec<(String, String)>,
}

/// The TCP socket on which counters are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrapingState {
    /// Its number.
    pub descriptor: Descriptor,
    /// The address that was asked for: with port 0 not the one that it has.
    pub asked_for: SocketAddr,
    /// Whether counters of each VM are told.
    #[serde(default)]
    pub per_vm: bool,
}

/// A VMM's process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessState {
    /// The pidfd's number.
    pub descriptor: Descriptor,
    /// Its pid.
    pub pid: u32,
    /// It is our child, whom we reap.
    #[serde(default)]
    pub child: bool,
}

/// A launch that has come to its end: the guest runs, or has run. (One under way is waited for.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaunchState {
    /// The sockets that it made.
    pub made_serial: Option<SocketId>,
    /// See `made_serial`.
    pub made_api: Option<SocketId>,
    /// Another process answers at its API path.
    pub api_is_anothers: bool,
    /// The VMM has ended.
    pub ended: bool,
    /// See [`LaunchSpec::digest`](crate::vm::launch::LaunchSpec::digest).
    pub digest: Option<u64>,
}

/// Why a state was not understood.
#[derive(Debug)]
pub enum StateError {
    /// It is no such JSON.
    Json(serde_json::Error),
    /// It is of a format that this program does not know.
    Format(u32),
    /// What it says can't be, and why.
    Unsound(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Json(error) => write!(f, "state: {error}"),
            StateError::Format(format) => {
                write!(f, "state: is of format {format}; this program knows format {FORMAT}")
            }
            StateError::Unsound(why) => write!(f, "state: {why}"),
        }
    }
}

impl std::error::Error for StateError {}

impl State {
    /// Reads a state.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn parse(bytes: &[u8]) -> Result<State, StateError> {
        // The format comes first: what another one says elsewhere need not make sense.
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(StateError::Json)?;
        if head.format != FORMAT {
            return Err(StateError::Format(head.format));
        }
        serde_json::from_slice(bytes).map_err(StateError::Json)
    }

    /// Writes it.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        serde_json::to_vec(self).map_err(StateError::Json)
    }

    /// Every descriptor that it names.
    pub fn descriptors(&self) -> Vec<Descriptor> {
        let of_vm = |vm: &VmState| {
            let streams = [vm.stream, vm.successor].into_iter().flatten();
            let vmm = vm.vmm.map(|vmm| vmm.descriptor);
            let log = [Some(vm.log.dir), Some(vm.log.file), vm.log.copy, vmm];
            streams.map(|stream| stream.descriptor).chain(log.into_iter().flatten()).collect()
        };
        let vms = self.vms.iter().flat_map(|vm| -> Vec<Descriptor> { of_vm(vm) });
        let control = self.control.as_ref().map(|control| control.descriptor);
        let scraping = self.scraping.map(|scraping| scraping.descriptor);
        vms.chain(self.store).chain(control).chain(scraping).collect()
    }
}

#[cfg(test)]
mod tests;
