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
use super::seldom::{AtRest, Seldom};
use super::timers::Clock;
use super::watch::VmWatch;
use crate::config::{LogSpec, OnExit, VmSpec};
use crate::env::{Env, FileId, Moment, SocketId, Stamp};
use crate::log::Log;
use crate::vm::launch::Launch;
use crate::vm::{DialFailure, Vm};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

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
    /// See [`LaunchSpec::digest`](crate::vm::launch::LaunchSpec::digest); `None`: a predecessor
    /// that did not know of it launched the VM.
    pub digest: Option<u64>,
    /// A dead socket lies at the API path, and is removed before the start.
    pub api_is_dead: bool,
    /// Another process has bound the API path.
    pub api_is_anothers: bool,
    /// The sockets that its VMM made.
    pub made_serial: Option<SocketId>,
    /// See `made_serial`.
    pub made_api: Option<SocketId>,
}

/// One VM. Ten thousand of them are idle on one host: what few need is aside, and what every read
/// needs comes first, in this order.
#[repr(C)]
pub(crate) struct Slot<E: Env> {
    pub aside: Seldom<Aside<E>>,
    pub read_bytes: u64,
    /// The deadlines of its machine and its log, as they stand in the order of all.
    armed: [Option<Stamp>; 2],
    pub stream: Option<Line<E::Stream>>,
    /// Bytes of the last read, if the turn's budget cut it short.
    pub cut_short: u32,
    pub ready: Ready,
    pub queued: bool,
    /// It is one of those whose path may have appeared.
    pub to_dial: bool,
    /// Somebody looks at what it prints.
    pub watched: bool,
    /// The log has a rotation, or a file to shrink, under way.
    pub stepping: bool,
    /// Whether a child works on its backups.
    pub errand: Turn,
    pub closing: bool,
    /// `stream` is another VM's, and is only being left.
    pub foreign: bool,
    /// It was released while its VMM ran on: the VMM is nobody's to end any more.
    pub let_go: bool,
    /// A request to our own API has brought it.
    pub requested: bool,
    on_exit: OnExit,
    pub vm: Vm,
    pub log: Log<E::Files>,
    pub process: Option<E::Process>,
    pid: Option<NonZeroU32>,
    /// The socket that `stream` is, or was, connected to.
    socket: Option<Socket>,
    pub connects: u32,
    /// See [`Slot::expect_uid`]; one more.
    expect_uid: Option<NonZeroU32>,
    /// Where its paths lie, as the index has them.
    pub places: Places,
}

/// What of a VM there is at some times, and of some VMs.
pub(crate) struct Aside<E: Env> {
    pub lines: Seldom<Lines<E::Stream>>,
    pub questions: Seldom<Questions<E::Stream>>,
    pub launch: Option<Box<LaunchPart>>,
    /// The directories that tell when its path comes, from the first time that it was absent on.
    pub watch: Option<Box<VmWatch>>,
    /// What it is held to; `None`: there is no limit.
    pub limits: Option<Box<Limits>>,
    /// How long its first connection may take, as it was asked for.
    pub dial_timeout: Option<Duration>,
    /// Bytes that the log holds in memory, as they were counted last.
    pub held: usize,
    /// Where the store has a note of what the log holds.
    pub held_note: Option<usize>,
    pub warned: Option<DialFailure>,
    /// When its last stream ended, while there is no other.
    pub ended_at: Moment,
    /// The deadlines of its launch and of a question.
    pub armed: [Option<Stamp>; 2],
    pub displaced: u32,
    pub upstream_loss_possible: u32,
    pub ends: Ends,
}

/// A VM's streams beside the one that is read.
pub(crate) struct Lines<S> {
    /// In the store, and yet to be connected.
    pub spare: Option<Line<S>>,
    /// The connection that displaces `stream`, which is read to its end first, and its socket.
    pub successor: Option<(Line<S>, SocketId)>,
    /// A connection to a process that is not whose it has to be, and until when it is being left.
    pub stranger: Option<(Line<S>, Moment)>,
    /// The socket on which such a one listens: it is not connected to again.
    pub strange: Option<(SocketId, DialFailure)>,
}

