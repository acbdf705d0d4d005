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
mod standing;

pub use saved::SavedVm;
pub use standing::State;

use super::backoff::{Jitter, step};
use super::close_reason::CloseReason;
use super::dial_failure::DialFailure;
use super::drain::{Drain, Drained};
use super::end::{After, EndCause, Reached, Recognised};
use super::passing::Passing;
use super::tail::Tail;
use crate::config::OnExit;
use crate::env::{Exit, Moment};
use crate::limits;
use standing::Standing;
use std::time::Duration;

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
    standing: Standing,
    tail: Tail,
    /// What is under way; `None`: nothing is.
    passing: Option<Box<Passing>>,
    /// Differs from VM to VM, so that their waits do.
    seed: u16,
    on_exit: OnExit,
    dial_tries: u8,
    displaced_tries: u8,
    /// Bytes have come on the connection there is.
    heard: bool,
    unserved: bool,
}

impl Vm {
    /// A VM that is dialed at once.
    pub fn new(on_exit: OnExit, dial_timeout: Option<Duration>, seed: u64, now: Moment) -> Self {
        let mut vm = Vm::held(on_exit, seed);
        vm.passing().dial_timeout = dial_timeout;
        vm.begin_dialing(now);
        vm
    }

    /// A VM whose launch has yet to come to the serial port: [`Vm::begin_dialing`] starts it.
    /// The launch bounds its connection.
    pub fn held(on_exit: OnExit, seed: u64) -> Self {
        Vm {
            standing: Standing::Held,
            tail: Tail::default(),
            passing: None,
            seed: seed as u16,
            on_exit,
            dial_tries: 0,
            displaced_tries: 0,
            heard: false,
            unserved: false,
        }
    }

    /// What is under way; from now on something may be.
    fn passing(&mut self) -> &mut Passing {
        self.passing.get_or_insert_default()
    }

    /// Gives the memory back if nothing is under way.
    fn settle(&mut self) {
        self.passing.take_if(|passing| **passing == Passing::default());
    }

    fn set(&mut self, state: State) {
        self.standing = state.into();
    }

