//! One question to a VMM's API and its answer: a connection of its own, in the loop.
//!
//! Owns the connection, what is yet to be sent and the parser of the answer.
//! **Invariant:** a VM has at most one under way (CH serves ten connections, and its one API
//! thread answers in order anyway); it ends with an answer, an error or its deadline.

use super::Reactor;
use super::key::{Key, Kind};
use super::orderly::{Asker, Question, Step};
use super::timers::Clock;
use crate::ch::api::{self, Call};
use crate::ch::http::{Fed, Response, ResponseParser};
use crate::env::{Env, Interest, Moment};
use crate::limits;
use crate::vm::DialFailure;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a question was not answered as it was hoped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The VMM has refused it, or has answered what makes no sense.
    Refused(String),
    /// There was nobody to be asked, or he went away.
    Unreachable(String),
    /// There was none in time.
    Late(String),
    /// Its VM came to its end first, or a launch had something to ask.
    GivenUp(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Refused(why)
            | NoAnswer::Unreachable(why)
            | NoAnswer::Late(why)
            | NoAnswer::GivenUp(why) => f.write_str(why),
        }
    }
}

fn given_up(call: &Call) -> NoAnswer {
    NoAnswer::GivenUp(format!("{}: given up", call.name()))
}

pub(crate) struct Exchange<S> {
    stream: S,
    call: Call,
    asker: Asker,
    request: Vec<u8>,
    sent: usize,
    parser: ResponseParser,
    /// How long it may take, and until when.
    limit: Option<(Duration, Moment)>,
}

impl<S> Exchange<S> {
    pub(super) fn name(&self) -> &'static str {
        self.call.name()
    }
}

impl<E: Env> Reactor<E> {
    /// Puts a question. One under way is given up: only a launch asks over another.
    pub(super) fn ask(&mut self, key: Key, question: Question, now: Moment) -> Result<(), String> {
        let Question { call, asker, within } = question;
        let name = call.name();
        let Some(slot) = self.table.get_mut(key) else { return Ok(()) };
        let interrupted = slot.aside.questions.exchange.take();
        if let Some(Exchange { call, asker, .. }) = interrupted.filter(|one| one.asker.is_own()) {
            self.on_own_answer(key, asker, call.name(), Err(given_up(&call)));
        }
        let Some(slot) = self.table.get_mut(key) else { return Ok(()) };
        let Some(path) = &slot.api() else {
            return Err(format!("{name}: no api path is known"));
        };
        let request = call.request().encode().map_err(|error| format!("{name}: {error}"))?;
        let (expected, token) = (slot.expect_uid(), key.token(Kind::Api));
        let connected = self.env.connect(path, expected, token, Interest::ReadWrite);
        let (stream, _) = connected
            .map_err(|error| format!("{name}: cannot connect to {}: {error}", path.display()))?;
        if let Some(wanted) = expected
            && let is = self.env.peer(&stream).map_or(u32::MAX, |peer| peer.uid)
            && is != wanted
        {
            // A connection to an API may simply be closed.
            let (path, failure) = (path.display(), DialFailure::Stranger { is, wanted });
            return Err(format!("{name}: cannot connect to {path}: {failure}"));
        }
        if let (Asker::Launch, Some(vmm), Some(part)) =
            (asker, &slot.process, &mut slot.aside.launch)
            && let Some(pid) = self.env.peer_pid(&stream)
            && !self.env.is_of(vmm, pid)
        {
            // Somebody bound the path before our VMM could: his VM is not ours to configure.
            part.api_is_anothers = true;
            let path = path.display();
            return Err(format!("{name}: {path} is answered by process {pid}, not by our VMM"));
        }
        let limit = call.deadline().or(within).map(|within| (within, now + within));
        let deadline = limit.map(|(_, at)| at);
        let parser = ResponseParser::new();
        slot.aside.questions.exchange =
            Some(Exchange { stream, call, asker, request, sent: 0, parser, limit });
        self.timers.set(slot.armed(Clock::Call), key, Clock::Call, deadline);
        slot.ready.api = true;
        self.enqueue(key);
        Ok(())
    }

