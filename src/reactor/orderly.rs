//! The end of a VM, or its snapshot, in order: paused, the VMM's ring emptied, and only then asked
//! for.
//!
//! Owns the steps that an embedder's call is made of.
//! **Invariant:** the steps of one VM are taken one by one, in order; a drain that is over, however
//! it ended, lets them go on; a guest that we paused does not stay so because a call failed.
//!
//! What sits in the ring of CH v53 dies with vm.shutdown, and is in no snapshot (measured: 90247
//! bytes lost).

use super::Reactor;
use super::exchange::NoAnswer;
use super::key::Key;
use super::report::{EventKind, VmId};
use crate::ch::api::{Call, Reply};
use crate::env::{Env, Moment};
use crate::limits;
use crate::vm::{Drained, Next, State};
use std::time::Duration;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Launch,
    Embedder,
    /// A client of our own API.
    Request,
    /// The steps around such a one's question.
    Steps,
}

impl Asker {
    /// He is told what came of it.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Asker::Embedder | Asker::Request)
    }
}

/// What is asked, by whom, and how long it may take; what only reads has a deadline of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(super) call: Call,
    pub(super) asker: Asker,
    pub(super) within: Option<Duration>,
}

impl Question {
    /// One that nobody has given another deadline.
    pub(super) fn new(call: Call, asker: Asker) -> Question {
        // How long a launch may take is said of all of it.
        let within = (asker != Asker::Launch).then_some(limits::API_OPERATION_DEADLINE);
        Question { call, asker, within }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Stop the guest, if its console streams. That it can't be stopped is no failure.
    Pause,
    /// Empty the ring.
    Drain,
    /// Put the question that all of it is about.
    Ask(Question),
    /// Let the guest run on if we had paused it and the question failed.
    ResumeAfterFailure,
    /// Let it run on if we had paused it.
    Resume,
}

/// What the steps have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whose drain is under way.
    draining: Option<Asker>,
    /// We have paused the guest.
    paused: bool,
    /// The last question failed.
    failed: bool,
}

impl Progress {
    pub(super) const NONE: Self = Progress { draining: None, paused: false, failed: false };

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }
}

fn steps_of(question: Question) -> Vec<Step> {
    match question.call {
        Call::Shutdown | Call::Delete | Call::VmmShutdown => {
            vec![Step::Pause, Step::Drain, Step::Ask(question), Step::ResumeAfterFailure]
        }
        // CH takes a snapshot only of a guest that is paused already.
        Call::Snapshot(_) => vec![Step::Drain, Step::Ask(question)],
        _ => vec![Step::Ask(question)],
    }
}

impl<E: Env> Reactor<E> {
    /// Puts a question to the VMM's API, behind those under way; the answer is an event.
    /// `false`: the VM is gone, or [`limits::API_QUEUE_MAX`] questions wait already.
    ///
    /// What ends the guest ([`Call::Shutdown`], [`Call::Delete`], [`Call::VmmShutdown`]) is asked
    /// once the guest is paused and its VMM's ring is in the log; so is [`Call::Snapshot`], whose
    /// guest the embedder has paused. A call that CH does not answer in
    /// [`limits::API_OPERATION_DEADLINE`] has failed, whatever comes of it later.
    pub fn call(&mut self, vm: VmId, call: Call) -> bool {
        self.take_steps(vm, steps_of(Question::new(call, Asker::Embedder)))
    }

    /// Pauses the guest, brings what the VMM holds back into the log, takes a snapshot into `url`
    /// (such as `file:///var/lib/vms/a/snapshot`) and lets the guest run on. What came of the
    /// snapshot is an `Answered` event for `vm.snapshot`. `false`: as [`Reactor::call`].
    pub fn snapshot(&mut self, vm: VmId, url: &str) -> bool {
        self.take_snapshot(vm, Question::new(Call::snapshot_to(url), Asker::Embedder))
    }

    pub(super) fn take_snapshot(&mut self, vm: VmId, question: Question) -> bool {
        let ask = Step::Ask(question);
        self.take_steps(vm, vec![Step::Pause, Step::Drain, ask, Step::Resume])
    }

    /// As [`Reactor::call`], for anybody.
    pub(super) fn question(&mut self, vm: VmId, question: Question) -> bool {
        self.take_steps(vm, steps_of(question))
    }

    fn take_steps(&mut self, vm: VmId, steps: Vec<Step>) -> bool {
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(vm.0).filter(|slot| !slot.closing) else {
            return false;
        };
        let questions =
            slot.aside.questions.asked.iter().filter(|step| matches!(step, Step::Ask(_))).count();
        if questions >= limits::API_QUEUE_MAX {
            return false;
        }
        slot.aside.questions.asked.extend(steps);
        self.ask_next(vm.0, now);
        true
    }

