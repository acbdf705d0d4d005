//! The machine of one VM's serial stream: dialing, streaming, leaving, closed.
//!
//! Owns the state, the back-offs and the deadlines of one VM.
//! **Invariant:** every moment at which it wants to be called lies in [`Vm::deadline`]; once
//! closed, nothing changes it. An EOF never closes a VM whose VMM lives.

mod saved;

pub use saved::SavedVm;

use super::backoff::{Jitter, step};
use crate::config::OnExit;
use crate::env::{Exit, Moment};
use crate::limits;
use std::fmt;
use std::io;
use std::time::Duration;

/// Where a VM stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its launch has not come to the serial port yet.
    Held,
    /// There is no connection; the next dial is at `at`.
    Dialing {
        /// When it is dialed next; `None`: once its path appears, of which we are told.
        at: Option<Moment>,
    },
    /// Connected; bytes may come.
    Streaming {
        /// When it was connected.
        since: Moment,
    },
    /// Released: our side is shut down, what is left is read up to the EOF, or until this moment.
    Leaving {
        /// When the wait for the EOF ends.
        until: Moment,
    },
    /// At its end, and why.
    Closed,
}

impl State {
    /// One word for it, as status and documentation have it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Held => "held",
            State::Dialing { .. } => "dialing",
            State::Streaming { .. } => "streaming",
            State::Leaving { .. } => "leaving",
            State::Closed => "closed",
        }
    }
}

/// Why a VM is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It was released, and its stream ended.
    Released,
    /// It was released, and its stream did not end within [`limits::LEAVE_DEADLINE`].
    ReleasedUnanswered,
    /// Its VMM has exited.
    VmmExited(Exit),
    /// There was no first connection in the time that its spec allows; the last failure.
    DialTimeout(Option<DialFailure>),
    /// Its launch failed: the step and the cause.
    LaunchFailed(String),
    /// Its launch was broken off by a release or a stop: the step.
    LaunchBrokenOff(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Released => f.write_str("released"),
            CloseReason::ReleasedUnanswered => {
                f.write_str("released; the VMM did not end the stream within 1 s")
            }
            CloseReason::VmmExited(exit) => write!(f, "the VMM has ended ({exit})"),
            CloseReason::DialTimeout(Some(last)) => write!(f, "no connection in time: {last}"),
            CloseReason::DialTimeout(None) => f.write_str("no connection in time"),
            CloseReason::LaunchFailed(why) => write!(f, "launch failed: {why}"),
            CloseReason::LaunchBrokenOff(why) => write!(f, "launch: {why}"),
        }
    }
}

/// Why a dial did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// ENOENT: nothing is at the path yet, or no more.
    Absent,
    /// ECONNREFUSED: bound, not listening; bind comes before listen at each of CH's reboots.
    Refused,
    /// EAGAIN: the backlog is full.
    Busy,
    /// EACCES: only CH's own user and root may connect.
    Denied,
    /// Something that is no socket is at the path, a symbolic link perhaps.
    NotASocket,
    /// EMFILE, ENFILE, ENOMEM: this process is short of something.
    Exhausted,
    /// Anything else: the errno.
    Other(i32),
}

impl From<&io::Error> for DialFailure {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => DialFailure::Absent,
            io::ErrorKind::ConnectionRefused => DialFailure::Refused,
            io::ErrorKind::WouldBlock => DialFailure::Busy,
            io::ErrorKind::PermissionDenied => DialFailure::Denied,
            io::ErrorKind::OutOfMemory => DialFailure::Exhausted,
            _ => match error.raw_os_error().unwrap_or(0) {
                // The numbers of errno(3) on Linux: ENFILE, EMFILE; ELOOP, ENOTSOCK, ENOTDIR.
                23 | 24 => DialFailure::Exhausted,
                40 | 88 | 20 => DialFailure::NotASocket,
                other => DialFailure::Other(other),
            },
        }
    }
}

