//! `GET /v1/vms/{id}/console`: a connection that became a console, for one who looks or types.
//!
//! Owns a viewer's place, what it is to be told, and the rule that one client types.
//! **Invariant:** a viewer that was up to date once, and of whose place the ring has nothing any
//! more, is dropped, as is one that takes nothing: none is waited for. Who types is noted in the
//! VM's events file, from his first moment to his last.

use super::answer::{Answer, no_such_vm};
use super::body::{Body, Made};
use super::client::{Asker, Served};
use super::view::{Sight, View};
use crate::control::access::Role;
use crate::control::frames::{
    FRAMES, FrameDecoder, Kind, Notice, RAW, SpyReason, Writer, encode, encode_notice,
};
use crate::control::query::{Query, QueryError};
use crate::control::request::Request;
use crate::control::response::{Response, Status};
use crate::env::{Env, Moment};
use crate::limits;
use crate::reactor::key::Key;
use crate::reactor::{EventKind, Reactor};

/// What a client wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It looks.
    Spy,
    /// It types, if nobody else does.
    Attach,
    /// It types in whoever's place, and goes further.
    Force,
}

/// A viewer.
pub(super) struct Console {
    pub view: View,
    /// Bytes come in frames, and go so.
    pub frames: Option<FrameDecoder>,
    pub mode: Mode,
    /// Notices that are to be sent before the next output.
    notices: Vec<u8>,
    /// Input that is to be sent to the VMM.
    pub typed: Vec<u8>,
    /// It was told that there is no room for input.
    pub is_full: bool,
    /// It was told that a spy's input is dropped.
    pub told_read_only: bool,
    /// When it has typed nothing for too long.
    pub idle_at: Option<Moment>,
    /// When a VMM that had no room is tried again.
    pub retry_at: Option<Moment>,
    /// The client sends nothing any more.
    pub has_ended: bool,
}

impl Console {
    /// Tells it something: in frames alone, and if there is room.
    pub(super) fn tell(&mut self, notice: &Notice) {
        if self.frames.is_some() && self.notices.len() < limits::NOTICES_BYTES_MAX {
            encode_notice(notice, &mut self.notices);
        }
    }

    /// When it is to be looked at although nothing happened.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.idle_at.into_iter().chain(self.retry_at).min()
    }

    /// Appends what is to be told, then what there is to see.
    fn put(&mut self, seen: Vec<Sight>, output: &mut Vec<u8>) {
        output.append(&mut self.notices);
        for sight in seen {
            match (sight, &self.frames) {
                (Sight::Bytes { bytes, .. }, None) => output.extend(bytes),
                (Sight::Bytes { bytes, .. }, Some(_)) => encode(Kind::Output, &bytes, output),
                (Sight::Missing { .. }, None) => {}
                (Sight::Missing { offset, bytes, why }, Some(_)) => {
                    encode_notice(&Notice::Missing { offset, bytes, why: why.into() }, output);
                }
            }
        }
    }
}

impl<E: Env> Reactor<E> {
    pub(super) fn attach(
        &mut self,
        id: &str,
        (request, query): (&Request, &Query),
        asker: &Asker,
    ) -> Answer {
        let Some(vm) = self.find(id) else { return no_such_vm(id).into() };
        let Some(end) = self.table.get(vm.0).map(|slot| slot.log.offset()) else {
            return no_such_vm(id).into();
        };
        let (mode, offset) = match wanted(query, end) {
            Ok(wanted) => wanted,
            Err(error) => return error.response().into(),
        };
        let Some(protocol) = request.upgrade.iter().find_map(|wanted| known(wanted)) else {
            return upgrade_required().into();
        };
        let writer = self.viewers(vm).1;
        if let Some(refused) = self.refuse(mode, asker, writer) {
            return refused.into();
        }
        let view = View { vm: vm.0, offset, until: u64::MAX, is_live: false };
        let writes = mode != Mode::Spy;
        let mut console = Console {
            view,
            frames: (protocol == FRAMES).then(FrameDecoder::default),
            mode,
            notices: Vec::new(),
            typed: Vec::new(),
            is_full: false,
            told_read_only: false,
            idle_at: None,
            retry_at: None,
            has_ended: false,
        };
        console.tell(&Notice::Attached { offset, writes });
        self.watch_vm(vm.0, asker.key, true);
        if writes {
            self.take_place(vm.0, asker, writer.is_some());
            console.idle_at = self.idle_from_now();
        } else if writer.is_some() {
            console.tell(&Notice::Writer { writer });
        }
        Answer::Console(protocol, Box::new(console))
    }