/// What is asked of a VM's API.
pub(crate) struct Questions<S> {
    pub exchange: Option<Exchange<S>>,
    /// What is to be asked, and the steps around it.
    pub asked: VecDeque<Step>,
    pub progress: Progress,
}

impl<E: Env> AtRest for Aside<E> {
    const AT_REST: &'static Self = &Self::EMPTY;

    fn is_at_rest(&self) -> bool {
        let calm = self.lines.is_at_rest() && self.questions.is_at_rest();
        let own = self.launch.is_none() && self.watch.is_none() && self.limits.is_none();
        let held = self.held == 0 && self.held_note.is_none();
        let told = self.warned.is_none() && self.ended_at.is_zero();
        let counted = self.displaced == 0 && self.upstream_loss_possible == 0;
        let counted = counted && self.ends == Ends::default();
        let timed = self.dial_timeout.is_some() || self.armed != [None; 2];
        calm && own && held && told && counted && !timed
    }

    fn new() -> Self {
        Self::EMPTY
    }
}

impl<E: Env> Aside<E> {
    const EMPTY: Self = Aside {
        lines: Seldom::NONE,
        questions: Seldom::NONE,
        launch: None,
        watch: None,
        limits: None,
        dial_timeout: None,
        held: 0,
        held_note: None,
        warned: None,
        ended_at: Moment::ZERO,
        armed: [None; 2],
        displaced: 0,
        upstream_loss_possible: 0,
        ends: Ends::NONE,
    };
}

impl<S> Lines<S> {
    const EMPTY: Self = Lines { spare: None, successor: None, stranger: None, strange: None };
}

impl<S: 'static> AtRest for Lines<S> {
    const AT_REST: &'static Self = &Self::EMPTY;

    fn is_at_rest(&self) -> bool {
        let none = self.spare.is_none() && self.successor.is_none();
        none && self.stranger.is_none() && self.strange.is_none()
    }

    fn new() -> Self {
        Self::EMPTY
    }
}

impl<S> Questions<S> {
    const EMPTY: Self =
        Questions { exchange: None, asked: VecDeque::new(), progress: Progress::NONE };
}

impl<S: 'static> AtRest for Questions<S> {
    const AT_REST: &'static Self = &Self::EMPTY;

    fn is_at_rest(&self) -> bool {
        self.exchange.is_none() && self.asked.is_empty() && self.progress == Progress::NONE
    }

    fn new() -> Self {
        Self::EMPTY
    }
}

/// A socket's identity in fewer bytes.
#[derive(Clone, Copy)]
struct Socket {
    file: FileId,
    born: Stamp,
}

impl<E: Env> Slot<E> {
    /// A VM that has no connection yet.
    pub(crate) fn new(
        spec: &VmSpec,
        vm: Vm,
        log: Log<E::Files>,
        launch: Option<LaunchPart>,
        places: Places,
    ) -> Self {
        let mut slot = Slot {
            stream: None,
            ready: Ready::default(),
            queued: false,
            to_dial: false,
            watched: false,
            stepping: false,
            errand: Turn::None,
            closing: false,
            foreign: false,
            let_go: false,
            requested: false,
            cut_short: 0,
            aside: Seldom::NONE,
            armed: [None; 2],
            read_bytes: 0,
            vm,
            log,
            process: None,
            pid: None,
            socket: None,
            connects: 0,
            expect_uid: None,
            on_exit: spec.on_exit,
            places,
        };
        slot.set_expect_uid(spec.expect_uid);
        if launch.is_some() || spec.dial_timeout.is_some() {
            slot.aside.launch = launch.map(Box::new);
            slot.aside.dial_timeout = spec.dial_timeout;
        }
        slot
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        self.log.paths().id()
    }

    /// Its serial socket.
    pub(crate) fn serial(&self) -> PathBuf {
        self.log.paths().serial()
    }

    /// Its VMM's API socket.
    pub(crate) fn api(&self) -> Option<PathBuf> {
        self.log.paths().api()
    }

    /// What it was adopted or launched with, and what changed since.
    pub(crate) fn spec(&self) -> VmSpec {
        let log = LogSpec { path: self.log.path(), ..self.log.terms().spec.clone() };
        VmSpec {
            id: self.id().to_owned(),
            serial: self.serial(),
            log,
            api: self.api(),
            on_exit: self.on_exit,
            dial_timeout: self.aside.dial_timeout,
            expect_uid: self.expect_uid(),
        }
    }

