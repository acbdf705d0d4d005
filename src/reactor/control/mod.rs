//! Our own API in the loop: the socket, and who asks on it.
//!
//! Owns the clients, in a table of their own.
//! **Invariant:** clients are served in the flush phase, each a bounded step after the other, for
//! as long as the turn's pace lets them: no VM waits for one. Each holds a bounded number of bytes,
//! and none stays for ever without saying something or taking what it asked for.

mod admission;
mod answer;
mod body;
mod client;
mod console;
mod deadlines;
mod feed;
mod launch;
mod life;
mod listing;
mod metrics;
mod metrics_of_vms;
mod put;
mod reading;
mod scraping;
mod typing;
mod underway;
mod view;
mod watched;

pub(super) use scraping::Scraping;

use super::Reactor;
use super::key::Key;
use super::table::Table;
use crate::control::access::{ControlSpec, Role};
use crate::env::{Announced, Caller, Env, Files, Moment, SocketId};
use crate::handover::state::{ControlState, FeedState};
use crate::limits;
use admission::Door;
use body::Body;
use client::{Client, Served};
use deadlines::Deadlines;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
pub(super) use watched::Consoles;

/// Why our own API can't be asked for.
#[derive(Debug)]
pub enum ControlError {
    /// The spec breaks a rule.
    Spec(crate::control::access::ControlSpecError),
    /// There is no group of this name.
    NoGroup(String),
    /// The socket can't be bound.
    Bind {
        /// Where.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The TCP address for counters can't be listened on.
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Spec(error) => write!(f, "control: {error}"),
            ControlError::NoGroup(name) => write!(f, "control: there is no group {name:?}"),
            ControlError::Bind { path, cause } => {
                write!(f, "control: cannot listen on {}: {cause}", path.display())?;
                match cause.kind() {
                    io::ErrorKind::NotFound => f.write_str(": make its directory first"),
                    _ => Ok(()),
                }
            }
            ControlError::Listen { address, cause } => {
                write!(f, "metrics.listen: cannot listen on {address}: {cause}")?;
                let port = address.port();
                match cause.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        ": another process has that port (`ss -ltnp 'sport = :{port}'` names it); \
                         give another one"
                    ),
                    io::ErrorKind::AddrNotAvailable => {
                        f.write_str(": no interface of this host has that address")
                    }
                    io::ErrorKind::PermissionDenied => {
                        f.write_str(": ports below 1024 are root's; give another one")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ControlError::Spec(error) => Some(error),
            ControlError::NoGroup(_) => None,
            ControlError::Bind { cause, .. } | ControlError::Listen { cause, .. } => Some(cause),
        }
    }
}

/// How far its end is, once no VM is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// There are VMs, or nobody has told it to end.
    NotYet,
    /// Clients may take what VMs printed last until then.
    Until(Moment),
    /// They had the time.
    Over,
}

/// What the loop has of its own API; without a socket all of it is empty.
pub(super) struct Control<S> {
    /// The socket that is listened on.
    listening: Option<(ControlSpec, SocketId)>,
    clients: Table<Client<S>>,
    /// Clients that have something to be done.
    queue: VecDeque<Key>,
    /// When which is to be looked at.
    deadlines: Deadlines,
    door: Door,
    /// Whether clients may yet take what VMs printed last.
    farewell: Farewell,
    /// State changes, for those who follow them.
    feed: Option<feed::Feed>,
    /// What clients have begun.
    underway: Vec<underway::Underway>,
}

impl<S> Default for Control<S> {
    fn default() -> Self {
        Control {
            listening: None,
            clients: Table::new(),
            queue: VecDeque::new(),
            deadlines: Deadlines::default(),
            door: Door::default(),
            farewell: Farewell::NotYet,
            feed: None,
            underway: Vec::new(),
        }
    }
}

impl<S> Control<S> {
    /// Most descriptors that it takes: of a client its connection, and the directory of the log
    /// that it reads back; one for a client too many, one for a file, and the socket.
    pub(super) fn descriptors(&self) -> u64 {
        self.listening.as_ref().map_or(0, |_| 2 * limits::CONTROL_CLIENTS_MAX as u64 + 3)
    }

    /// Something is there for a client whose body waits. One that takes nothing is told once it
    /// does.
    fn wake(&mut self, key: Key) {
        if self.clients.get(key).is_some_and(|client| !client.is_blocked()) {
            self.enqueue(key);
        }
    }

