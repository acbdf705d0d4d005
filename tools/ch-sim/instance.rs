//! One Cloud Hypervisor process, as the world sees it: API socket, VMM, exit.
//!
//! It owns the order of things: calls are carried out one by one, and wait where CH's one API
//! thread waits (a serial thread that sleeps, a vCPU that stands in send(), a reboot under way).
//! A fleet has many of these in one process.
//!
//! **Invariant:** once it has ended it holds no socket, and its ledger is on disk.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Registry, Token};

use super::api::{self, Answer, Call, Then};
use super::guest::End;
use super::http::Request;
use super::http_server::{Asker, CONNECTIONS_MAX, HttpServer};
use super::line::LineTokens;
use super::vmm::{Manner, Vmm};

/// Tokens that an instance takes up.
const TOKENS: usize = 16;
const API_LISTENER: usize = 0;
const SERIAL_LISTENER: usize = 1;
const SERIAL_CLIENT: usize = 2;
const API_FIRST: usize = 3;
const _: () = assert!(API_FIRST + CONNECTIONS_MAX <= TOKENS);

/// From the serial socket's EOF to the API's.
const API_OUTLIVES_SERIAL: Duration = Duration::from_millis(1);
/// How long `vm.pause` tries to stop a vCPU that stands in send().
const PAUSE_PATIENCE: Duration = Duration::from_millis(1100);

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// In order: exit status 0.
    Clean,
    /// Its VMM thread panicked: paths are left.
    Failed,
    /// Killed by SIGSYS: paths are left.
    Killed,
}

/// Where its life stands.
enum Phase {
    Living,
    /// The VM is gone, the API follows then.
    Leaving(Instant),
    Ended(Exit),
}

/// One VMM with its API socket.
pub struct Instance {
    manner: Manner,
    /// The VMM.
    pub vmm: Vmm,
    api: Option<HttpServer>,
    ledger_path: PathBuf,
    /// The ledger has changed since it was written.
    stale: bool,
    calls: VecDeque<(Asker, Request)>,
    /// A `vm.reboot` that is answered when it is done.
    rebooter: Option<(Asker, Vec<u8>)>,
    pause_until: Option<Instant>,
    /// SIGTERM came.
    terminated: bool,
    /// The guest ended its boot.
    guest_end: Option<End>,
    phase: Phase,
}

/// Whose event a token is.
pub fn index_of(token: Token) -> usize {
    token.0 / TOKENS
}

