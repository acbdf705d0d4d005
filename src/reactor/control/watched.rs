//! VMs that somebody watches: who follows their logs, who looks at their consoles, who types.
//!
//! Owns the newest bytes of each such console, the histories of those who read back, and what was
//! typed and may be in a VMM's queue.
//! **Invariant:** a VM that nobody watches has two numbers here, if it was typed into, and its
//! reads look at one flag. All that a VM prints while it is watched is in its ring until newer
//! bytes have taken its room, whatever becomes of it in the log.

use super::body::Body;
use super::client::Asker;
use super::deadlines::Deadlines;
use crate::control::frames::{Notice, Writer};
use crate::control::pacing::Ahead;
use crate::control::ring::Ring;
use crate::env::{Env, Files, Moment};
use crate::limits;
use crate::log::{History, LogError};
use crate::reactor::key::Key;
use crate::reactor::{EventKind, Reactor, VmId};
use std::collections::HashMap;

/// All of them.
pub(in crate::reactor) struct Consoles<F: Files> {
    watched: HashMap<Key, Watched>,
    /// The log that a client reads back, by the client.
    pub(super) histories: HashMap<Key, History<F>>,
    /// The logs of VMs that are gone, by the VM, for those who were to read back and had not begun.
    pub(super) last_histories: HashMap<Key, History<F>>,
    /// VMs whose watchers are to be told at a time that there is more.
    due: Deadlines,
    /// How much input may wait for the guest of a VM that is not watched, and what is loose of it.
    left: HashMap<Key, (u64, u64)>,
}

impl<F: Files> Default for Consoles<F> {
    fn default() -> Self {
        let (watched, histories, last_histories, due, left) = Default::default();
        Consoles { watched, histories, last_histories, due, left }
    }
}

impl<F: Files> Consoles<F> {
    pub(super) fn get(&self, vm: Key) -> Option<&Watched> {
        self.watched.get(&vm)
    }

    pub(super) fn get_mut(&mut self, vm: Key) -> Option<&mut Watched> {
        self.watched.get_mut(&vm)
    }

    /// When somebody is to be told that there is more.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.due.next()
    }

    /// Whether there is room for one more that is watched for what was typed into it alone.
    fn may_stay(&self) -> bool {
        self.watched.values().filter(|one| one.stays).count() < limits::INPUT_LEFT_VMS
    }
}

/// One VM that is watched.
pub(super) struct Watched {
    pub ring: Ring,
    /// When the time is noted next, if bytes come then.
    mark_at: Moment,
    /// Its watchers are told of more from then on, or earlier of much.
    tell_at: Moment,
    /// The same, as it stands in the order of all; `None`: they were told of all.
    armed: Option<Moment>,
    /// They were told of all before this byte.
    told: u64,
    /// Clients who look at the console.
    pub viewers: Vec<Key>,
    /// Clients who follow the log.
    followers: Vec<Key>,
    /// Who types.
    pub writer: Option<(Key, Writer)>,
    pub ahead: Ahead,
    /// Nobody looks at it: it is watched for the echo of what was typed.
    stays: bool,
    /// Nobody is in charge of it any more: nothing follows what is there.
    pub is_gone: bool,
}

impl Watched {
    fn new(offset: u64, (unproved, loose): (u64, u64)) -> Watched {
        Watched {
            ring: Ring::new(offset),
            mark_at: Moment::ZERO,
            tell_at: Moment::ZERO,
            armed: None,
            told: offset,
            viewers: Vec::new(),
            followers: Vec::new(),
            writer: None,
            ahead: Ahead::of(unproved, loose),
            stays: false,
            is_gone: false,
        }
    }

    fn has_clients(&self) -> bool {
        !self.viewers.is_empty() || !self.followers.is_empty()
    }

    fn clients(&self) -> impl Iterator<Item = Key> {
        self.viewers.iter().chain(&self.followers).copied()
    }

    /// Whether this client types.
    pub(super) fn is_writer(&self, client: Key) -> bool {
        self.writer.is_some_and(|(key, _)| key == client)
    }
}