    fn body_of(&mut self, key: Key) -> Option<&mut Body> {
        self.clients.get_mut(key)?.body.as_mut()
    }

    fn spec(&self) -> Option<&ControlSpec> {
        self.listening.as_ref().map(|(spec, _)| spec)
    }

    /// How many of the newest bytes are kept of a console that somebody watches.
    fn viewer_buffer_bytes(&self) -> usize {
        self.spec().map_or(limits::VIEWER_BUFFER_BYTES, |spec| spec.viewer_buffer_bytes)
    }

    /// Whether anybody may type.
    fn is_interactive(&self) -> bool {
        self.spec().is_some_and(|spec| spec.interactive)
    }

    /// How long a writer may type nothing.
    fn console_idle(&self) -> Option<Moment> {
        self.spec().and_then(|spec| spec.console_idle)
    }

    /// Notes when a client is to be looked at, after something was done with it.
    fn arm(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            let at = client.deadline();
            self.deadlines.set(key, &mut client.armed, at);
        }
    }

    /// Takes a client out.
    fn remove(&mut self, key: Key) -> Option<Client<S>> {
        let mut client = self.clients.remove(key)?;
        self.deadlines.set(key, &mut client.armed, None);
        Some(client)
    }

    fn enqueue(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && client.queue()
        {
            self.queue.push_back(key);
        }
    }
}

impl<E: Env> Reactor<E> {
    /// Serves our own API on a socket, in place of the one before if that is another. Without this
    /// call there is none.
    ///
    /// # Errors
    /// [`ControlError`]; what was served before is served on, unless it was at the same path.
    pub fn serve_control(&mut self, spec: ControlSpec) -> Result<(), ControlError> {
        spec.validate().map_err(ControlError::Spec)?;
        let place = |spec: &ControlSpec| (spec.path.clone(), spec.mode, spec.group.clone());
        let before = self.control.listening.clone();
        let kept = before.as_ref().filter(|(old, _)| place(old) == place(&spec));
        let id = if let Some((_, id)) = kept {
            *id
        } else {
            let bind = |cause| ControlError::Bind { path: spec.path.clone(), cause };
            let group = match &spec.group {
                None => None,
                Some(name) => {
                    let found = self.env.files().group_id(name).map_err(bind)?;
                    Some(found.ok_or_else(|| ControlError::NoGroup(name.clone()))?)
                }
            };
            if before.as_ref().is_some_and(|(old, _)| old.path == spec.path) {
                self.stop_control();
            }
            self.env.listen(&spec.path, spec.mode, group).map_err(bind)?
        };
        if before.is_some_and(|(old, _)| old != spec) {
            // What they may do is what they might when they came.
            self.drop_clients();
        }
        self.control.listening = Some((spec, id));
        self.control.door.knocked = true;
        self.begin_feed();
        Ok(())
    }

    /// Ends our own API: its clients are closed, its socket is removed.
    pub fn stop_control(&mut self) {
        if self.control.listening.take().is_some() {
            self.env.stop_listening();
        }
        self.control.door = Door::default();
        self.control.feed = None;
        self.drop_clients();
    }

    fn drop_clients(&mut self) {
        let clients = self.control.clients.iter();
        let own = clients.filter(|(_, client)| client.role() > Role::Scrape);
        let keys: Vec<Key> = own.map(|(key, _)| key).collect();
        for key in keys {
            self.drop_client(key, "stopped");
        }
    }

    /// A client is done with, and why, should it type into a console.
    fn drop_client(&mut self, key: Key, cause: &'static str) {
        let Some(client) = self.control.remove(key) else { return };
        self.consoles.histories.remove(&key);
        match client.body {
            Some(Body::Console(console)) => {
                self.end_writing(console.view.vm, key, cause);
                self.unwatch_vm(console.view.vm, key);
            }
            Some(Body::Log(reading)) => self.unwatch_vm(reading.vm(), key),
            _ => {}
        }
    }

    /// It is stopping, and a client has yet to be told what VMs printed last.
    pub(super) fn owes_clients(&self) -> bool {
        let is_over = self.control.farewell == Farewell::Over;
        !is_over && self.control.clients.iter().any(|(_, client)| client.is_being_told())
    }

    /// Whether what is owed is being waited for.
    pub(super) fn is_saying_farewell(&self) -> bool {
        matches!(self.control.farewell, Farewell::Until(_)) && self.owes_clients()
    }

