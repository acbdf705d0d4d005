//! Serial streams made and closed: with a descriptor store, each is in it before it is connected.
//!
//! Owns the only way in and the only way out of a VM's streams.
//! **Invariant:** first the note, then the store, then the connection; at the end first the note is
//! taken back, then the stream is closed, and last the store is told.

use super::Reactor;
use super::key::{Key, Kind};
use super::slot::Line;
use super::store::name_of;
use crate::env::{BerthNote, Env, Interest, SocketId};
use crate::handover::notify::Message;
use crate::limits;
use crate::vm::DialFailure;
use std::io;

/// Why no line could be made.
pub(super) enum NoLine {
    /// As a dial fails.
    Failed(DialFailure),
    /// The store has no room just now.
    StoreBusy,
}

impl From<io::Error> for NoLine {
    fn from(error: io::Error) -> Self {
        NoLine::Failed(DialFailure::from(&error))
    }
}

impl<E: Env> Reactor<E> {
    /// A connection to a VM's serial socket; in the store, where there is one, before it stands.
    pub(super) fn connect_line(&mut self, key: Key) -> Result<(Line<E::Stream>, SocketId), NoLine> {
        let Some(slot) = self.table.get_mut(key) else { return Err(NoLine::StoreBusy) };
        let expected = slot.expect_uid();
        let (target, socket) = self.env.find(&slot.serial(), expected)?;
        if let Some(failure) = self.refused_before(key, socket) {
            return Err(NoLine::Failed(failure));
        }
        let Some(slot) = self.table.get_mut(key) else { return Err(NoLine::StoreBusy) };
        let line = match slot.aside.lines.spare.take() {
            Some(line) => {
                if let Some(berth) = line.berth {
                    self.note_line(key, berth, socket);
                }
                line
            }
            None => {
                let stream = self.env.open(key.token(Kind::Serial), Interest::Read)?;
                self.store_line(key, stream, socket)?
            }
        };
        match self.env.connect_to(&line.stream, &target) {
            Ok(()) => self.check_peer(key, line, socket),
            Err(error) => {
                let failure = DialFailure::from(&error);
                match (line.berth, self.table.get_mut(key)) {
                    // In the store already: the next try takes it.
                    (Some(_), Some(slot)) => slot.aside.lines.spare = Some(line),
                    _ => self.hang_up(line),
                }
                Err(NoLine::Failed(failure))
            }
        }
    }

    /// Puts an unconnected stream into the store.
    fn store_line(
        &mut self,
        key: Key,
        stream: E::Stream,
        socket: SocketId,
    ) -> Result<Line<E::Stream>, NoLine> {
        if self.service.is_none() {
            return Ok(Line { stream, berth: None });
        }
        let Some(store) = &mut self.store else { return Ok(Line { stream, berth: None }) };
        if store.berths.len() >= limits::BERTHS_MAX {
            if !std::mem::replace(&mut store.full_told, true) {
                let most = limits::BERTHS_MAX;
                ::log::warn!("more than {most} consoles: a crash can cost those beyond");
            }
            return Ok(Line { stream, berth: None });
        }
        let is_stored = self.memory_is_stored();
        // A removal that was not sent yet may be of the berth that is free: a note of ours before
        // it would be, after a crash, one of the old stream that is still in the store.
        if self.service.is_some() && !(is_stored && self.is_service_told()) {
            return Err(self.wait_for_store(key));
        }
        let Some(store) = &mut self.store else { return Ok(Line { stream, berth: None }) };
        let berth = store.berths.insert(()) as u32;
        self.note_line(key, berth, socket);
        if self.hand_to_service(name_of(berth), self.env.stream_number(&stream)) {
            return Ok(Line { stream, berth: Some(berth) });
        }
        self.env.note_berth(berth, None);
        if let Some(store) = &mut self.store {
            store.berths.remove(berth as usize);
        }
        match self.service.is_some() {
            true => Err(self.wait_for_store(key)),
            false => Ok(Line { stream, berth: None }),
        }
    }

    fn wait_for_store(&mut self, key: Key) -> NoLine {
        if let Some(store) = &mut self.store {
            store.waiting.insert(key);
        }
        NoLine::StoreBusy
    }

    pub(super) fn note_line(&mut self, key: Key, berth: u32, socket: SocketId) {
        let id = self.name(key);
        let Some(store) = &mut self.store else { return };
        let note = BerthNote { id, sequence: store.next_sequence(), socket: Some(socket) };
        self.env.note_berth(berth, Some(&note));
    }

    /// Closes a stream that has ended, or was left: the only way out of the store too.
    pub(super) fn hang_up(&mut self, line: Line<E::Stream>) {
        let Line { stream, berth } = line;
        if let Some(berth) = berth {
            self.env.note_berth(berth, None);
        }
        drop(stream);
        if let Some(berth) = berth {
            self.give_berth_back(berth);
        }
    }

    pub(super) fn give_berth_back(&mut self, berth: u32) {
        self.env.note_berth(berth, None);
        self.tell_service(Message::Remove(name_of(berth)));
        if let Some(store) = &mut self.store
            && store.berths.contains(berth as usize)
        {
            store.berths.remove(berth as usize);
        }
    }
}