impl Instance {
    /// An instance without a VM, its API socket bound if a path is given.
    ///
    /// # Errors
    /// Why the API socket could not be bound.
    pub fn new(
        registry: &Registry,
        index: usize,
        manner: Manner,
        api_path: Option<&Path>,
        ledger_path: PathBuf,
    ) -> Result<Self, String> {
        let first = index * TOKENS;
        let tokens = LineTokens {
            listener: Token(first + SERIAL_LISTENER),
            client: Token(first + SERIAL_CLIENT),
        };
        let listener = Token(first + API_LISTENER);
        let bind =
            |path| HttpServer::bind(registry, path, manner.release, listener, first + API_FIRST);
        Ok(Self {
            manner,
            vmm: Vmm::new(manner, tokens),
            api: api_path.map(bind).transpose()?,
            ledger_path,
            stale: true,
            calls: VecDeque::new(),
            rebooter: None,
            pause_until: None,
            terminated: false,
            guest_end: None,
            phase: Phase::Living,
        })
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<Exit> {
        match self.phase {
            Phase::Ended(exit) => Some(exit),
            _ => None,
        }
    }

    /// SIGTERM: it ends in order, as soon as its threads can be joined.
    pub fn terminate(&mut self) {
        self.terminated = true;
    }

    /// Takes in an event; nothing but the API's reading and writing is done here.
    pub fn on_event(&mut self, registry: &Registry, event: &Event) {
        match event.token().0 % TOKENS {
            API_LISTENER => {
                if let Some(api) = &mut self.api {
                    api.accept(registry);
                }
            }
            SERIAL_LISTENER => {
                if let Some(line) = self.vmm.line() {
                    line.on_acceptable();
                }
            }
            SERIAL_CLIENT => {
                if let Some(line) = self.vmm.line() {
                    line.on_client_event(event.is_write_closed());
                }
                if event.is_writable() {
                    self.vmm.on_room(registry);
                }
            }
            place => {
                if let Some(api) = &mut self.api {
                    self.calls.extend(api.serve(place - API_FIRST));
                }
            }
        }
    }

    /// Does what there is to do, within a budget.
    pub fn turn(&mut self, registry: &Registry, now: Instant) {
        self.advance(registry, now);
        self.vmm.set_threads();
    }

    fn advance(&mut self, registry: &Registry, now: Instant) {
        match self.phase {
            Phase::Living => {}
            Phase::Leaving(at) if at <= now => return self.leave(Exit::Clean, true),
            Phase::Leaving(_) | Phase::Ended(_) => return,
        }
        self.advance_reboot(registry, now);
        self.work_off_calls(registry, now);
        if !matches!(self.phase, Phase::Living) {
            return;
        }
        if self.guest_end.is_none() {
            let boots = self.vmm.ledger.boots.len();
            self.guest_end = self.vmm.run(registry, now);
            self.stale |= boots > 0;
        }
        if self.vmm.is_overrun() {
            return self.leave(Exit::Killed, false);
        }
        self.end_if_due(registry, now);
    }

    /// When it has something to do without an event.
    pub fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Living => {}
            Phase::Leaving(at) => return Some(at),
            Phase::Ended(_) => return None,
        }
        let asleep = self.vmm.asleep_until(now);
        let end = (self.guest_end.is_some() || self.terminated).then_some(now);
        let end = match (asleep, self.vmm.is_blocked()) {
            (Some(until), _) => Some(until),
            (None, true) => None,
            (None, false) => end,
        };
        let calls = match self.calls.front() {
            Some(_) => self.pause_until.or(asleep),
            None => None,
        };
        [self.vmm.next_wake(now), end, calls].into_iter().flatten().min()
    }

    /// Writes the ledger if anything changed. Returns whether it wrote.
    pub fn write_ledger(&mut self) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        if let Err(error) = self.vmm.ledger.write(&self.ledger_path) {
            eprintln!("ch-sim: cannot write {}: {error}", self.ledger_path.display());
        }
        true
    }

    /// Whether the ledger on disk is behind.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    fn advance_reboot(&mut self, registry: &Registry, now: Instant) {
        if !self.vmm.is_rebooting() {
            return;
        }
        if let Err(error) = self.vmm.advance(registry, now) {
            match self.rebooter.take() {
                Some((asker, _)) => {
                    let answer = api::reboot_failed(&error.to_string());
                    self.respond(asker, &answer.response);
                }
                // The guest's own reset: CH exits, for it has no VM any more.
                None => self.leave(Exit::Failed, false),
            }
            return;
        }
        if !self.vmm.is_rebooting()
            && let Some((asker, response)) = self.rebooter.take()
        {
            self.respond(asker, &response);
        }
    }

    fn work_off_calls(&mut self, registry: &Registry, now: Instant) {
        while let Some((asker, request)) = self.calls.front() {
            if self.vmm.is_rebooting() {
                return;
            }
            let (asker, call) = (*asker, Call::of(&request.path));
            if call.is_some_and(Call::ends_the_vm) && self.must_wait(now) {
                return;
            }
            if call == Some(Call::Pause) && self.vmm.is_blocked() {
                let until = *self.pause_until.get_or_insert(now + PAUSE_PATIENCE);
                if until > now {
                    return;
                }
                self.calls.pop_front();
                self.pause_until = None;
                self.respond(asker, &api::pause_timed_out().response);
                continue;
            }
            self.pause_until = None;
            let Some((asker, request)) = self.calls.pop_front() else {
                return;
            };
            let release = self.manner.release;
            let answer = api::answer(&mut self.vmm, registry, release, &request, now);
            self.stale = true;
            // Who is answered may rely on the file.
            if call == Some(Call::Ledger) || call.is_some_and(Call::ends_the_vm) {
                self.write_ledger();
            }
            self.settle(asker, answer, now);
            if !matches!(self.phase, Phase::Living) {
                return;
            }
        }
    }

    fn settle(&mut self, asker: Asker, answer: Answer, now: Instant) {
        match answer.then {
            Then::Nothing => self.respond(asker, &answer.response),
            Then::AfterReboot => {
                self.guest_end = None;
                self.rebooter = Some((asker, answer.response));
            }
            Then::Exit => {
                self.vmm.end("exit");
                self.respond(asker, &answer.response);
                self.begin_to_leave(now);
            }
            Then::Panic => {
                self.respond(asker, &answer.response);
                self.leave(Exit::Failed, false);
            }
        }
    }

    fn respond(&mut self, asker: Asker, response: &[u8]) {
        if let Some(api) = &mut self.api {
            api.answer(asker, response);
        }
    }

    /// Whether a thread that must be joined sleeps or stands.
    fn must_wait(&mut self, now: Instant) -> bool {
        self.vmm.is_blocked() || self.vmm.asleep_until(now).is_some()
    }

    /// The guest's end, and SIGTERM.
    fn end_if_due(&mut self, registry: &Registry, now: Instant) {
        if (self.guest_end.is_none() && !self.terminated) || self.must_wait(now) {
            return;
        }
        if self.terminated {
            self.vmm.end("exit");
            return self.begin_to_leave(now);
        }
        match self.guest_end.take() {
            Some(End::Reset) => {
                // It was running, so there is a machine to reboot.
                let _ = self.vmm.reboot("reset", now);
            }
            Some(End::PowerOff) => {
                self.vmm.end("power-off");
                if !self.manner.no_shutdown {
                    self.begin_to_leave(now);
                }
            }
            None => {}
        }
        self.advance_reboot(registry, now);
        self.stale = true;
        self.write_ledger();
    }

    fn begin_to_leave(&mut self, now: Instant) {
        self.stale = true;
        self.write_ledger();
        self.phase = Phase::Leaving(now + API_OUTLIVES_SERIAL);
    }

    fn leave(&mut self, exit: Exit, remove_api_path: bool) {
        if exit != Exit::Clean
            && let Some(line) = self.vmm.line()
        {
            // A killed VMM's path stays: ending the VM here must not remove it.
            line.keep_path();
        }
        self.vmm.end("exit");
        if let Some(api) = self.api.take()
            && remove_api_path
        {
            api.remove_path();
        }
        self.vmm.close();
        self.stale = true;
        self.write_ledger();
        self.phase = Phase::Ended(exit);
    }
}
