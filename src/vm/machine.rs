//! The machine of one VM's serial stream: dialing, streaming, leaving, closed.
//!
//! Owns the state, the back-offs and the deadlines of one VM.
//! **Invariant:** every moment at which it wants to be called lies in [`Vm::deadline`]; once
//! closed, nothing changes it. An EOF never closes a VM whose VMM lives.
//!
//! What each input makes of each state; `-`: nothing, `n/a`: it is not given there. A VMM's exit
//! closes a VM with on_exit "close"; with "wait" (in brackets) it is told and nothing else.
//!
//! | input | Held | Dialing | Streaming | Leaving | Closed |
//! |---|---|---|---|---|---|
//! | begin_dialing | Dialing | Dialing | n/a | n/a | n/a |
//! | dialed | Streaming | Streaming | n/a | n/a | - |
//! | dial_failed | n/a | Dialing, later | n/a | n/a | - |
//! | bytes | - | - | full: a tail is due | - | - |
//! | eof, path gone | - | - | Dialing, at once | Closed | - |
//! | eof, else | - | - | Dialing, later | Closed | - |
//! | eof, VMM gone | n/a | n/a | Closed [Dialing] | Closed | n/a |
//! | vmm_exit | Closed [-] | Closed [-] | Leaving in 1 s [-] | - | - |
//! | timer: dial | - | Dial | n/a | n/a | - |
//! | timer: limit | - | Closed | n/a | Closed | - |
//! | timer: shutdown | - | told | n/a | n/a | - |
//! | timer: tail | - | n/a | FetchTail | n/a | - |
//! | timer: unheard | - | n/a | LookForThread | n/a | - |
//! | thread_gone | - | - | looked again, then told | - | - |
//! | drain | refused | refused | FetchTail until empty | refused | refused |
//! | tail_switched | - | - | the new stream goes on | - | - |
//! | release | Closed | Closed | Leaving | - | - |
//! | shut_down | - | - | - | Leaving, the limit anew | - |

mod saved;

pub use saved::SavedVm;

use super::backoff::{Jitter, step};
use super::close_reason::CloseReason;
use super::dial_failure::DialFailure;
use super::drain::{Drain, Drained};
use super::end::{After, EndCause, Reached, Recognised};
use super::tail::Tail;
use crate::config::OnExit;
use crate::env::{Exit, Moment};
use crate::limits;
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

