//! The service manager with its descriptor store, and the memory that it keeps for a successor.
//!
//! **Invariant:** messages are read in order, those of a process that is gone too; what is stored
//! outlives the process, not the service.

use super::{Event, Kernel, NO_DESCRIPTOR, Object, errno};
use crate::faults::Fault;
use seriald::env::{BerthNote, Flight, Found, NOTIFY_TOKEN};
use seriald::handover::notify::Heard;
use std::collections::{BTreeMap, VecDeque};
use std::io;

#[derive(Debug, Default)]
pub struct Store {
    /// There is one, and it keeps descriptors.
    pub is_there: bool,
    /// The collector that runs keeps its streams there.
    pub is_in_use: bool,
    /// Messages that its socket holds.
    pub room: usize,
    queue: VecDeque<(Vec<u8>, Option<Object>)>,
    pub stored: Vec<(String, Object)>,
    /// Somebody found no room.
    waits: bool,
}

/// Memory that a successor maps.
#[derive(Debug, Default)]
pub struct Memory {
    holders: usize,
    berths: BTreeMap<u32, BerthNote>,
    /// Each with the number of the flight that is among it.
    held: BTreeMap<usize, (String, u64, u64)>,
    flights: u64,
    /// The read in flight: its berth and what it brought.
    flight: Option<(u32, Vec<u8>)>,
    done: usize,
    base: Option<u64>,
}

impl Memory {
    /// A read begins, and has brought this.
    pub fn received(&mut self, berth: u32, bytes: &[u8]) {
        (self.done, self.base) = (0, None);
        self.flights += 1;
        self.flight = Some((berth, bytes.to_vec()));
    }

    pub fn landed(&mut self) {
        self.flight = None;
    }

    pub fn resume(&mut self, done: usize) {
        (self.done, self.base) = (done, None);
    }

    pub fn writing(&mut self, size: u64) {
        self.base = Some(size);
    }

    pub fn wrote(&mut self, bytes: usize) {
        (self.done, self.base) = (self.done + bytes, None);
    }

    pub fn note_berth(&mut self, berth: u32, note: Option<&BerthNote>) {
        match note {
            Some(note) => drop(self.berths.insert(berth, note.clone())),
            None => drop(self.berths.remove(&berth)),
        }
    }

    pub fn note_held(&mut self, at: usize, id: &str, bytes: u64) {
        match bytes {
            0 => drop(self.held.remove(&at)),
            bytes => {
                let flight = if self.flight.is_some() { self.flights } else { 0 };
                self.held.insert(at, (id.to_owned(), bytes, flight));
            }
        }
    }

    /// The VMs of which bytes are held.
    pub fn holders_of_bytes(&self) -> impl Iterator<Item = &str> {
        self.held.values().map(|(id, _, _)| id.as_str())
    }

    fn found(&self) -> Found {
        let has_landed = self.held.values().any(|(_, _, flight)| *flight == self.flights);
        let flight = self.flight.as_ref().filter(|_| !has_landed);
        Found {
            berths: self.berths.iter().map(|(berth, note)| (*berth, note.clone())).collect(),
            flight: flight.map(|(berth, bytes)| Flight {
                berth: *berth,
                bytes: bytes.clone(),
                done: self.done.min(bytes.len()),
                base: self.base,
            }),
            held: self.held.iter().map(|(at, (id, bytes, _))| (*at, id.clone(), *bytes)).collect(),
        }
    }
}

impl Kernel {
    /// sendmsg(2) to the manager's socket.
    pub fn notify(&mut self, message: &[u8], number: Option<i32>) -> io::Result<()> {
        if !self.store.is_there {
            return Err(errno(libc::ECONNREFUSED));
        }
        if self.store.queue.len() >= self.store.room || self.strikes(Fault::StoreBusy) {
            self.store.waits = true;
            if self.store.queue.is_empty() {
                self.schedule(std::time::Duration::from_millis(1), Event::StoreReads);
            }
            return Err(errno(libc::EAGAIN));
        }
        let object = number.map(|number| self.object(number)).transpose()?;
        if let Some(object) = object {
            self.hold(object);
        }
        self.store.queue.push_back((message.to_vec(), object));
        let after = self.dice.micros(20, 3000);
        self.schedule(after, Event::StoreReads);
        Ok(())
    }

    fn hold(&mut self, object: Object) {
        match object {
            Object::Stream(conn) => self.conns[conn].clients += 1,
            Object::Memory(id) => {
                if let Some(memory) = self.memories.get_mut(&id) {
                    memory.holders += 1;
                }
            }
            other => self.break_rule(format!("{other:?} goes to the store")),
        }
    }

    pub fn store_reads(&mut self) {
        while let Some((message, object)) = self.store.queue.pop_front() {
            let heard = Heard::of(&message);
            let name = heard.name.unwrap_or_default();
            if heard.remove {
                self.forget_stored(&name);
            }
            match object {
                Some(object) if heard.store => self.store.stored.push((name, object)),
                Some(object) => self.release(object),
                None => {}
            }
        }
        if std::mem::take(&mut self.store.waits) {
            self.announce(NO_DESCRIPTOR, NOTIFY_TOKEN);
        }
    }

    fn forget_stored(&mut self, name: &str) {
        let stored = std::mem::take(&mut self.store.stored);
        let (gone, kept): (Vec<_>, Vec<_>) = stored.into_iter().partition(|(own, _)| own == name);
        self.store.stored = kept;
        for (_, object) in gone {
            self.release(object);
        }
    }

    /// A start of the service: what is stored is handed over, by name and number (LISTEN_FDS).
    pub fn hand_over(&mut self) -> Vec<(String, i32)> {
        self.store_reads();
        let stored = self.store.stored.clone();
        let mut handed = Vec::new();
        for (name, object) in stored {
            self.hold(object);
            let number = self.lowest_free();
            self.descriptors.insert(number, object);
            handed.push((name, number));
        }
        handed
    }

    /// Memory by its number, or fresh memory.
    pub fn open_memory(&mut self, left: Option<i32>) -> io::Result<(i32, u64, bool, Found)> {
        if let Some(number) = left
            && let Ok(Object::Memory(id)) = self.object(number)
        {
            let found = self.memories.get(&id).map(Memory::found).unwrap_or_default();
            return Ok((number, id, false, found));
        }
        let id = self.memories.last_key_value().map_or(1, |(last, _)| last + 1);
        let number = self.new_descriptor(Object::Memory(id))?;
        self.memories.insert(id, Memory { holders: 1, ..Memory::default() });
        Ok((number, id, true, Found::default()))
    }

    pub fn drop_memory(&mut self, id: u64) {
        let Some(memory) = self.memories.get_mut(&id) else { return };
        memory.holders -= 1;
        if memory.holders == 0 {
            self.memories.remove(&id);
        }
    }
}