    fn refuse(&self, mode: Mode, asker: &Asker, writer: Option<Writer>) -> Option<Response> {
        let (status, code, why) = match (mode, writer) {
            (Mode::Spy, _) => return None,
            _ if !self.control.is_interactive() => {
                let why = "the configuration says \"interactive\": false in \"control\": nobody \
                           may type; ?mode=spy looks";
                (Status::Forbidden, "not_interactive", why.to_owned())
            }
            _ if asker.role < Role::Attach => {
                let why = "typing into a console needs the role attach; ?mode=spy looks";
                (Status::Forbidden, "forbidden", why.to_owned())
            }
            (Mode::Attach, Some(writer)) => {
                let why = format!(
                    "{} types into this console already; ?mode=spy looks, ?mode=force takes his \
                     place",
                    named(writer)
                );
                (Status::Conflict, "has_writer", why)
            }
            _ => return None,
        };
        Some(Response::error(status, code, &why))
    }

    /// Makes a client the writer; whoever was it is told, and goes on as a spy.
    fn take_place(&mut self, vm: Key, asker: &Asker, forced: bool) {
        let before = self.consoles.get(vm).and_then(|watched| watched.writer);
        if let Some((client, _)) = before {
            self.end_writing(vm, client, "forced");
            if let Some(Body::Console(console)) = self.control.body_of(client) {
                console.become_spy(SpyReason::Forced);
                self.control.wake(client);
            }
        }
        let writer = Self::writer_of(asker);
        if let Some(watched) = self.consoles.get_mut(vm) {
            watched.writer = Some((asker.key, writer));
        }
        ::log::info!("VM {}: {} types into its console", self.name(vm), named(writer));
        let Writer { uid, pid } = writer;
        self.tell(vm, EventKind::Attached { uid, pid, forced });
        self.tell_viewers(vm, Some(asker.key), &Notice::Writer { writer: Some(writer) });
    }

    /// A client types no more, if it did.
    pub(super) fn end_writing(&mut self, vm: Key, client: Key, cause: &'static str) {
        let Some(watched) = self.consoles.get_mut(vm).filter(|one| one.is_writer(client)) else {
            return;
        };
        let Some((_, writer)) = watched.writer.take() else { return };
        let (uid, pid) = (writer.uid, writer.pid);
        ::log::info!("VM {}: {} types no more: {cause}", self.name(vm), named(writer));
        self.tell(vm, EventKind::Detached { uid, pid, cause });
        self.tell_viewers(vm, Some(client), &Notice::Writer { writer: None });
    }

    /// When a writer who has typed just now has typed nothing for too long.
    pub(super) fn idle_from_now(&self) -> Option<Moment> {
        self.control.console_idle().map(|idle| self.env.now() + idle)
    }