impl<E: Env> Reactor<E> {
    /// A client follows a VM's log from now on, or looks at its console.
    pub(super) fn watch_vm(&mut self, vm: Key, client: Key, as_viewer: bool) {
        let Some(slot) = self.table.get_mut(vm) else { return };
        slot.watched = true;
        let end = slot.log.offset();
        let left = self.consoles.left.remove(&vm).unwrap_or_default();
        let watched = self.consoles.watched.entry(vm).or_insert_with(|| Watched::new(end, left));
        watched.stays = false;
        // Its end was told already: nobody tells it again.
        watched.is_gone |= slot.closing;
        if !watched.has_clients() {
            // What could not be written yet is nowhere else.
            let waits = slot.log.held_tail();
            watched.ring.rest_at(end - waits.len() as u64);
            watched.ring.push(&waits, end, usize::MAX);
        }
        match as_viewer {
            true => watched.viewers.push(client),
            false => watched.followers.push(client),
        }
    }

    /// A client is done with.
    pub(super) fn unwatch_vm(&mut self, vm: Key, client: Key) {
        let Some(watched) = self.consoles.watched.get_mut(&vm) else { return };
        watched.viewers.retain(|key| *key != client);
        watched.followers.retain(|key| *key != client);
        if !watched.has_clients() {
            watched.ring.rest_at(watched.ring.end());
        }
        self.settle_watched(vm);
    }

    /// Forgets a VM at which nobody looks any more. What was typed stays known as long as the VMM
    /// may have it queued: much of it as it is, for its echo to be found, else the numbers.
    fn settle_watched(&mut self, vm: Key) {
        let Some(watched) = self.consoles.watched.get(&vm).filter(|one| !one.has_clients()) else {
            return;
        };
        let is_much = watched.ahead.known() > limits::INPUT_LEFT_BYTES && !watched.is_gone;
        if is_much && (watched.stays || self.consoles.may_stay()) {
            if let Some(watched) = self.consoles.watched.get_mut(&vm) {
                watched.stays = true;
            }
            return;
        }
        if watched.ahead.unproved() > 0 && !watched.is_gone {
            let left = (watched.ahead.unproved(), watched.ahead.loose());
            self.consoles.left.insert(vm, left);
        }
        if let Some(mut watched) = self.consoles.watched.remove(&vm) {
            self.consoles.due.set(vm, &mut watched.armed, None);
        }
        self.consoles.last_histories.remove(&vm);
        if let Some(slot) = self.table.get_mut(vm) {
            slot.watched = false;
        }
    }

    /// The first `n` bytes of the scratch buffer came from a VM that is watched. The log has them,
    /// or holds them, or has counted them as lost: each has its offset.
    pub(in crate::reactor) fn show(&mut self, vm: Key, n: usize, now: Moment) {
        let Some(slot) = self.table.get(vm) else { return };
        let (bytes, end) = (&self.scratch[..n], slot.log.offset());
        let Some(watched) = self.consoles.watched.get_mut(&vm) else { return };
        watched.ahead.on_printed(bytes);
        if !watched.has_clients() {
            watched.ring.rest_at(end);
            return self.settle_watched(vm);
        }
        if now >= watched.mark_at {
            watched.mark_at = now + limits::MARK_INTERVAL;
            watched.ring.mark(self.env.files().wall());
        }
        let most = self.control.viewer_buffer_bytes();
        watched.ring.push(bytes, end, most);
        if now < watched.tell_at && end.saturating_sub(watched.told) < limits::WATCH_BYTES {
            let at = Some(watched.tell_at);
            return self.consoles.due.set(vm, &mut watched.armed, at);
        }
        self.tell_watchers(vm, end, now);
    }

    /// Those who watch a VM are told of all before `end`, and not again at once.
    fn tell_watchers(&mut self, vm: Key, end: u64, now: Moment) {
        let Some(watched) = self.consoles.watched.get_mut(&vm) else { return };
        self.consoles.due.set(vm, &mut watched.armed, None);
        (watched.tell_at, watched.told) = (now + limits::WATCH_INTERVAL, end);
        self.wake_watchers(vm);
    }

    /// Tells those whose time has come.
    pub(super) fn consoles_timer(&mut self, now: Moment) {
        while let Some(vm) = self.consoles.due.take_due(now) {
            let Some(watched) = self.consoles.watched.get_mut(&vm) else { continue };
            watched.armed = None;
            let end = watched.ring.end();
            self.tell_watchers(vm, end, now);
        }
    }

    /// Something is new for those who watch a VM.
    pub(in crate::reactor) fn wake_watchers(&mut self, vm: Key) {
        let Some(watched) = self.consoles.watched.get(&vm) else { return };
        for client in watched.clients() {
            self.control.wake(client);
        }
    }

