//! One question to a VMM's API and its answer: a connection of its own, in the loop.
//!
//! Owns the connection, what is yet to be sent and the parser of the answer.
//! **Invariant:** a VM has at most one under way (CH serves ten connections, and its one API
//! thread answers in order anyway); it ends with an answer, an error or its deadline.

use super::Reactor;
use super::key::{Key, Kind};
use super::orderly::{Asker, Step};
use super::timers::Clock;
use crate::ch::api::{self, Call};
use crate::ch::http::{Fed, Response, ResponseParser};
use crate::env::{Env, Interest, Moment};
use crate::limits;
use crate::vm::DialFailure;
use std::io;

pub(crate) struct Exchange<S> {
    stream: S,
    call: Call,
    asker: Asker,
    request: Vec<u8>,
    sent: usize,
    parser: ResponseParser,
    deadline: Option<Moment>,
}

impl<S> Exchange<S> {
    pub(super) fn name(&self) -> &'static str {
        self.call.name()
    }
}

impl<E: Env> Reactor<E> {
    /// Puts a question. One under way is given up: only a launch asks over another.
    pub(super) fn ask(
        &mut self,
        key: Key,
        call: Call,
        asker: Asker,
        now: Moment,
    ) -> Result<(), String> {
        let name = call.name();
        let Some(slot) = self.table.get_mut(key) else { return Ok(()) };
        let interrupted = slot.aside.questions.exchange.take();
        if let Some(Exchange { call, asker: Asker::Embedder, .. }) = interrupted {
            self.on_own_answer(key, call.name(), Err(format!("{}: given up", call.name())));
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
        let deadline = call.deadline().map(|limit| now + limit);
        let parser = ResponseParser::new();
        slot.aside.questions.exchange =
            Some(Exchange { stream, call, asker, request, sent: 0, parser, deadline });
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
                Ok(0) => parser.on_eof().map_err(|error| error.to_string()),
                Ok(n) => {
                    budget -= n;
                    match parser.feed(&scratch[..n]) {
                        Ok(Fed::More) => continue,
                        Ok(Fed::Done { response, .. }) => Ok(response),
                        Err(error) => Err(error.to_string()),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => Err(error.to_string()),
            };
            return self.finish_exchange(key, outcome, now);
        }
        slot.ready.api = true;
    }

    /// The deadline of the exchange has come.
    pub(super) fn on_exchange_deadline(&mut self, key: Key, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let due = slot
            .aside
            .questions
            .exchange
            .as_ref()
            .is_some_and(|e| e.deadline.is_some_and(|at| now >= at));
        if due {
            let limit = limits::API_QUERY_DEADLINE.as_secs();
            self.finish_exchange(key, Err(format!("no answer in {limit} s")), now);
        } else {
            self.timers.set(slot.armed(Clock::Call), key, Clock::Call, None);
        }
    }

    fn finish_exchange(&mut self, key: Key, outcome: Result<Response, String>, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let Some(exchange) = slot.aside.questions.exchange.take() else { return };
        slot.ready.api = false;
        self.timers.set(slot.armed(Clock::Call), key, Clock::Call, None);
        let call = &exchange.call;
        let answer = match outcome {
            Ok(response) => api::interpret(call, response).map_err(|error| error.to_string()),
            Err(error) => Err(format!("{}: {error}", call.name())),
        };
        let (asker, name) = (exchange.asker, call.name());
        drop(exchange);
        match asker {
            Asker::Launch => self.on_launch_answer(key, answer, now),
            Asker::Embedder => self.on_own_answer(key, name, answer),
            Asker::Steps => self.on_step_answer(key, name, answer),
        }
        self.ask_next(key, now);
    }

    /// The VMM is being ended, or the VM closed: what is asked or waits to be asked is answered so.
    pub(super) fn give_up_questions(&mut self, key: Key) {
        let Some(slot) = self.table.get_mut(key) else { return };
        self.timers.set(slot.armed(Clock::Call), key, Clock::Call, None);
        let asked = slot
            .aside
            .questions
            .exchange
            .take()
            .filter(|exchange| exchange.asker == Asker::Embedder);
        let asked = asked.map(|exchange| exchange.call);
        let waiting = std::mem::take(&mut slot.aside.questions.asked).into_iter().filter_map(
            |step| match step {
                Step::Ask(call) => Some(call),
                _ => None,
            },
        );
        for call in asked.into_iter().chain(waiting) {
            self.on_own_answer(key, call.name(), Err(format!("{}: given up", call.name())));
        }
    }
}