    /// One step of a console: what was typed goes on, and what is new is sent. `blocked`: what was
    /// sent before is not taken yet.
    pub(super) fn step_console(
        &mut self,
        key: Key,
        mut console: Box<Console>,
        blocked: bool,
        now: Moment,
    ) -> Served {
        let vm = console.view.vm;
        if console.idle_at.is_some_and(|at| at <= now) && console.mode != Mode::Spy {
            self.end_writing(vm, key, "idle");
            console.become_spy(SpyReason::Idle);
        }
        let typed = self.step_typing(key, &mut console, now);
        let mut output = Vec::new();
        let seen = match typed {
            _ if blocked => Made::Waits,
            Served::Gone => {
                console.put(Vec::new(), &mut output);
                Made::Ended
            }
            _ => self.see(key, &mut console, &mut output),
        };
        let is_last = seen == Made::Ended;
        if is_last {
            self.end_writing(vm, key, "closed");
            self.unwatch_vm(vm, key);
        }
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Waits };
        // What is missing is no output where there are no frames, and others may lie behind it.
        let goes_on = !output.is_empty() || seen != Made::Waits;
        client.go_on((!is_last).then_some(Body::Console(console)), output);
        match typed {
            Served::Gone if blocked => Served::Gone,
            _ if goes_on => Served::More,
            typed => typed,
        }
    }

    /// Makes the next piece of output.
    fn see(&mut self, key: Key, console: &mut Console, output: &mut Vec<u8>) -> Made {
        let view = &console.view;
        let (vm, offset) = (view.vm, view.offset);
        let Some(watched) = self.consoles.get(vm) else { return Made::Ended };
        let is_gone = watched.is_gone;
        if view.is_live && offset < watched.ring.start() {
            self.end_writing(vm, key, "lagged");
            console.tell(&Notice::Lagged { offset });
            self.stats.clients.dropped_lagged += 1;
            console.put(Vec::new(), output);
            return Made::Ended;
        }
        let seen = match self.look_at_vm(key, &mut console.view, false) {
            Ok(seen) => seen,
            Err(error) => {
                ::log::warn!("control: a console's log can't be read: {error}");
                let start = self.consoles.get(vm).map_or(offset, |watched| watched.ring.start());
                console.view.offset = start;
                vec![Sight::Missing { offset, bytes: start - offset, why: "unreadable" }]
            }
        };
        let made = match seen.is_empty() {
            false => Made::More,
            true if is_gone => Made::Ended,
            true => Made::Waits,
        };
        // Where it is seriald that ends, whoever asks its successor can go on.
        if made == Made::Ended && !self.stopping {
            console.tell(&Notice::ConsoleGone);
        }
        console.put(seen, output);
        made
    }
}

impl Console {
    /// It types no more: what it has typed goes nowhere.
    fn become_spy(&mut self, why: SpyReason) {
        self.mode = Mode::Spy;
        self.typed.clear();
        (self.idle_at, self.retry_at, self.is_full) = (None, None, false);
        self.tell(&Notice::Spy { why });
    }
}

/// What a query wants: a mode, and the first byte. `end` is the next one that is printed.
fn wanted(query: &Query, end: u64) -> Result<(Mode, u64), QueryError> {
    let modes = [("spy", Mode::Spy), ("attach", Mode::Attach), ("force", Mode::Force)];
    let mode = query.one_of("mode", &modes)?.unwrap_or(Mode::Attach);
    let offset = match (query.number("history")?, query.number("offset")?) {
        (Some(_), Some(_)) => {
            return Err(QueryError("of history and offset one says where to begin".into()));
        }
        (history, None) => end.saturating_sub(history.unwrap_or(0)),
        (None, Some(offset)) => offset.min(end),
    };
    Ok((mode, offset))
}

/// A writer, for a message.
fn named(Writer { uid, pid }: Writer) -> String {
    match pid {
        Some(pid) => format!("user {uid}, process {pid},"),
        None => format!("user {uid}, a process of another namespace,"),
    }
}

fn known(protocol: &str) -> Option<&'static str> {
    [FRAMES, RAW].into_iter().find(|known| known.eq_ignore_ascii_case(protocol))
}

fn upgrade_required() -> Response {
    let why = format!(
        "a console is a connection that goes on in another protocol: it takes \"Connection: \
         Upgrade\" and \"Upgrade: {RAW}\", or \"{FRAMES}\""
    );
    Response::error(Status::UpgradeRequired, "upgrade_required", &why)
}