    /// It was given another spec, of which the log has its part already.
    pub(crate) fn set_spec(&mut self, spec: &VmSpec) {
        self.on_exit = spec.on_exit;
        self.set_expect_uid(spec.expect_uid);
        if self.aside.dial_timeout != spec.dial_timeout {
            self.aside.dial_timeout = spec.dial_timeout;
        }
        self.aside.settle();
    }

    /// What becomes of it when its VMM exits.
    pub(crate) fn on_exit(&self) -> OnExit {
        self.on_exit
    }

    /// The socket that `stream` is, or was, connected to.
    pub(crate) fn socket(&self) -> Option<SocketId> {
        self.socket.map(|Socket { file, born }| SocketId { file, born: born.into() })
    }

    /// `stream` is connected to this socket. Returns the one before.
    pub(crate) fn set_socket(&mut self, socket: SocketId) -> Option<SocketId> {
        let before = self.socket();
        self.socket = Some(Socket { file: socket.file, born: socket.born.into() });
        before
    }

    /// What is counted of it.
    pub(crate) fn counters(&self) -> VmCounters {
        VmCounters {
            read_bytes: self.read_bytes,
            connects: self.connects.into(),
            displaced: self.aside.displaced.into(),
            upstream_loss_possible: self.aside.upstream_loss_possible.into(),
            ends: self.aside.ends,
        }
    }

    /// A predecessor has counted so much.
    pub(crate) fn count_on(&mut self, counted: VmCounters) {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        (self.read_bytes, self.connects) = (counted.read_bytes, small(counted.connects));
        self.aside.displaced = small(counted.displaced);
        self.aside.upstream_loss_possible = small(counted.upstream_loss_possible);
        self.aside.ends = counted.ends;
        self.aside.settle();
    }

    /// A deadline as it stands in the order of all.
    pub(crate) fn armed(&mut self, clock: Clock) -> &mut Option<Stamp> {
        match clock {
            Clock::Vm => &mut self.armed[0],
            Clock::Log => &mut self.armed[1],
            Clock::Launch => &mut self.aside.armed[0],
            Clock::Call => &mut self.aside.armed[1],
        }
    }

    /// When this one is due.
    pub(crate) fn due(&self, clock: Clock) -> Option<Moment> {
        let [vm, log] = self.armed;
        let [launch, call] = self.aside.armed;
        [vm, log, launch, call][clock as usize].map(Moment::from)
    }

    /// The VMM's pid, where it is known.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid.map(NonZeroU32::get)
    }

    /// The VMM's pid is this one.
    pub(crate) fn set_pid(&mut self, pid: Option<u32>) {
        self.pid = pid.and_then(NonZeroU32::new);
    }

    /// User whose process must be at the other end of the serial socket.
    pub(crate) fn expect_uid(&self) -> Option<u32> {
        self.expect_uid.map(|uid| uid.get() - 1)
    }

    fn set_expect_uid(&mut self, uid: Option<u32>) {
        // The highest number is no user's: it is how chown(2) is told "none".
        self.expect_uid = uid.map(|uid| NonZeroU32::MIN.saturating_add(uid));
    }

    /// Gives the memory back of what is over.
    pub(crate) fn settle(&mut self) {
        self.aside.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::os::OsEnv;
    use std::mem::offset_of;

    /// Ten thousand idle VMs are ten thousand of these, and 140 bytes each of paths, deadlines and
    /// places in the index: see tests/memory. A byte more here is a byte more for each.
    #[test]
    fn a_slot_weighs_360_bytes() {
        assert_eq!(size_of::<Slot<OsEnv>>(), 360);
        assert_eq!((size_of::<Log<<OsEnv as Env>::Files>>(), size_of::<Vm>()), (152, 56));
        assert_eq!((size_of::<Socket>(), size_of::<Places>()), (24, 32));
    }

    #[test]
    fn what_every_read_needs_lies_in_three_cache_lines() {
        assert!(offset_of!(Slot<OsEnv>, log) + Log::<<OsEnv as Env>::Files>::HOT <= 3 * 64);
    }
}
