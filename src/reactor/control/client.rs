//! One client: its connection, what it has asked and what it is yet to be sent.
//!
//! Owns the stream, the bytes that are read and not yet understood, and those of one answer.
//! **Invariant:** the next request is looked at once the last one's answer is sent whole, so what
//! is held is a piece of input and a piece of output, whatever is pipelined.

use super::Reactor;
use super::answer::Answer;
use super::body::{Body, Made};
use crate::control::access::Role;
use crate::control::request::{Fed, RequestParser};
use crate::control::response::{self, Response, Status};
use crate::env::{Announced, Env, Moment, Sockets};
use crate::limits;
use crate::reactor::key::Key;
use crate::reactor::report::Clients;
use std::io;

/// What a client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Its next request.
    Request,
    /// The rest of one, that has begun to come.
    Rest,
    /// Room for its answer.
    Room,
}

impl Awaited {
    fn limit(self) -> Moment {
        match self {
            Awaited::Request => limits::CONTROL_IDLE_DEADLINE,
            Awaited::Rest => limits::CONTROL_REQUEST_DEADLINE,
            Awaited::Room => limits::CONTROL_ROOM_DEADLINE,
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// What he may do.
    pub role: Role,
    /// His user.
    pub uid: u32,
    /// His process; `None`: it is not of our pid namespace.
    pub pid: Option<u32>,
    /// Which client he is: `Control::enqueue` of this wakes a body that waits.
    pub key: Key,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// There is more to do at once.
    More,
    /// Its socket says when there is.
    Waits,
    /// It is done with.
    Gone,
}

/// What came of that for which a client waits.
enum Outcome {
    /// It is not known yet: its event queues the client.
    Awaited,
    Known(Response),
}

pub(super) struct Client<S> {
    stream: S,
    asker: Asker,
    parser: RequestParser,
    pub(super) input: Vec<u8>,
    output: Vec<u8>,
    /// So much of `output` is sent.
    sent: usize,
    /// The answer that is made piece by piece.
    pub(super) body: Option<Body>,
    /// Its answer is what comes of what it has asked for.
    outcome: Option<Outcome>,
    /// It sends nothing more: behind what it has sent lies the end.
    pub(super) has_hung_up: bool,
    /// The socket may hold bytes.
    readable: bool,
    queued: bool,
    /// It has taken nothing for too long, as far as the kernel has told.
    late: bool,
    /// Why it goes, where it writes into a console.
    pub(super) cause: &'static str,
    /// No other request follows: it is closed once all is sent.
    last: bool,
    /// What is waited for since when it may take until.
    awaited: Option<(Awaited, Moment)>,
    /// Its deadline, as it stands in the order of all.
    pub(super) armed: Option<Moment>,
}

impl<S> Client<S> {
    pub(super) fn new(stream: S, asker: Asker, now: Moment) -> Self {
        Client {
            stream,
            asker,
            parser: RequestParser::new(),
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            body: None,
            outcome: None,
            has_hung_up: false,
            cause: "closed",
            readable: true,
            queued: false,
            late: false,
            last: false,
            awaited: Some((Awaited::Request, now + Awaited::Request.limit())),
            armed: None,
        }
    }

    pub(super) fn mark(&mut self, what: Announced) {
        self.readable |= what.readable || what.ended;
        self.has_hung_up |= what.ended;
    }

    /// Notes that it is queued. `false`: it was.
    pub(super) fn queue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let console = match &self.body {
            Some(Body::Console(console)) => console.deadline(),
            _ => None,
        };
        self.awaited.map(|(_, at)| at).into_iter().chain(console).min()
    }

    /// Whether it has yet to take what it was sent.
    pub(super) fn is_blocked(&self) -> bool {
        self.awaited.is_some_and(|(what, _)| what == Awaited::Room)
    }

    /// Whether what VMs have printed, or another answer, is yet to be sent to it.
    pub(super) fn is_being_told(&self) -> bool {
        let reads = matches!(self.body, Some(Body::Log(_) | Body::Console(_)));
        reads || self.sent < self.output.len()
    }

    /// What it may do.
    pub(super) fn role(&self) -> Role {
        self.asker.role
    }

    /// Since when it has stood still, as far as the kernel tells: one that asks for nothing from
    /// the first moment on, one that stopped within a request, or takes nothing, after a while.
    /// `None`: it does not, or it is itself made to wait.
    pub(super) fn stalled_since(&self, now: Moment) -> Option<Moment> {
        let (what, until) = self.awaited.filter(|_| !self.queued)?;
        let least = match what {
            // It may have said something that was not read yet.
            Awaited::Request | Awaited::Rest if self.readable => return None,
            Awaited::Request => Moment::ZERO,
            Awaited::Rest | Awaited::Room => limits::CONTROL_STALL,
        };
        let since = until.saturating_sub(what.limit());
        (since + least <= now).then_some(since)
    }

    /// It took too long. `false`: it is to be closed without a word.
    pub(super) fn on_deadline(&mut self, clients: &mut Clients, now: Moment) -> bool {
        if self.awaited.is_none_or(|(_, at)| at > now) {
            // Its console's.
            return true;
        }
        match self.awaited.take() {
            Some((Awaited::Rest, _)) => {
                clients.dropped_request += 1;
                let within = limits::CONTROL_REQUEST_DEADLINE.as_secs();
                let why = format!("the request was not complete in {within} s");
                self.dismiss(&Response::error(Status::RequestTimeout, "request_timeout", &why));
                true
            }
            // The kernel tells of room once three quarters are free: a little of it may be there.
            Some((Awaited::Room, _)) => {
                self.late = true;
                true
            }
            _ => {
                clients.dropped_idle += 1;
                false
            }
        }
    }

    /// Its answer comes with what it has asked for.
    pub(super) fn await_outcome(&mut self) {
        self.outcome = Some(Outcome::Awaited);
    }

    /// It is this.
    pub(super) fn know_outcome(&mut self, response: Response) {
        self.outcome = Some(Outcome::Known(response));
    }

    /// It waits no more.
    pub(super) fn take_outcome(&mut self) {
        self.outcome = None;
    }

    /// Sends it away with a last answer.
    pub(super) fn dismiss(&mut self, response: &Response) {
        response.encode(true, &mut self.output);
        self.input.clear();
        self.last = true;
    }

    /// Sends what there is room for. `true`: all of it.
    pub(super) fn send<E: Sockets<Stream = S>>(&mut self, env: &mut E) -> io::Result<bool> {
        while self.sent < self.output.len() {
            match env.send(&self.stream, &self.output[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    // Whoever takes something has time anew.
                    self.awaited = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(limits::CONTROL_PIECE_BYTES);
        self.sent = 0;
        Ok(true)
    }

    fn wait_for(&mut self, what: Awaited, now: Moment) -> Served {
        if self.awaited.is_none_or(|(before, _)| before != what) {
            self.awaited = Some((what, now + what.limit()));
        }
        Served::Waits
    }

    /// Waits for what its body waits for, and looks whether it is gone: there is no other sign of
    /// that while it is sent nothing. What it asks for meanwhile is kept for later, a piece of it.
    fn listen<E: Sockets<Stream = S>>(&mut self, env: &mut E, scratch: &mut [u8]) -> Served {
        self.awaited = None;
        let room = limits::CONTROL_PIECE_BYTES.saturating_sub(self.input.len());
        if !self.readable || room == 0 {
            return Served::Waits;
        }
        match self.take_input(env, &mut scratch[..room]) {
            None => Served::Gone,
            Some(0) => Served::Waits,
            Some(_) => Served::More,
        }
    }

    /// Reads into what is not understood yet: how many bytes, of which 0 are none for now; `None`:
    /// none will come.
    fn take_input<E: Sockets<Stream = S>>(
        &mut self,
        env: &mut E,
        scratch: &mut [u8],
    ) -> Option<usize> {
        match env.read(&self.stream, scratch) {
            Ok(0) => None,
            Ok(n) => {
                self.input.extend_from_slice(&scratch[..n]);
                Some(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Some(0)
            }
            Err(_) => None,
        }
    }

    /// A console has made this, and goes on, or is over.
    pub(super) fn go_on(&mut self, body: Option<Body>, output: Vec<u8>) {
        self.last |= body.is_none();
        self.body = body;
        self.output.extend(output);
    }

    /// Reads at most `room` bytes of input, unless there is none to be had. [`Served::More`]: it
    /// filled the room.
    pub(super) fn read_up_to<E: Sockets<Stream = S>>(
        &mut self,
        env: &mut E,
        scratch: &mut [u8],
        room: usize,
    ) -> Served {
        if !self.readable || room == 0 {
            return Served::Waits;
        }
        let room = room.min(scratch.len());
        match self.take_input(env, &mut scratch[..room]) {
            None => Served::Gone,
            Some(n) if n == room => Served::More,
            Some(_) => Served::Waits,
        }
    }

    /// Whether there may be input to be read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    /// Reads a piece. What was read before has been understood by then.
    fn read<E: Sockets<Stream = S>>(
        &mut self,
        env: &mut E,
        scratch: &mut [u8],
        now: Moment,
    ) -> Served {
        let room = scratch.len().min(limits::CONTROL_PIECE_BYTES);
        match self.take_input(env, &mut scratch[..room]) {
            // A client that sends no more has its answers by now.
            None => Served::Gone,
            Some(0) if self.parser.is_within() => self.wait_for(Awaited::Rest, now),
            Some(0) => self.wait_for(Awaited::Request, now),
            Some(_) => Served::More,
        }
    }
}

impl<E: Env> Reactor<E> {
    /// One step of a client: a send, a piece of an answer, a request, or a read.
    pub(super) fn step_client(&mut self, key: Key, now: Moment) -> Served {
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Waits };
        client.queued = false;
        let (late, before) = (std::mem::take(&mut client.late), client.sent);
        match client.send(&mut self.env) {
            Err(_) => return Served::Gone,
            Ok(false) if late && client.sent == before => {
                client.cause = "late";
                self.stats.clients.dropped_slow += 1;
                return Served::Gone;
            }
            Ok(false) => {
                client.wait_for(Awaited::Room, now);
                return self.step_blocked(key, now);
            }
            Ok(true) => {}
        }
        if client.body.is_some() {
            return self.continue_body(key, now);
        }
        match client.outcome.take() {
            None => {}
            Some(Outcome::Awaited) => {
                client.outcome = Some(Outcome::Awaited);
                return client.listen(&mut self.env, &mut self.scratch);
            }
            Some(Outcome::Known(response)) => {
                response.encode(client.last, &mut client.output);
                return Served::More;
            }
        }
        if client.last {
            return Served::Gone;
        }
        if client.input.is_empty() {
            return match client.readable {
                true => client.read(&mut self.env, &mut self.scratch, now),
                false => client.wait_for(Awaited::Request, now),
            };
        }
        match client.parser.feed(&client.input) {
            Ok(Fed::More) => client.input.clear(),
            Ok(Fed::Continue { used }) => {
                client.input.drain(..used);
                client.output.extend_from_slice(response::CONTINUE);
            }
            Ok(Fed::Done { request, used }) => {
                client.input.drain(..used);
                self.stats.clients.requests += 1;
                let (asker, close) = (client.asker, request.close);
                let answer = self.answer(&request, &asker);
                self.give(key, answer, close);
            }
            Err(error) => client.dismiss(&error.response()),
        }
        Served::More
    }

    /// Begins to send an answer.
    fn give(&mut self, key: Key, answer: Answer, close: bool) {
        let Some(client) = self.control.clients.get_mut(key) else { return };
        client.last |= close;
        match answer {
            Answer::Whole(response) => response.encode(close, &mut client.output),
            // It is encoded once it is known.
            Answer::Later => {}
            Answer::Pieces(content, body) => {
                response::begin_stream(content, close, &mut client.output);
                client.body = Some(body);
            }
            Answer::Console(protocol, console) => {
                response::switch(protocol, &mut client.output);
                client.body = Some(Body::Console(console));
            }
        }
    }

    /// What goes on although the client takes nothing: the input of a console.
    fn step_blocked(&mut self, key: Key, now: Moment) -> Served {
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Waits };
        match client.body.take() {
            Some(Body::Console(console)) => self.step_console(key, console, true, now),
            body => {
                client.body = body;
                Served::Waits
            }
        }
    }

    /// Makes the next piece of an answer.
    fn continue_body(&mut self, key: Key, now: Moment) -> Served {
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Waits };
        let mut body = match client.body.take() {
            Some(Body::Console(console)) => {
                client.awaited = None;
                return self.step_console(key, console, false, now);
            }
            Some(body) => body,
            None => return Served::More,
        };
        let mut piece = Vec::new();
        let made = self.step_body(&mut body, key, &mut piece, now);
        if matches!(made, Made::Ended | Made::Broken)
            && let Body::Log(reading) = &body
        {
            // The connection may go on: what was kept for this answer belongs to its VM.
            self.consoles.histories.remove(&key);
            self.unwatch_vm(reading.vm(), key);
        }
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Waits };
        response::chunk(&piece, &mut client.output);
        match made {
            Made::Ended => response::end_stream(&mut client.output),
            Made::Broken => client.last = true,
            Made::More | Made::Waits => client.body = Some(body),
        }
        if made == Made::Waits && piece.is_empty() {
            return client.listen(&mut self.env, &mut self.scratch);
        }
        Served::More
    }
}