    /// Takes the next steps, as long as nothing is under way.
    pub(super) fn ask_next(&mut self, key: Key, now: Moment) {
        loop {
            let Some(slot) = self.table.get_mut(key) else { return };
            let stopping =
                slot.aside.launch.as_ref().is_some_and(|part| part.machine.is_stopping());
            if slot.aside.questions.exchange.is_some()
                || slot.aside.questions.progress.draining.is_some()
                || stopping
            {
                return;
            }
            let streaming = matches!(slot.vm.state(), State::Streaming { .. });
            let Some(step) = slot.aside.questions.asked.pop_front() else { return };
            let progress = &mut slot.aside.questions.progress;
            let quiet = match step {
                Step::Pause => {
                    (progress.paused, progress.failed) = (false, false);
                    streaming.then_some(Call::Pause)
                }
                Step::Drain => {
                    let next = slot.aside.questions.asked.front();
                    let paused_by_others = next.is_some_and(|step| match step {
                        Step::Ask(question) => matches!(question.call, Call::Snapshot(_)),
                        _ => false,
                    });
                    let within = if slot.aside.questions.progress.paused || paused_by_others {
                        limits::DRAIN_DEADLINE
                    } else {
                        limits::DRAIN_DEADLINE_UNPAUSED
                    };
                    self.begin_drain(key, within, Asker::Embedder, now);
                    continue;
                }
                Step::Ask(question) => {
                    let (name, asker) = (question.call.name(), question.asker);
                    match self.ask(key, question, now) {
                        Ok(()) => return,
                        Err(why) => {
                            let why = NoAnswer::Unreachable(why);
                            self.on_own_answer(key, asker, name, Err(why));
                        }
                    }
                    continue;
                }
                Step::ResumeAfterFailure => {
                    let due = progress.paused && progress.failed;
                    progress.paused = false;
                    due.then_some(Call::Resume)
                }
                Step::Resume => std::mem::take(&mut progress.paused).then_some(Call::Resume),
            };
            let Some(call) = quiet else { continue };
            let name = call.name();
            if let Err(why) = self.ask(key, Question::new(call, Asker::Steps), now) {
                self.on_step_answer(key, name, Err(why));
            }
        }
    }

    /// The answer to a question of the embedder's, or of a client of our own API.
    pub(super) fn on_own_answer(
        &mut self,
        key: Key,
        asker: Asker,
        name: &'static str,
        answer: Result<Reply, NoAnswer>,
    ) {
        if let Some(slot) = self.table.get_mut(key) {
            slot.aside.questions.progress.failed = answer.is_err();
        }
        if asker == Asker::Request {
            self.on_request_answer(key, answer.as_ref().err());
        }
        let answer = answer.map_err(|why| why.to_string());
        self.tell(key, EventKind::Answered(name, answer));
    }

    /// The answer to a pause or a resume that we asked for.
    pub(super) fn on_step_answer(
        &mut self,
        key: Key,
        name: &'static str,
        answer: Result<Reply, String>,
    ) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let id = slot.id();
        let pausing = name == Call::Pause.name();
        match answer {
            Ok(_) => slot.aside.questions.progress.paused = pausing,
            Err(why) if pausing => ::log::debug!("VM {id}: not paused: {why}"),
            Err(why) => ::log::warn!("VM {id}: its guest was paused, and is left so: {why}"),
        }
    }

    /// Begins to empty the VMM's ring; where there is no stream, that is done.
    pub(super) fn begin_drain(&mut self, key: Key, within: Duration, who: Asker, now: Moment) {
        // What lies in the socket comes first: it says whether the ring may hold more.
        self.pump(key, now);
        let Some(slot) = self.table.get_mut(key) else { return };
        if slot.stream.is_some() && !slot.foreign && slot.vm.on_drain(within, now) {
            slot.aside.questions.progress.draining = Some(who);
        } else if who == Asker::Launch {
            let next = self.with_launch(key, |launch| launch.on_drained(now));
            self.apply_launch(key, next, now);
            return;
        }
        self.enqueue(key);
        self.apply(key, Next::Wait, now);
    }

    /// Goes on once a drain is over, if one is.
    pub(super) fn go_on_drained(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let Some(outcome) = slot.vm.take_drained() else { return };
        let who = slot.aside.questions.progress.draining.take();
        if outcome == Drained::Incomplete {
            self.tell_possible_loss(key, "what its VMM held back could not all be fetched in time");
        }
        if who == Some(Asker::Launch) {
            let next = self.with_launch(key, |launch| launch.on_drained(now));
            self.apply_launch(key, next, now);
        }
        self.ask_next(key, now);
    }
}