    /// Tells all who look at a console but one.
    pub(super) fn tell_viewers(&mut self, vm: Key, but: Option<Key>, notice: &Notice) {
        let Some(watched) = self.consoles.watched.get(&vm) else { return };
        for client in watched.viewers.iter().filter(|client| Some(**client) != but) {
            if let Some(Body::Console(console)) = self.control.body_of(*client) {
                console.tell(notice);
                self.control.wake(*client);
            }
        }
    }

    /// A VM's console was connected, to another queue of input than before or to the same.
    pub(in crate::reactor) fn on_console_connected(&mut self, vm: Key, same_queue: bool) {
        if !same_queue {
            self.consoles.left.remove(&vm);
        }
        if let Some(watched) = self.consoles.watched.get_mut(&vm) {
            if !same_queue {
                watched.ahead = Ahead::default();
            }
            self.tell_viewers(vm, None, &Notice::Connected);
            self.wake_watchers(vm);
            self.settle_watched(vm);
        }
    }

    /// It is connected no more.
    pub(in crate::reactor) fn on_console_lost(&mut self, vm: Key) {
        self.tell_viewers(vm, None, &Notice::Disconnected);
    }

    /// Nobody is in charge of a VM any more; its log is closed. Those who are not through with it
    /// go on reading: where one has yet to open the files, that is done now, once for all of them,
    /// as nobody can say later where they were.
    pub(in crate::reactor) fn on_console_gone(&mut self, vm: Key) {
        self.consoles.left.remove(&vm);
        let Some(watched) = self.consoles.watched.get_mut(&vm) else { return };
        watched.is_gone = true;
        let start = watched.ring.start();
        let clients: Vec<Key> = watched.clients().collect();
        for client in clients {
            if let Err(error) = self.keep_history(client, vm, start) {
                ::log::warn!("control: a log can't be read on, its VM is gone: {error}");
            }
        }
        self.wake_watchers(vm);
        self.settle_watched(vm);
    }

    /// Keeps what a client needs to read a log that nobody is in charge of any more, up to `start`.
    fn keep_history(&mut self, client: Key, vm: Key, start: u64) -> Result<(), LogError> {
        if self.consoles.histories.contains_key(&client) {
            let own = self.take_history(client, vm)?;
            self.consoles.histories.extend(own.map(|own| (client, own)));
            return Ok(());
        }
        let place = self.control.body_of(client).and_then(|body| body.place());
        let is_behind = place.is_some_and(|place| place < start);
        if is_behind && !self.consoles.last_histories.contains_key(&vm) {
            let opened = self.open_history(vm)?;
            self.consoles.last_histories.extend(opened.map(|opened| (vm, opened)));
        }
        Ok(())
    }

    /// How many look at a VM's console, and who types into it.
    pub(in crate::reactor) fn viewers(&self, vm: VmId) -> (usize, Option<Writer>) {
        let watched = self.consoles.watched.get(&vm.0);
        watched.map_or((0, None), |watched| {
            (watched.viewers.len(), watched.writer.map(|(_, writer)| writer))
        })
    }

    /// How many look at all consoles, and how many of them type.
    pub(super) fn count_viewers(&self) -> (usize, usize) {
        let watched = self.consoles.watched.values();
        watched.fold((0, 0), |(viewers, writers), one| {
            (viewers + one.viewers.len(), writers + usize::from(one.writer.is_some()))
        })
    }

    /// How much input may wait for a VM's guest, for a successor, and what is loose of it.
    pub(in crate::reactor) fn input_ahead(&self, vm: &str) -> (u64, u64) {
        let Some(VmId(vm)) = self.find(vm) else { return (0, 0) };
        match self.consoles.watched.get(&vm) {
            Some(watched) => (watched.ahead.unproved(), watched.ahead.loose()),
            None => self.consoles.left.get(&vm).copied().unwrap_or_default(),
        }
    }

    /// The same, of a predecessor.
    pub(in crate::reactor) fn take_input_ahead(
        &mut self,
        vm: Key,
        (unproved, loose): (u64, u64),
        writer: Option<Writer>,
    ) {
        if let Some(Writer { uid, pid }) = writer {
            self.tell(vm, EventKind::Detached { uid, pid, cause: "upgraded" });
        }
        if unproved > 0 {
            self.consoles.left.insert(vm, (unproved, loose));
        }
    }

    /// What a caller is called where he types.
    pub(super) fn writer_of(asker: &Asker) -> Writer {
        Writer { uid: asker.uid, pid: asker.pid }
    }
}