/// What the reactor is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing now.
    Wait,
    /// Connect.
    Dial,
    /// Connect once more beside the stream there is, so that CH displaces it and empties its ring.
    FetchTail,
    /// Nothing was ever heard: look whether the VMM has a thread that serves the console.
    LookForThread,
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
    /// How long a stream must live for the back-off of displacements to begin anew.
    ours_after: Duration,
    /// A reboot binds its path within milliseconds: until then dials do not come later each time.
    hurry_until: Moment,
    last_failure: Option<DialFailure>,
    /// The VMM's end, once it is known.
    vmm_exit: Option<Exit>,
    exit_grace: Option<Moment>,
    tail: Tail,
    drain: Drain,
    /// Bytes have come on the connection there is.
    heard: bool,
    /// Nothing was heard on this connection yet: when the VMM's threads are looked at.
    look_at: Option<Moment>,
    /// One look has found no serial thread.
    suspected: bool,
    unserved: bool,
    after: After,
    recognised: Option<Recognised>,
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
            ours_after: limits::SERVED_AFTER,
            hurry_until: Moment::ZERO,
            last_failure: None,
            vmm_exit: None,
            exit_grace: None,
            tail: Tail::default(),
            drain: Drain::No,
            heard: false,
            look_at: None,
            suspected: false,
            unserved: false,
            after: After::Nothing,
            recognised: None,
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
        if self.state == State::Closed {
            return;
        }
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

    /// Connected to a VMM that serves its console no more.
    pub fn is_unserved(&self) -> bool {
        self.unserved
    }

    /// Bytes have come on the connection there is.
    pub fn has_heard(&self) -> bool {
        self.heard
    }

    /// The VMM's exit is known, and no successor was reached yet.
    pub fn has_exited(&self) -> bool {
        self.vmm_exit.is_some()
    }

    /// What the last input has made plain, once. At most one thing an input.
    pub fn take_recognised(&mut self) -> Option<Recognised> {
        self.recognised.take()
    }

    /// How a drain ended, once.
    pub fn take_drained(&mut self) -> Option<Drained> {
        self.drain.take()
    }

    /// When [`Vm::on_timer`] is due; `None`: never. A VM that streams in silence has no timer.
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Held | State::Closed => None,
            State::Dialing { at } => {
                [at, self.give_up, self.after.deadline()].into_iter().flatten().min()
            }
            State::Leaving { until } => Some(until),
            State::Streaming { .. } => {
                let drain = self.drain.deadline();
                [self.tail.deadline(), self.exit_grace, self.look_at, drain]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }

    /// The connection stands.
    pub fn on_dialed(&mut self, reached: Reached, now: Moment) -> Next {
        if self.state == State::Closed {
            return Next::Wait;
        }
        self.state = State::Streaming { since: now };
        self.give_up = None;
        self.dial_timeout = None;
        self.last_failure = None;
        self.vmm_exit = None;
        self.exit_grace = None;
        self.heard = false;
        self.look_at = Some(now + limits::UNHEARD_AFTER);
        self.suspected = false;
        self.unserved = false;
        self.tail.on_dialed();
        self.recognised = self.after.followed_by(reached);
        Next::Wait
    }

    /// A dial failed. It is tried again, later each time; with nothing at a `watched` path only
    /// once [`Vm::on_path_appeared`] says so.
    pub fn on_dial_failed(&mut self, failure: DialFailure, watched: bool, now: Moment) -> Next {
        if self.state == State::Closed {
            return Next::Wait;
        }
        self.last_failure = Some(failure);
        if let Some(next) = self.closed_by_exit() {
            return next;
        }
        let waits_for_path = watched && failure == DialFailure::Absent;
        let at = if waits_for_path { None } else { Some(now + self.dial_wait(now)) };
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
        (self.heard, self.unserved, self.look_at) = (true, false, None);
        let streaming = matches!(self.state, State::Streaming { .. });
        self.tail.on_bytes(full, streaming && !self.drain.is_under_way(), now);
        self.drain.on_bytes(full, now);
    }

    /// The new connection of [`Next::FetchTail`] could not be made; the stream there is goes on,
    /// and later it is tried again.
    pub fn on_tail_dial_failed(&mut self, now: Moment) {
        if self.drain.is_under_way() {
            // It may pass: a store without room, a full backlog. The drain has its own limit.
            self.drain.on_dial_failed(now);
        } else {
            self.tail.on_dial_failed(now);
        }
    }

    /// The old connection is at its end, and the new one takes its place.
    pub fn on_tail_switched(&mut self, now: Moment) {
        self.tail.on_switched(now);
        self.drain.on_switched(now);
    }

    /// The VMM's ring is emptied, which ends with [`Vm::take_drained`] after `within` at the
    /// latest. `false`: there is no stream to empty it into.
    pub fn on_drain(&mut self, within: Duration, now: Moment) -> bool {
        if !matches!(self.state, State::Streaming { .. }) {
            return false;
        }
        self.tail.leave_to_drain();
        self.drain = Drain::begin(self.tail.is_full(), within, now);
        true
    }

    /// Whether a stream that ends now may take with it what CH held in its ring. One that is left
    /// in order does not: the ring waits for the next client.
    pub fn may_lose_upstream(&self, now: Moment) -> bool {
        self.tail.may_be_lost(now) && matches!(self.state, State::Streaming { .. })
    }

    /// The stream is at its end. While the VMM lives this is a reboot, a shutdown or another
    /// client; it is dialed again, without a time limit.
    pub fn on_eof(&mut self, cause: EndCause, now: Moment) -> Next {
        let State::Streaming { since } = self.state else {
            return match self.state {
                State::Leaving { .. } => self.left(CloseReason::Released),
                _ => Next::Wait,
            };
        };
        self.tail.on_dialed();
        self.drain.give_up(Drained::StreamOver);
        (self.look_at, self.unserved) = (None, false);
        if let Some(next) = self.closed_by_exit() {
            return next;
        }
        self.after = After::new(cause, now);
        if cause == EndCause::NeverAccepted {
            self.recognised = Some(Recognised::NeverAccepted);
        }
        let lived = now.saturating_sub(since);
        if lived >= self.ours_after {
            (self.displaced_tries, self.ours_after) = (0, limits::SERVED_AFTER);
        }
        if lived >= limits::SERVED_AFTER || self.heard {
            self.dial_tries = 0;
        }
        if self.heard && matches!(cause, EndCause::PathGone { vmm_lives: true }) {
            self.hurry_until = now + limits::REBOOT_AWAITED;
        }
        let wait = match cause {
            EndCause::PathGone { .. } | EndCause::VmmExited if self.heard => Duration::ZERO,
            EndCause::PathUnchanged => self.displaced_wait(),
            _ => self.dial_wait(now),
        };
        self.state = State::Dialing { at: Some(now + wait) };
        if wait.is_zero() { Next::Dial } else { Next::Wait }
    }

    fn dial_wait(&mut self, now: Moment) -> Duration {
        if now < self.hurry_until {
            return self.jitter.within(limits::DIAL_BACKOFF_MIN);
        }
        let (min, max) = (limits::DIAL_BACKOFF_MIN, limits::DIAL_BACKOFF_MAX);
        let wait = self.jitter.within(step(self.dial_tries, min, max));
        self.dial_tries = self.dial_tries.saturating_add(1);
        wait
    }

    /// A stream that lives no longer than the other reader's wait was not really ours: against
    /// one that backs off as we do, only twice our own wait shows that he has gone.
    fn displaced_wait(&mut self) -> Duration {
        let (min, max) = (limits::DISPLACED_BACKOFF_MIN, limits::DISPLACED_BACKOFF_MAX);
        let step = step(self.displaced_tries, min, max);
        self.displaced_tries = self.displaced_tries.saturating_add(1);
        self.ours_after = limits::SERVED_AFTER.max(step * 2);
        self.jitter.within(step)
    }

    /// The VMM has exited. What it left in the socket is read first.
    pub fn on_vmm_exit(&mut self, exit: Exit, now: Moment) -> Next {
        if self.state == State::Closed {
            return Next::Wait;
        }
        if self.vmm_exit.replace(exit).is_none() {
            self.recognised = Some(Recognised::VmmExited(exit));
        }
        self.after = After::Nothing;
        self.drain.give_up(Drained::StreamOver);
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
            State::Dialing { at } => {
                if self.after.deadline().is_some_and(|deadline| now >= deadline) {
                    self.after = After::ShutDown;
                    self.recognised = Some(Recognised::ShutDown);
                }
                if at.is_some_and(|at| now >= at) { Next::Dial } else { Next::Wait }
            }
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
        if self.look_at.is_some_and(|at| now >= at) {
            self.look_at = None;
            return Next::LookForThread;
        }
        if self.drain.on_timer(now) || self.tail.is_due(now) {
            return Next::FetchTail;
        }
        Next::Wait
    }

    /// [`Next::LookForThread`] found that the VMM's serial thread is gone. In a VM that is just
    /// being ended it is gone for a moment too, so only the second look tells.
    pub fn on_thread_gone(&mut self, now: Moment) {
        if !matches!(self.state, State::Streaming { .. }) || self.heard {
            return;
        }
        if self.suspected {
            self.unserved = true;
            self.recognised = Some(Recognised::Unserved);
        } else {
            self.suspected = true;
            self.look_at = Some(now + limits::UNSERVED_CONFIRMED_AFTER);
        }
    }

    /// Let go of it. Asking again changes nothing.
    pub fn on_release(&mut self, now: Moment) -> Next {
        match self.state {
            State::Held | State::Dialing { .. } => self.close(CloseReason::Released),
            State::Streaming { .. } => {
                self.drain.give_up(Drained::StreamOver);
                self.state = State::Leaving { until: now + limits::LEAVE_DEADLINE };
                Next::Leave
            }
            State::Leaving { .. } | State::Closed => Next::Wait,
        }
    }

    /// Our side is shut down at last: the wait for the EOF begins now. A process that was stopped
    /// on its way there would else find it over.
    pub fn on_shut_down(&mut self, now: Moment) {
        if let State::Leaving { until } = &mut self.state {
            *until = now + limits::LEAVE_DEADLINE;
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