    /// Moves the exchange on as far as it goes without waiting.
    pub(super) fn exchange_io(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        slot.ready.api = false;
        let Some(exchange) = &mut slot.aside.questions.exchange else { return };
        while exchange.sent < exchange.request.len() {
            match self.env.send(&exchange.stream, &exchange.request[exchange.sent..]) {
                Ok(n) => exchange.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An unasked 503 (eleven connections) is to be read before a broken pipe counts.
                Err(_) => exchange.sent = exchange.request.len(),
            }
        }
        let mut budget = limits::TURN_BUDGET;
        for _ in 0..limits::READS_A_TURN {
            if budget == 0 {
                break;
            }
            let (parser, scratch) = (&mut exchange.parser, &mut self.scratch[..budget]);
            let outcome = match self.env.read(&exchange.stream, scratch) {
                Ok(0) => parser.on_eof().map_err(|error| NoAnswer::Unreachable(error.to_string())),
                Ok(n) => {
                    budget -= n;
                    match parser.feed(&scratch[..n]) {
                        Ok(Fed::More) => continue,
                        Ok(Fed::Done { response, .. }) => Ok(response),
                        Err(error) => Err(NoAnswer::Refused(error.to_string())),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => Err(NoAnswer::Unreachable(error.to_string())),
            };
            return self.finish_exchange(key, outcome, now);
        }
        slot.ready.api = true;
    }

    /// The deadline of the exchange has come.
    pub(super) fn on_exchange_deadline(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let limit = slot.aside.questions.exchange.as_ref().and_then(|exchange| exchange.limit);
        if let Some((within, _)) = limit.filter(|(_, at)| now >= *at) {
            let why = format!("no answer in {} s", within.as_secs());
            self.finish_exchange(key, Err(NoAnswer::Late(why)), now);
        } else {
            self.timers.set(slot.armed(Clock::Call), key, Clock::Call, None);
        }
    }

    fn finish_exchange(&mut self, key: Key, outcome: Result<Response, NoAnswer>, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let Some(exchange) = slot.aside.questions.exchange.take() else { return };
        slot.ready.api = false;
        self.timers.set(slot.armed(Clock::Call), key, Clock::Call, None);
        let call = &exchange.call;
        let during = |why: String| format!("{}: {why}", call.name());
        let answer = match outcome {
            Ok(response) => {
                api::interpret(call, response).map_err(|error| NoAnswer::Refused(error.to_string()))
            }
            Err(NoAnswer::Refused(why)) => Err(NoAnswer::Refused(during(why))),
            Err(NoAnswer::Unreachable(why)) => Err(NoAnswer::Unreachable(during(why))),
            Err(NoAnswer::Late(why)) => Err(NoAnswer::Late(during(why))),
            Err(NoAnswer::GivenUp(why)) => Err(NoAnswer::GivenUp(during(why))),
        };
        let (asker, name) = (exchange.asker, call.name());
        drop(exchange);
        let in_words = |why: NoAnswer| why.to_string();
        match asker {
            Asker::Launch => self.on_launch_answer(key, answer.map_err(in_words), now),
            Asker::Embedder | Asker::Request => self.on_own_answer(key, asker, name, answer),
            Asker::Steps => self.on_step_answer(key, name, answer.map_err(in_words)),
        }
        self.ask_next(key, now);
    }

    /// The VMM is being ended, or the VM closed: what is asked or waits to be asked is answered so.
    pub(super) fn give_up_questions(&mut self, key: Key) {
        let Some(slot) = self.table.get_mut(key) else { return };
        self.timers.set(slot.armed(Clock::Call), key, Clock::Call, None);
        let asked = slot.aside.questions.exchange.take().filter(|one| one.asker.is_own());
        let asked = asked.map(|exchange| (exchange.call, exchange.asker));
        let waiting = std::mem::take(&mut slot.aside.questions.asked).into_iter().filter_map(
            |step| match step {
                Step::Ask(question) => Some((question.call, question.asker)),
                _ => None,
            },
        );
        for (call, asker) in asked.into_iter().chain(waiting) {
            self.on_own_answer(key, asker, call.name(), Err(given_up(&call)));
        }
    }
}