impl DialFailure {
    /// Whether a person has to do something about it.
    pub fn needs_attention(self) -> bool {
        !matches!(self, DialFailure::Absent | DialFailure::Refused | DialFailure::Busy)
    }
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DialFailure::Absent => "nothing is at the path",
            DialFailure::Refused => "nobody listens at the path",
            DialFailure::Busy => "the VMM's backlog is full",
            DialFailure::Denied => {
                "permission denied: only the VMM's user and root may connect, and every directory \
                 on the way must be passable"
            }
            DialFailure::NotASocket => "what is at the path is no socket",
            DialFailure::Exhausted => "out of descriptors or memory: raise LimitNOFILE",
            DialFailure::Other(errno) => {
                return write!(f, "{}", io::Error::from_raw_os_error(*errno));
            }
        })
    }
}

/// What the path says when a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfStream {
    /// It still leads to the socket that we were connected to: another client was let in, or the
    /// VMM was killed.
    PathUnchanged,
    /// It is gone or leads to another socket: a reboot, a shutdown, or the VMM's end.
    PathGone,
}

/// What the reactor is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing now.
    Wait,
    /// Connect.
    Dial,
    /// Connect once more beside the stream there is, so that CH displaces it and empties its ring.
    FetchTail,
    /// Shut our side down and read on until the EOF.
    Leave,
    /// Let go of everything.
    Close(CloseReason),
}

/// One VM's stream.
#[derive(Clone, Debug)]
pub struct Vm {
    state: State,
    on_exit: OnExit,
    dial_timeout: Option<Duration>,
    give_up: Option<Moment>,
    dial_tries: u32,
    displaced_tries: u32,
    last_failure: Option<DialFailure>,
    /// The VMM's end, once it is known.
    vmm_exit: Option<Exit>,
    exit_grace: Option<Moment>,
    /// The last read that brought bytes found the socket full.
    full: bool,
    fetch_tail_at: Option<Moment>,
    /// Connections made for a tail since the last one that brought bytes at once.
    tail_tries: u32,
    tail_switched_at: Option<Moment>,
    /// Bytes have come on the connection there is.
    heard: bool,
    jitter: Jitter,
}

impl Vm {
    /// A VM that is dialed at once.
    pub fn new(on_exit: OnExit, dial_timeout: Option<Duration>, seed: u64, now: Moment) -> Self {
        let mut vm = Vm {
            state: State::Held,
            on_exit,
            dial_timeout,
            give_up: None,
            dial_tries: 0,
            displaced_tries: 0,
            last_failure: None,
            vmm_exit: None,
            exit_grace: None,
            full: false,
            fetch_tail_at: None,
            tail_tries: 0,
            tail_switched_at: None,
            heard: false,
            jitter: Jitter::new(seed),
        };
        vm.begin_dialing(now);
        vm
    }

    /// A VM whose launch has yet to come to the serial port: [`Vm::begin_dialing`] starts it.
    /// The launch bounds its connection.
    pub fn held(on_exit: OnExit, seed: u64) -> Self {
        let mut vm = Vm::new(on_exit, None, seed, Moment::ZERO);
        vm.state = State::Held;
        vm
    }