    /// A turn has ended after which no VM is left, and it is stopping: clients have some time left,
    /// once.
    pub(super) fn say_farewell(&mut self, now: Moment) {
        self.control.farewell = match self.control.farewell {
            Farewell::NotYet => Farewell::Until(now + limits::CONTROL_FAREWELL),
            Farewell::Until(until) if now < until => return,
            Farewell::Until(_) | Farewell::Over => Farewell::Over,
        };
    }

    /// Whether something is left to be done at once.
    pub(super) fn has_clients_to_serve(&self) -> bool {
        self.control.door.knocked || self.scraping.door.knocked || !self.control.queue.is_empty()
    }

    /// When something is to be done although nothing became ready.
    pub(super) fn clients_deadline(&self) -> Option<Moment> {
        let clients = [self.control.deadlines.next(), self.consoles.deadline()];
        let again = [self.control.door.again_at, self.scraping.door.again_at];
        let farewell = match self.control.farewell {
            Farewell::Until(until) => Some(until),
            Farewell::NotYet | Farewell::Over => None,
        };
        clients.into_iter().chain(again).chain([farewell]).flatten().min()
    }

    /// Somebody wants to be let in.
    pub(super) fn mark_listener(&mut self) {
        self.control.door.knocked = self.control.listening.is_some();
    }

    /// Something became ready for a client; nothing of it runs yet.
    pub(super) fn mark_client(&mut self, key: Key, what: Announced) {
        match self.control.clients.get_mut(key) {
            // Each time that it takes something its socket says so: that is news only if it lacked
            // the room.
            Some(client) if !what.readable && !what.ended && !client.is_blocked() => {}
            Some(client) => {
                client.mark(what);
                self.control.enqueue(key);
            }
            None => self.stats.stale_events += 1,
        }
    }

    /// Deadlines of clients that are due.
    pub(super) fn control_timer(&mut self, now: Moment) {
        self.control.door.on_timer(now);
        self.scraping.door.on_timer(now);
        self.consoles_timer(now);
        let mut pace = self.pace_of_clients();
        while let Some(key) = self.control.deadlines.take_due(now) {
            let Some(client) = self.control.clients.get_mut(key) else { continue };
            client.armed = None;
            match client.on_deadline(&mut self.stats.clients, now) {
                true => self.control.enqueue(key),
                false => self.drop_client(key, "closed"),
            }
            if pace.is_over(&self.env) {
                break;
            }
        }
    }

    /// Lets those in who wait, and takes a step of each client that has something to be done.
    pub(super) fn serve_clients(&mut self, now: Moment) {
        if !self.has_clients_to_serve() {
            return;
        }
        let mut pace = self.pace_of_clients();
        self.let_some_in(now);
        for _ in 0..self.control.queue.len() {
            let Some(key) = self.control.queue.pop_front() else { break };
            match self.step_client(key, now) {
                Served::More => self.control.enqueue(key),
                Served::Waits => self.control.arm(key),
                Served::Gone => {
                    let cause = self.control.clients.get(key).map_or("closed", |one| one.cause);
                    self.drop_client(key, cause);
                }
            }
            if pace.is_over(&self.env) {
                break;
            }
        }
    }

    /// What a successor in this process needs of the socket. Clients are not handed over.
    pub(super) fn save_control(&self) -> Option<ControlState> {
        let (spec, socket) = self.control.listening.clone()?;
        let descriptor = self.env.listener_number()?;
        Some(ControlState {
            descriptor,
            path: spec.path,
            socket,
            mode: spec.mode,
            group: spec.group,
        })
    }

    /// Takes a predecessor's socket over, with whoever waits on it. Until the next call of
    /// [`Reactor::serve_control`] it is for root and our user.
    pub(super) fn take_control_over(
        &mut self,
        saved: Option<ControlState>,
        feed: Option<FeedState>,
    ) {
        let Some(ControlState { descriptor, path, socket, mode, group }) = saved else { return };
        if let Err(error) = self.env.take_listener(descriptor, &path, socket) {
            return log::warn!("control: {} was not taken over: {error}", path.display());
        }
        let spec = ControlSpec { mode, group, ..ControlSpec::new(path) };
        self.control.listening = Some((spec, socket));
        self.control.door.knocked = true;
        self.take_feed_over(feed);
    }

    fn role_of(&mut self, caller: &Caller) -> Option<Role> {
        let own = self.env.files().own_user();
        self.control.listening.as_ref()?.0.role_of(caller, own)
    }
}