    /// The first dial is due now; from now on its time is counted.
    pub fn begin_dialing(&mut self, now: Moment) {
        if self.state() == State::Closed {
            return;
        }
        self.set(State::Dialing { at: Some(now) });
        if let Some(passing) = &mut self.passing {
            passing.give_up = passing.dial_timeout.map(|limit| now + limit);
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.standing.into()
    }

    /// Why the last dial failed, while there is no connection.
    pub fn last_failure(&self) -> Option<DialFailure> {
        self.passing.as_ref()?.last_failure
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
        self.vmm_exit().is_some()
    }

    fn vmm_exit(&self) -> Option<Exit> {
        self.passing.as_ref()?.vmm_exit
    }

    /// What the last input has made plain, once. At most one thing an input.
    pub fn take_recognised(&mut self) -> Option<Recognised> {
        let recognised = self.passing.as_mut()?.recognised.take();
        self.settle();
        recognised
    }

    /// How a drain ended, once.
    pub fn take_drained(&mut self) -> Option<Drained> {
        let drained = self.passing.as_mut()?.drain.take();
        self.settle();
        drained
    }

    /// When [`Vm::on_timer`] is due; `None`: never. A VM that streams in silence has no timer.
    pub fn deadline(&self) -> Option<Moment> {
        let passing = self.passing.as_deref();
        let of = |deadline: fn(&Passing) -> Option<Moment>| passing.and_then(deadline);
        match self.state() {
            State::Held | State::Closed => None,
            State::Dialing { at } => {
                let (give_up, after) = (of(|p| p.give_up), of(|p| p.after.deadline()));
                [at, give_up, after].into_iter().flatten().min()
            }
            State::Leaving { until } => Some(until),
            State::Streaming { .. } => {
                let (grace, drain) = (of(|p| p.exit_grace), of(|p| p.drain.deadline()));
                [self.tail.deadline(), grace, of(|p| p.look_at), drain].into_iter().flatten().min()
            }
        }
    }

    /// The connection stands.
    pub fn on_dialed(&mut self, reached: Reached, now: Moment) -> Next {
        if self.state() == State::Closed {
            return Next::Wait;
        }
        self.set(State::Streaming { since: now });
        (self.heard, self.unserved) = (false, false);
        self.tail.on_dialed();
        let passing = self.passing();
        let recognised = passing.after.followed_by(reached);
        let (hurry_until, drain) = (passing.hurry_until, passing.drain);
        let look_at = Some(now + limits::UNHEARD_AFTER);
        *passing = Passing { recognised, hurry_until, drain, look_at, ..Passing::default() };
        Next::Wait
    }

    /// A dial failed. It is tried again, later each time; with nothing at a `watched` path only
    /// once [`Vm::on_path_appeared`] says so.
    pub fn on_dial_failed(&mut self, failure: DialFailure, watched: bool, now: Moment) -> Next {
        if self.state() == State::Closed {
            return Next::Wait;
        }
        self.passing().last_failure = Some(failure);
        if let Some(next) = self.closed_by_exit() {
            return next;
        }
        let waits_for_path = watched && failure == DialFailure::Absent;
        let at = if waits_for_path { None } else { Some(now + self.dial_wait(now)) };
        self.set(State::Dialing { at });
        Next::Wait
    }

    /// The directory watch reports that something may be at its path now.
    pub fn on_path_appeared(&mut self) -> Next {
        // A back-off that another client's displacement began is not cut short.
        if matches!(self.state(), State::Dialing { .. }) && self.last_failure().is_some() {
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
        self.on_exit = on_exit;
        let is_dialing = matches!(self.state(), State::Dialing { .. });
        let passing = self.passing();
        let limited = passing.give_up.zip(passing.dial_timeout);
        passing.dial_timeout = dial_timeout;
        if !is_dialing {
            self.settle();
            return Next::Wait;
        }
        let began = limited.map_or(now, |(end, limit)| end.saturating_sub(limit));
        passing.give_up = dial_timeout.map(|limit| began + limit);
        self.closed_by_exit().unwrap_or(Next::Wait)
    }

    /// One read brought bytes; `full`: as many as fit into CH's socket. More may then be held back
    /// in its ring, and if silence follows they are fetched by a new connection.
    pub fn on_bytes(&mut self, full: bool, now: Moment) {
        (self.heard, self.unserved) = (true, false);
        let streaming = matches!(self.standing, Standing::Streaming { .. });
        self.tail.on_bytes(full, streaming && !self.is_draining(), now);
        if let Some(passing) = &mut self.passing {
            (passing.look_at, passing.hurry_until) = (None, Moment::ZERO);
            passing.drain.on_bytes(full, now);
            self.settle();
        }
    }

    /// The new connection of [`Next::FetchTail`] could not be made; the stream there is goes on,
    /// and later it is tried again.
    pub fn on_tail_dial_failed(&mut self, now: Moment) {
        match &mut self.passing {
            // It may pass: a store without room, a full backlog. The drain has its own limit.
            Some(passing) if passing.drain.is_under_way() => passing.drain.on_dial_failed(now),
            _ => self.tail.on_dial_failed(now),
        }
    }

    fn is_draining(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.drain.is_under_way())
    }

    /// The old connection is at its end, and the new one takes its place.
    pub fn on_tail_switched(&mut self, now: Moment) {
        self.tail.on_switched(now);
        if let Some(passing) = &mut self.passing {
            passing.drain.on_switched(now);
        }
    }

    /// The VMM's ring is emptied, which ends with [`Vm::take_drained`] after `within` at the
    /// latest. `false`: there is no stream to empty it into.
    pub fn on_drain(&mut self, within: Duration, now: Moment) -> bool {
        if !matches!(self.standing, Standing::Streaming { .. }) {
            return false;
        }
        self.tail.leave_to_drain();
        let full = self.tail.is_full();
        self.passing().drain = Drain::begin(full, within, now);
        true
    }

    /// Whether a stream that ends now may take with it what CH held in its ring. One that is left
    /// in order does not: the ring waits for the next client.
    pub fn may_lose_upstream(&self, was_accepted: bool, now: Moment) -> bool {
        self.tail.may_be_lost(was_accepted, now)
            && matches!(self.standing, Standing::Streaming { .. })
    }

    /// The stream is at its end. While the VMM lives this is a reboot, a shutdown or another
    /// client; it is dialed again, without a time limit.
    pub fn on_eof(&mut self, cause: EndCause, now: Moment) -> Next {
        let State::Streaming { since } = self.state() else {
            return match self.state() {
                State::Leaving { .. } => self.left(CloseReason::Released),
                _ => Next::Wait,
            };
        };
        self.tail.on_dialed();
        self.unserved = false;
        let passing = self.passing();
        passing.drain.give_up(Drained::StreamOver);
        passing.look_at = None;
        if let Some(next) = self.closed_by_exit() {
            return next;
        }
        let passing = self.passing();
        passing.after = After::new(cause, now);
        if cause == EndCause::NeverAccepted {
            passing.recognised = Some(Recognised::NeverAccepted);
        }
        let lived = now.saturating_sub(since);
        if lived >= self.ours_after() {
            self.displaced_tries = 0;
        }
        if lived >= limits::SERVED_AFTER || self.heard {
            self.dial_tries = 0;
        }
        if self.heard && matches!(cause, EndCause::PathGone { vmm_lives: true }) {
            self.passing().hurry_until = now + limits::REBOOT_AWAITED;
        }
        let wait = match cause {
            EndCause::PathGone { .. } | EndCause::VmmExited if self.heard => Duration::ZERO,
            EndCause::PathUnchanged => self.displaced_wait(now),
            _ => self.dial_wait(now),
        };
        self.set(State::Dialing { at: Some(now + wait) });
        if wait.is_zero() { Next::Dial } else { Next::Wait }
    }

    fn dial_wait(&mut self, now: Moment) -> Duration {
        if self.passing.as_ref().is_some_and(|passing| now < passing.hurry_until) {
            return self.jitter(now).within(limits::DIAL_BACKOFF_MIN);
        }
        let (min, max) = (limits::DIAL_BACKOFF_MIN, limits::DIAL_BACKOFF_MAX);
        let wait = self.jitter(now).within(step(self.dial_tries, min, max));
        self.dial_tries = self.dial_tries.saturating_add(1);
        wait
    }

    /// By the time, and by what VMs whose time has come at once have not in common.
    fn jitter(&self, now: Moment) -> Jitter {
        Jitter::new(u64::from(self.seed) << 48 ^ now.as_nanos() as u64)
    }

    fn displaced_wait(&mut self, now: Moment) -> Duration {
        let step = displaced_step(self.displaced_tries);
        self.displaced_tries = self.displaced_tries.saturating_add(1);
        self.jitter(now).within(step)
    }

    /// How long a stream must live for the back-off of displacements to begin anew. One that lives
    /// no longer than the other reader's wait was not really ours: against one that backs off as we
    /// do, only twice our own wait shows that he has gone.
    fn ours_after(&self) -> Duration {
        let last = self.displaced_tries.checked_sub(1).map(displaced_step);
        limits::SERVED_AFTER.max(last.unwrap_or_default() * 2)
    }

    /// The VMM has exited. What it left in the socket is read first.
    pub fn on_vmm_exit(&mut self, exit: Exit, now: Moment) -> Next {
        let state = self.state();
        if state == State::Closed {
            return Next::Wait;
        }
        let passing = self.passing();
        if passing.vmm_exit.replace(exit).is_none() {
            passing.recognised = Some(Recognised::VmmExited(exit));
        }
        passing.after = After::Nothing;
        passing.drain.give_up(Drained::StreamOver);
        match state {
            State::Streaming { .. } => {
                // Its EOF comes with its end, unless another process holds the socket too.
                passing.exit_grace = Some(now + limits::LEAVE_DEADLINE);
                Next::Wait
            }
            State::Dialing { .. } | State::Held => self.closed_by_exit().unwrap_or(Next::Wait),
            State::Leaving { .. } | State::Closed => Next::Wait,
        }
    }

    /// A moment that [`Vm::deadline`] named has come.
    pub fn on_timer(&mut self, now: Moment) -> Next {
        let is_over = |limit: Option<Moment>| limit.is_some_and(|limit| now >= limit);
        match self.state() {
            State::Held | State::Closed => Next::Wait,
            State::Dialing { .. } if is_over(self.passing().give_up) => {
                self.close(CloseReason::DialTimeout(self.last_failure()))
            }
            State::Dialing { at } => {
                let passing = self.passing();
                if is_over(passing.after.deadline()) {
                    passing.after = After::ShutDown;
                    passing.recognised = Some(Recognised::ShutDown);
                }
                if is_over(at) { Next::Dial } else { Next::Wait }
            }
            State::Streaming { .. } => {
                let next = self.on_streaming_timer(now);
                self.settle();
                next
            }
            State::Leaving { until } if now >= until => self.left(CloseReason::ReleasedUnanswered),
            State::Leaving { .. } => Next::Wait,
        }
    }

    fn on_streaming_timer(&mut self, now: Moment) -> Next {
        let waits = self.on_exit == OnExit::Wait;
        let Some(passing) = &mut self.passing else {
            return if self.tail.is_due(now) { Next::FetchTail } else { Next::Wait };
        };
        if passing.exit_grace.is_some_and(|grace| now >= grace) {
            if waits {
                passing.exit_grace = None;
                return Next::Wait;
            }
            // Somebody else holds the console, a VMM behind a wrapper perhaps: it is left in order.
            self.set(State::Leaving { until: now + limits::LEAVE_DEADLINE });
            return Next::Leave;
        }
        if passing.look_at.is_some_and(|at| now >= at) {
            (passing.look_at, passing.hurry_until) = (None, Moment::ZERO);
            return Next::LookForThread;
        }
        if passing.drain.on_timer(now) || self.tail.is_due(now) {
            return Next::FetchTail;
        }
        Next::Wait
    }

    /// [`Next::LookForThread`] found that the VMM's serial thread is gone. In a VM that is just
    /// being ended it is gone for a moment too, so only the second look tells.
    pub fn on_thread_gone(&mut self, now: Moment) {
        if !matches!(self.state(), State::Streaming { .. }) || self.heard {
            return;
        }
        let passing = self.passing();
        if std::mem::replace(&mut passing.suspected, true) {
            passing.recognised = Some(Recognised::Unserved);
            self.unserved = true;
        } else {
            passing.look_at = Some(now + limits::UNSERVED_CONFIRMED_AFTER);
        }
    }

    /// Let go of it. Asking again changes nothing.
    pub fn on_release(&mut self, now: Moment) -> Next {
        match self.state() {
            State::Held | State::Dialing { .. } => self.close(CloseReason::Released),
            State::Streaming { .. } => {
                self.passing().drain.give_up(Drained::StreamOver);
                self.set(State::Leaving { until: now + limits::LEAVE_DEADLINE });
                Next::Leave
            }
            State::Leaving { .. } | State::Closed => Next::Wait,
        }
    }

    /// Our side is shut down at last: the wait for the EOF begins now. A process that was stopped
    /// on its way there would else find it over.
    pub fn on_shut_down(&mut self, now: Moment) {
        if matches!(self.standing, Standing::Leaving { .. }) {
            self.set(State::Leaving { until: now + limits::LEAVE_DEADLINE });
        }
    }

    /// Its launch failed, and what it had started is ended.
    pub fn on_launch_failed(&mut self, why: String) -> Next {
        self.close(CloseReason::LaunchFailed(why))
    }

    fn closed_by_exit(&mut self) -> Option<Next> {
        let exit = self.vmm_exit()?;
        match self.on_exit {
            OnExit::Close => Some(self.close(CloseReason::VmmExited(exit))),
            OnExit::Wait => None,
        }
    }

    /// The end of leaving: by a release, or because the VMM has exited.
    fn left(&mut self, reason: CloseReason) -> Next {
        let graced = self.passing.as_ref().filter(|passing| passing.exit_grace.is_some());
        match graced.and_then(|passing| passing.vmm_exit) {
            Some(exit) => self.close(CloseReason::VmmExited(exit)),
            None => self.close(reason),
        }
    }

    fn close(&mut self, reason: CloseReason) -> Next {
        self.set(State::Closed);
        Next::Close(reason)
    }
}

fn displaced_step(tries: u8) -> Duration {
    step(tries, limits::DISPLACED_BACKOFF_MIN, limits::DISPLACED_BACKOFF_MAX)
}
