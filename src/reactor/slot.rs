//! One VM's place: its machines and everything that it owns.
//!
//! Owns the streams, the pidfd, the log and the question to the API of one VM.
//! **Invariant:** each descriptor has one field here, and is closed by the drop of that field.

use super::errands::Turn;
use super::exchange::Exchange;
use super::index::Places;
use super::orderly::{Progress, Step};
use super::rate::Limits;
use super::report::Ends;
use super::timers::Armed;
use super::watch::VmWatch;
use crate::config::VmSpec;
use crate::env::{Env, FileId, Moment, SocketId};
use crate::log::Log;
use crate::vm::launch::Launch;
use crate::vm::{DialFailure, Vm};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::OsString;

/// Which sources have been announced, or may still hold something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    pub serial: bool,
    /// The stream is read until there is nothing, or its end: that lies behind the bytes, or may,
    /// and nobody tells of it again. Else a read that leaves room in the buffer was the last.
    pub to_end: bool,
    pub api: bool,
    pub process: bool,
}

impl Ready {
    /// The stream is to be looked at although nothing was announced.
    pub(crate) fn look_at_serial(&mut self) {
        (self.serial, self.to_end) = (true, true);
    }

    /// There was nothing more in the stream: what comes is announced.
    pub(crate) fn serial_is_empty(&mut self) {
        (self.serial, self.to_end) = (false, false);
    }

    pub(crate) fn any(self) -> bool {
        self.serial || self.api || self.process
    }
}

/// What is counted of a VM, by the names that its status has; an upgrade carries it over.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VmCounters {
    pub read_bytes: u64,
    pub connects: u64,
    pub displaced: u64,
    pub upstream_loss_possible: u64,
    pub ends: Ends,
}

/// A serial stream, and where the descriptor store keeps it.
pub(crate) struct Line<S> {
    pub stream: S,
    pub berth: Option<u32>,
}

/// A launch and what it starts.
pub(crate) struct LaunchPart {
    pub machine: Launch,
    pub vmm: Vec<OsString>,
    /// A dead socket lies at the API path, and is removed before the start.
    pub api_is_dead: bool,
    /// Another process has bound the API path.
    pub api_is_anothers: bool,
    /// The sockets that its VMM made.
    pub made_serial: Option<SocketId>,
    /// See `made_serial`.
    pub made_api: Option<SocketId>,
}

pub(crate) struct Slot<E: Env> {
    pub spec: VmSpec,
    pub vm: Vm,
    pub log: Log<E::Files>,
    pub stream: Option<Line<E::Stream>>,
    /// In the store, and yet to be connected.
    pub spare: Option<Line<E::Stream>>,
    /// The connection that displaces `stream`, which is read to its end first, and its socket.
    pub successor: Option<(Line<E::Stream>, SocketId)>,
    /// A connection to a process that is not whose it has to be, and until when it is being left.
    pub stranger: Option<(Line<E::Stream>, Moment)>,
    /// The socket on which such a one listens: it is not connected to again.
    pub strange: Option<(SocketId, DialFailure)>,
    /// The socket that `stream` is, or was, connected to.
    pub socket: Option<SocketId>,
    /// `stream` is another VM's, and is only being left.
    pub foreign: bool,
    pub process: Option<E::Process>,
    pub pid: Option<u32>,
    pub launch: Option<LaunchPart>,
    pub exchange: Option<Exchange<E::Stream>>,
    /// What is to be asked of the API, and the steps around it.
    pub asked: VecDeque<Step>,
    pub progress: Progress,
    pub ready: Ready,
    pub queued: bool,
    /// It is one of those whose path may have appeared.
    pub to_dial: bool,
    /// The log has a rotation, or a file to shrink, under way.
    pub stepping: bool,
    /// Whether a child works on its backups.
    pub errand: Turn,
    pub closing: bool,
    pub armed: Armed,
    /// The directories that tell when its path comes, from the first time that it was absent on.
    pub watch: Option<VmWatch>,
    /// Where its paths lie, as the index has them.
    pub places: Places,
    pub log_id: FileId,
    /// Bytes that the log holds in memory, as they were counted last.
    pub held: usize,
    pub warned: Option<DialFailure>,
    /// Bytes of the last read, if the turn's budget cut it short.
    pub cut_short: usize,
    /// It was released while its VMM ran on: the VMM is nobody's to end any more.
    pub let_go: bool,
    /// Where the store has a note of what the log holds.
    pub held_note: Option<usize>,
    pub counters: VmCounters,
    /// When its last stream ended.
    pub ended_at: Moment,
    /// What it is held to; `None`: there is no limit.
    pub limits: Option<Box<Limits>>,
}

impl<E: Env> Slot<E> {
    /// A VM that has no connection yet.
    pub(crate) fn new(
        spec: VmSpec,
        vm: Vm,
        log: Log<E::Files>,
        launch: Option<LaunchPart>,
        places: Places,
    ) -> Self {
        Slot {
            vm,
            log_id: log.id(),
            held: 0,
            log,
            stream: None,
            spare: None,
            successor: None,
            stranger: None,
            strange: None,
            socket: None,
            foreign: false,
            process: None,
            pid: None,
            launch,
            exchange: None,
            asked: VecDeque::new(),
            progress: Progress::default(),
            ready: Ready::default(),
            queued: false,
            to_dial: false,
            stepping: false,
            errand: Turn::None,
            closing: false,
            armed: Armed::default(),
            watch: None,
            places,
            warned: None,
            cut_short: 0,
            let_go: false,
            held_note: None,
            counters: VmCounters::default(),
            ended_at: Moment::ZERO,
            limits: None,
            spec,
        }
    }
}