    /// The first dial is due now; from now on its time is counted.
    pub fn begin_dialing(&mut self, now: Moment) {
        self.state = State::Dialing { at: Some(now) };
        self.give_up = self.dial_timeout.map(|limit| now + limit);
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why the last dial failed, while there is no connection.
    pub fn last_failure(&self) -> Option<DialFailure> {
        self.last_failure
    }

    /// When [`Vm::on_timer`] is due; `None`: never. A VM that streams in silence has no timer.
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Held | State::Closed => None,
            State::Dialing { at } => [at, self.give_up].into_iter().flatten().min(),
            State::Leaving { until } => Some(until),
            State::Streaming { .. } => match (self.fetch_tail_at, self.exit_grace) {
                (Some(tail), Some(grace)) => Some(tail.min(grace)),
                (tail, grace) => tail.or(grace),
            },
        }
    }

    /// The connection stands.
    pub fn on_dialed(&mut self, now: Moment) -> Next {
        self.state = State::Streaming { since: now };
        self.give_up = None;
        self.dial_timeout = None;
        self.last_failure = None;
        self.vmm_exit = None;
        self.exit_grace = None;
        self.heard = false;
        self.full = false;
        self.tail_switched_at = None;
        Next::Wait
    }

    /// A dial failed. It is tried again, later each time; with nothing at a `watched` path only
    /// once [`Vm::on_path_appeared`] says so.
    pub fn on_dial_failed(&mut self, failure: DialFailure, watched: bool, now: Moment) -> Next {
        self.last_failure = Some(failure);
        if let Some(next) = self.closed_by_exit() {
            return next;
        }
        let waits_for_path = watched && failure == DialFailure::Absent;
        let at = if waits_for_path { None } else { Some(now + self.dial_wait()) };
        self.state = State::Dialing { at };
        Next::Wait
    }

    /// The directory watch reports that something may be at its path now.
    pub fn on_path_appeared(&mut self) -> Next {
        // A back-off that another client's displacement began is not cut short.
        if matches!(self.state, State::Dialing { .. }) && self.last_failure.is_some() {
            self.dial_tries = 0;
            return Next::Dial;
        }
        Next::Wait
    }

    /// What its spec allows has changed. A VM that has been connected has no `dial_timeout` any
    /// more.
    pub fn on_limits(
        &mut self,
        on_exit: OnExit,
        dial_timeout: Option<Duration>,
        now: Moment,
    ) -> Next {
        let began =
            self.give_up.zip(self.dial_timeout).map(|(end, limit)| end.saturating_sub(limit));
        self.on_exit = on_exit;
        self.dial_timeout = dial_timeout;
        if !matches!(self.state, State::Dialing { .. }) {
            return Next::Wait;
        }
        self.give_up = dial_timeout.map(|limit| began.unwrap_or(now) + limit);
        self.closed_by_exit().unwrap_or(Next::Wait)
    }

    /// One read brought bytes; `full`: as many as fit into CH's socket. More may then be held back
    /// in its ring, and if silence follows they are fetched by a new connection.
    pub fn on_bytes(&mut self, full: bool, now: Moment) {
        self.heard = true;
        self.full = full;
        self.fetch_tail_at = None;
        // An accept makes CH flush its ring at once, so bytes that come right after one are tail.
        let tail_came =
            self.tail_switched_at.is_some_and(|at| now.saturating_sub(at) <= limits::TAIL_SILENCE);
        if tail_came {
            self.tail_tries = 0;
        }
        if full && matches!(self.state, State::Streaming { .. }) {
            let silence =
                if tail_came { limits::TAIL_SILENCE_IN_SERIES } else { self.tail_silence() };
            self.fetch_tail_at = Some(now + silence);
        }
    }

    /// A peer whose full socket hides nothing (v52, a bulk sender) is asked ever more seldom.
    fn tail_silence(&self) -> Duration {
        step(self.tail_tries, limits::TAIL_SILENCE, limits::TAIL_SILENCE_MAX)
    }

    /// The new connection of [`Next::FetchTail`] could not be made; the stream there is goes on,
    /// and later it is tried again.
    pub fn on_tail_dial_failed(&mut self, now: Moment) {
        self.tail_tries = self.tail_tries.saturating_add(1);
        self.fetch_tail_at = Some(now + self.tail_silence());
    }

    /// The old connection is at its end, and the new one takes its place.
    pub fn on_tail_switched(&mut self, now: Moment) {
        self.tail_tries = self.tail_tries.saturating_add(1);
        self.tail_switched_at = Some(now);
        self.full = false;
        self.fetch_tail_at = None;
    }

    /// Whether a stream that ends now may take with it what CH held in its ring. One that is left
    /// in order does not: the ring waits for the next client.
    pub fn may_lose_upstream(&self) -> bool {
        self.full && matches!(self.state, State::Streaming { .. })
    }

    /// The stream is at its end. While the VMM lives this is a reboot, a shutdown or another
    /// client; it is dialed again, without a time limit.
    pub fn on_eof(&mut self, path: EndOfStream, now: Moment) -> Next {
        let State::Streaming { since } = self.state else {
            return match self.state {
                State::Leaving { .. } => self.left(CloseReason::Released),
                _ => Next::Wait,
            };
        };
        self.fetch_tail_at = None;
        self.full = false;
        if let Some(next) = self.closed_by_exit() {
            return next;
        }
        let served = now.saturating_sub(since) >= limits::SERVED_AFTER;
        if served {
            self.displaced_tries = 0;
        }
        if served || self.heard {
            self.dial_tries = 0;
        }
        let wait = match path {
            EndOfStream::PathGone if self.heard => Duration::ZERO,
            EndOfStream::PathGone => self.dial_wait(),
            EndOfStream::PathUnchanged => {
                let (min, max) = (limits::DISPLACED_BACKOFF_MIN, limits::DIAL_BACKOFF_MAX);
                let wait = self.jitter.within(step(self.displaced_tries, min, max));
                self.displaced_tries = self.displaced_tries.saturating_add(1);
                wait
            }
        };
        self.state = State::Dialing { at: Some(now + wait) };
        if wait.is_zero() { Next::Dial } else { Next::Wait }
    }

    fn dial_wait(&mut self) -> Duration {
        let (min, max) = (limits::DIAL_BACKOFF_MIN, limits::DIAL_BACKOFF_MAX);
        let wait = self.jitter.within(step(self.dial_tries, min, max));
        self.dial_tries = self.dial_tries.saturating_add(1);
        wait
    }

    /// The VMM has exited. What it left in the socket is read first.
    pub fn on_vmm_exit(&mut self, exit: Exit, now: Moment) -> Next {
        self.vmm_exit = Some(exit);
        match self.state {
            State::Streaming { .. } => {
                // Its EOF comes with its end, unless another process holds the socket too.
                self.exit_grace = Some(now + limits::LEAVE_DEADLINE);
                Next::Wait
            }
            State::Dialing { .. } | State::Held => self.closed_by_exit().unwrap_or(Next::Wait),
            State::Leaving { .. } | State::Closed => Next::Wait,
        }
    }

    /// A moment that [`Vm::deadline`] named has come.
    pub fn on_timer(&mut self, now: Moment) -> Next {
        match self.state {
            State::Held | State::Closed => Next::Wait,
            State::Dialing { .. } if self.give_up.is_some_and(|limit| now >= limit) => {
                self.close(CloseReason::DialTimeout(self.last_failure))
            }
            State::Dialing { at } if at.is_some_and(|at| now >= at) => Next::Dial,
            State::Dialing { .. } => Next::Wait,
            State::Streaming { .. } => self.on_streaming_timer(now),
            State::Leaving { until } if now >= until => self.left(CloseReason::ReleasedUnanswered),
            State::Leaving { .. } => Next::Wait,
        }
    }

    fn on_streaming_timer(&mut self, now: Moment) -> Next {
        if self.exit_grace.is_some_and(|grace| now >= grace) {
            if self.on_exit == OnExit::Wait {
                self.exit_grace = None;
                return Next::Wait;
            }
            // Somebody else holds the console, a VMM behind a wrapper perhaps: it is left in order.
            self.state = State::Leaving { until: now + limits::LEAVE_DEADLINE };
            return Next::Leave;
        }
        if self.fetch_tail_at.is_some_and(|at| now >= at) {
            self.fetch_tail_at = None;
            return Next::FetchTail;
        }
        Next::Wait
    }

    /// Let go of it. Asking again changes nothing.
    pub fn on_release(&mut self, now: Moment) -> Next {
        match self.state {
            State::Held | State::Dialing { .. } => self.close(CloseReason::Released),
            State::Streaming { .. } => {
                self.state = State::Leaving { until: now + limits::LEAVE_DEADLINE };
                Next::Leave
            }
            State::Leaving { .. } | State::Closed => Next::Wait,
        }
    }

    /// Its launch failed, and what it had started is ended.
    pub fn on_launch_failed(&mut self, why: String) -> Next {
        self.close(CloseReason::LaunchFailed(why))
    }

    fn closed_by_exit(&mut self) -> Option<Next> {
        let exit = self.vmm_exit?;
        match self.on_exit {
            OnExit::Close => Some(self.close(CloseReason::VmmExited(exit))),
            OnExit::Wait => None,
        }
    }

    /// The end of leaving: by a release, or because the VMM has exited.
    fn left(&mut self, reason: CloseReason) -> Next {
        match self.vmm_exit.filter(|_| self.exit_grace.is_some()) {
            Some(exit) => self.close(CloseReason::VmmExited(exit)),
            None => self.close(reason),
        }
    }

    fn close(&mut self, reason: CloseReason) -> Next {
        self.state = State::Closed;
        Next::Close(reason)
    }
}
