//! The descriptor store: consoles that outlive a crash of ours.
//!
//! Owns the names under which streams are kept (`s` and the number of a berth), and what a
//! predecessor left until its VM is adopted.
//! **Invariant:** a stream is in the store, and noted, before it is connected; the note goes first
//! and the stream last. So whatever the store holds at a crash is noted, or needs no care.

use super::key::{Key, Kind};
use super::slot::{Line, Slot};
use super::{Error, Reactor};
use crate::config::VmSpec;
use crate::env::{BerthNote, Descriptor, Env, Flight, Found, Moment, SocketId};
use crate::handover::notify::Message;
use crate::limits;
use crate::log::record::Cause;
use crate::vm::{Next, State};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the memory that is kept beside the streams.
const MEMORY: &str = "state";

pub(super) struct Store {
    memory: Descriptor,
    /// It is in the store.
    memory_is_stored: bool,
    pub(super) berths: Slab<()>,
    held: Slab<()>,
    last_sequence: u64,
    left: BTreeMap<String, Vec<Left>>,
    flight: Option<Flight>,
    held_before: BTreeMap<String, u64>,
    pub(super) full_told: bool,
    /// VMs whose dial found no room at the manager's socket.
    pub(super) waiting: BTreeSet<Key>,
}

/// A stream that a predecessor left.
struct Left {
    berth: u32,
    number: Descriptor,
    sequence: u64,
    socket: SocketId,
}

pub(super) fn name_of(berth: u32) -> String {
    format!("s{berth}")
}

fn berth_of(name: &str) -> Option<u32> {
    let berth = name.strip_prefix('s')?.parse().ok()?;
    (name_of(berth) == name).then_some(berth)
}

/// What a manager handed over, sorted by what it is for.
#[derive(Default)]
pub(super) struct Kept {
    pub memory: Option<Descriptor>,
    pub streams: BTreeMap<u32, Vec<Descriptor>>,
    pub others: Vec<(String, Descriptor)>,
}

impl Kept {
    pub(super) fn sort(kept: Vec<(String, Descriptor)>) -> Self {
        let mut sorted = Kept::default();
        for (name, number) in kept {
            match berth_of(&name) {
                Some(berth) => sorted.streams.entry(berth).or_default().push(number),
                None if name == MEMORY && sorted.memory.is_none() => sorted.memory = Some(number),
                None => sorted.others.push((name, number)),
            }
        }
        sorted
    }
}

impl Kept {
    /// All of it but the memory.
    fn into_numbers(self) -> Vec<Descriptor> {
        let others = self.others.into_iter().map(|(_, number)| number);
        self.streams.into_values().flatten().chain(others).collect()
    }
}

impl Store {
    /// `berths`: those that are in use; the free ones between them are free.
    fn new(
        memory: Descriptor,
        memory_is_stored: bool,
        berths: impl Iterator<Item = u32>,
        last_sequence: u64,
    ) -> Self {
        Store {
            memory,
            memory_is_stored,
            berths: berths.map(|berth| (berth as usize, ())).collect(),
            held: Slab::new(),
            last_sequence,
            left: BTreeMap::new(),
            flight: None,
            held_before: BTreeMap::new(),
            full_told: false,
            waiting: BTreeSet::new(),
        }
    }

    pub(super) fn memory(&self) -> Descriptor {
        self.memory
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        // As it was found it may be any number.
        self.last_sequence = self.last_sequence.saturating_add(1);
        self.last_sequence
    }
}

impl<E: Env> Reactor<E> {
    /// From now on every serial stream is kept in the service manager's descriptor store, so that a
    /// crash of this process costs no byte. `kept`: the names and numbers of what it has kept for a
    /// predecessor (LISTEN_FDS); a VM that is then adopted gets its own back, and what is left is
    /// for [`Reactor::leave_unclaimed`].
    ///
    /// # Errors
    /// The memory that goes to the store can't be made.
    pub fn keep_in_store(&mut self, kept: Vec<(String, Descriptor)>) -> Result<(), Error> {
        let kept = Kept::sort(kept);
        let own = self.memory_left.take();
        let memory = own.or(kept.memory);
        let (number, is_new, found) = match self.env.open_remains(memory) {
            Ok(opened) => opened,
            Err(cause) => {
                // Without what was noted of them nobody could take them up again.
                self.leave_numbers(kept.into_numbers());
                return Err(Error { what: "make memory for a successor", cause });
            }
        };
        if own.is_some() {
            self.go_on_with_store(number, is_new, &found);
            return Ok(());
        }
        let useless = self.begin_store(number, is_new, found, kept);
        self.leave_numbers(useless);
        Ok(())
    }

    /// Begins to keep streams in the service manager's store, with what a predecessor left there.
    /// Returns the numbers that are of no use.
    pub(super) fn begin_store(
        &mut self,
        memory: Descriptor,
        is_new: bool,
        found: Found,
        kept: Kept,
    ) -> Vec<Descriptor> {
        let last_sequence = found.last_sequence();
        let mut left: BTreeMap<String, Vec<Left>> = BTreeMap::new();
        let mut notes: BTreeMap<u32, BerthNote> = found.berths.into_iter().collect();
        let mut useless: Vec<Descriptor> = kept.others.iter().map(|(_, number)| *number).collect();
        let mut useless_names: Vec<String> =
            kept.others.into_iter().map(|(name, _)| name).collect();
        let mut taken = Vec::new();
        for (berth, numbers) in kept.streams {
            // One that never was connected needs no care, whoever it was kept for.
            let connected = |number: &Descriptor| self.env.peer_path(*number).is_ok();
            let (mut numbers, unconnected): (Vec<_>, Vec<_>) =
                numbers.into_iter().partition(connected);
            useless.extend(unconnected);
            let number = numbers.pop();
            useless.extend(numbers);
            let note = notes.remove(&berth).and_then(|note| Some((note.socket?, note)));
            match (number, note) {
                (Some(number), Some((socket, note))) => {
                    taken.push(berth);
                    let one = Left { berth, number, sequence: note.sequence, socket };
                    left.entry(note.id).or_default().push(one);
                }
                (number, _) => {
                    useless.extend(number);
                    useless_names.push(name_of(berth));
                }
            }
        }
        for berth in notes.into_keys() {
            self.env.note_berth(berth, None);
        }
        let mut store = Store::new(memory, !is_new, taken.into_iter(), last_sequence);
        (store.left, store.flight) = (left, found.flight);
        for (at, id, bytes) in found.held {
            self.env.note_held(at, "", 0);
            store.held_before.insert(id, bytes);
        }
        for name in useless_names {
            self.tell_service(Message::Remove(name));
        }
        self.store = Some(store);
        if is_new {
            self.tell_service(Message::Remove(MEMORY.into()));
        }
        self.memory_is_stored();
        useless
    }

    /// Whether the memory is in the store by now: without it no stream's note would be found.
    pub(super) fn memory_is_stored(&mut self) -> bool {
        let Some(store) = &self.store else { return false };
        let (stored, memory) = (store.memory_is_stored, store.memory);
        let stored = stored || self.hand_to_service(MEMORY.into(), memory);
        if let Some(store) = &mut self.store {
            store.memory_is_stored = stored;
        }
        stored
    }

    /// The predecessor was this process: its VMs are in charge, with their berths.
    pub(super) fn go_on_with_store(&mut self, memory: Descriptor, is_new: bool, found: &Found) {
        let berths = self.berths().into_iter();
        self.store = Some(Store::new(memory, true, berths, found.last_sequence()));
        for (at, _, _) in &found.held {
            self.env.note_held(*at, "", 0);
        }
        let kept = self.berths();
        // Those of VMs that were not taken over.
        for (berth, _) in found.berths.iter().filter(|(berth, _)| !kept.contains(berth)) {
            self.give_berth_back(*berth);
        }
        if is_new {
            self.store_anew();
        }
        for key in self.table.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            self.note_held(key);
        }
    }

    /// A successor does not know of streams that were never connected.
    pub(super) fn give_spares_back(&mut self) {
        for key in self.table.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            if let Some(line) =
                self.table.get_mut(key).and_then(|slot| slot.aside.lines.spare.take())
            {
                self.hang_up(line);
            }
        }
    }

    /// The berths of all streams there are.
    pub(super) fn berths(&self) -> Vec<u32> {
        let lines = self.table.iter().flat_map(|(_, slot)| {
            [slot.stream.as_ref(), slot.aside.lines.successor.as_ref().map(|(line, _)| line)]
        });
        lines.flatten().filter_map(|line| line.berth).collect()
    }

    /// The memory is a new one: what it had noted is noted anew.
    pub(super) fn store_anew(&mut self) {
        self.tell_service(Message::Remove(MEMORY.into()));
        if let Some(store) = &mut self.store {
            store.memory_is_stored = false;
        }
        self.memory_is_stored();
        let lines = self.table.iter().flat_map(|(key, slot)| {
            let stream = slot.stream.as_ref().zip(slot.socket());
            let successor =
                slot.aside.lines.successor.as_ref().map(|(line, socket)| (line, *socket));
            [(key, stream), (key, successor)]
        });
        let berths: Vec<(Key, u32, SocketId)> = lines
            .filter_map(|(key, line)| line.and_then(|(line, id)| Some((key, line.berth?, id))))
            .collect();
        for (key, berth, socket) in berths {
            self.note_line(key, berth, socket);
        }
    }

    /// Whether a crash would leave something of this VM to be written first.
    pub(super) fn has_flight(&self, id: &str) -> bool {
        let Some(store) = &self.store else { return false };
        let Some(flight) = &store.flight else { return false };
        store.left.get(id).is_some_and(|left| left.iter().any(|l| l.berth == flight.berth))
    }

    /// A VM was adopted: the streams that a predecessor left of it are its own again, and what the
    /// predecessor had read of it and not written is written. `size`: the log's, as it was found.
    pub(super) fn take_back(&mut self, key: Key, size: Option<u64>, now: Moment) {
        let Some(slot) = self.table.get(key) else { return };
        let id = slot.id().to_owned();
        let Some(store) = &mut self.store else { return };
        if let Some(bytes) = store.held_before.remove(&id) {
            self.lost_by_crash(key, bytes);
        }
        let Some(store) = &mut self.store else { return };
        let Some(mut left) = store.left.remove(&id) else { return };
        left.sort_by_key(|left| left.sequence);
        if let Some(flight) = store.flight.take_if(|f| left.iter().any(|l| l.berth == f.berth)) {
            self.land(key, &flight, size.unwrap_or(0), now);
        }
        let Some(slot) = self.table.get(key) else { return };
        let spec = slot.spec();
        let (ours, others): (Vec<Left>, Vec<Left>) =
            left.into_iter().partition(|left| self.is_connected_to(left, &spec));
        for left in others {
            self.give_berth_back(left.berth);
            self.leave_numbers(vec![left.number]);
        }
        // A stream, and one that is to displace it: there are no more.
        for left in ours.into_iter().rev().take(2).rev() {
            self.take_line_back(key, left, now);
        }
    }

    fn take_line_back(&mut self, key: Key, left: Left, now: Moment) {
        let token = key.token(Kind::Serial);
        let line = match self.env.take_stream(left.number, token) {
            Ok(stream) => Line { stream, berth: Some(left.berth) },
            Err(error) => {
                ::log::warn!("VM {}: its stream was not taken back: {error}", self.name(key));
                return self.give_berth_back(left.berth);
            }
        };
        let Ok(line) = self.leave_if_strange(key, line, left.socket) else { return };
        let Some(slot) = self.table.get_mut(key) else { return };
        if slot.stream.is_some() {
            slot.aside.lines.successor = Some((line, left.socket));
            return;
        }
        ::log::info!("VM {}: its console was kept over the restart", slot.id());
        let next = self.connected(key, line, left.socket, now);
        if let Some(slot) = self.table.get_mut(key) {
            // It was served before: what is silent now is no reason to look for its thread.
            slot.vm.on_bytes(false, now);
            slot.ready.look_at_serial();
        }
        self.enqueue(key);
        self.apply(key, next, now);
    }

    /// Whether a stream that was left leads to this VM's socket. CH may have been given a relative
    /// path: then its last part has to do.
    fn is_connected_to(&mut self, left: &Left, spec: &VmSpec) -> bool {
        let Ok(bound) = self.env.peer_path(left.number) else { return false };
        // In CH's own mount namespace the path may be another.
        if self.env.socket_id(&spec.serial).is_ok_and(|id| id == left.socket) {
            return true;
        }
        if bound.is_absolute() {
            return self.env.place(&bound) == self.env.place(&spec.serial);
        }
        bound.file_name() == spec.serial.file_name()
    }

    /// Writes the rest of what was in flight.
    fn land(&mut self, key: Key, flight: &Flight, size: u64, now: Moment) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let rest = flight.bytes.len() - flight.done;
        let by_write = match flight.base {
            None => 0,
            Some(base) => usize::try_from(size.saturating_sub(base)).unwrap_or(rest).min(rest),
        };
        let done = flight.done + by_write;
        self.env.resume_flight(done);
        let before = slot.log.counters();
        let more = flight.bytes.len();
        slot.log.append(self.env.files(), &flight.bytes[done..], more, now);
        slot.read_bytes += (flight.bytes.len() - done) as u64;
        self.after_log(key, before);
        // After the note of what is held: a crash in between finds it among that.
        self.env.landed();
    }

    fn lost_by_crash(&mut self, key: Key, bytes: u64) {
        let id = self.name(key);
        ::log::warn!("VM {id}: {bytes} bytes that could not be written were lost in a crash");
        let now = self.env.now();
        let Some(slot) = self.table.get_mut(key) else { return };
        let before = slot.log.counters();
        slot.log.lose(self.env.files(), bytes, Cause::Crash, now);
        self.after_log(key, before);
    }

    /// What a predecessor had read when it was killed is yet to be written: its VM is yet to be
    /// adopted. A turn before that may read something else in its place.
    pub fn owes_flight(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.flight.is_some())
    }

    /// Leaves what a predecessor left and nobody has adopted. To be called once every VM that is
    /// wanted was adopted.
    pub fn leave_unclaimed(&mut self) {
        let Some(store) = &mut self.store else { return };
        let left = std::mem::take(&mut store.left);
        let flight = store.flight.take();
        let held = std::mem::take(&mut store.held_before);
        if let Some(flight) = flight {
            let bytes = (flight.bytes.len() - flight.done) as u64;
            ::log::warn!("{bytes} bytes of a VM that is no longer in charge were not written");
            self.stats.lost_bytes += bytes;
            self.stats.lost_crash += bytes;
            self.env.landed();
        }
        for (id, bytes) in held {
            ::log::warn!("VM {id}: {bytes} bytes that could not be written were lost in a crash");
            self.stats.lost_bytes += bytes;
            self.stats.lost_crash += bytes;
        }
        let mut numbers = Vec::new();
        for (id, lines) in left {
            ::log::info!("VM {id}: no longer in charge, its console is left");
            for line in lines {
                self.give_berth_back(line.berth);
                numbers.push(line.number);
            }
        }
        self.leave_numbers(numbers);
    }

    pub(super) fn leave_numbers(&mut self, numbers: Vec<Descriptor>) {
        if numbers.is_empty() {
            return;
        }
        let bytes = self.env.leave_streams(numbers, limits::LEAVE_DEADLINE);
        if bytes > 0 {
            ::log::warn!("{bytes} bytes of consoles that are nobody's were dropped");
            self.stats.lost_bytes += bytes;
            self.stats.lost_unclaimed += bytes;
        }
    }
}

impl<E: Env> Reactor<E> {
    /// Keeps the note of what a VM holds up to date.
    pub(super) fn note_held(&mut self, key: Key) {
        let Some(store) = &mut self.store else { return };
        let Some(slot) = self.table.get_mut(key) else { return };
        let held = slot.log.unrecorded_bytes();
        match (held, slot.aside.held_note) {
            (0, None) => {}
            (0, Some(at)) => {
                self.env.note_held(at, "", 0);
                store.held.remove(at);
                slot.aside.held_note = None;
            }
            (held, at) => {
                let at = at.unwrap_or_else(|| store.held.insert(()));
                slot.aside.held_note = Some(at);
                self.env.note_held(at, slot.id(), held);
            }
        }
    }

    /// The manager's socket has room again: those who waited for that dial, as far as it goes.
    /// `true`: there is room left, but no time.
    pub(super) fn dial_waiting(&mut self, now: Moment) -> bool {
        let mut pace = self.pace(now);
        while let Some(store) = &mut self.store {
            let Some(key) = store.waiting.pop_first() else { return false };
            let left = store.waiting.len();
            let dialing = |slot: &Slot<E>| matches!(slot.vm.state(), State::Dialing { .. });
            if self.table.get(key).is_some_and(dialing) {
                self.apply(key, Next::Dial, now);
            }
            // It waits again: there is no more room.
            if self.store.as_ref().is_some_and(|store| store.waiting.len() > left) {
                return false;
            }
            if pace.is_over(&self.env) {
                return left > 0;
            }
        }
        false
    }

    /// The end of all: nothing is left for a successor.
    pub(super) fn end_store(&mut self) {
        if self.store.take().is_some() {
            self.tell_service(Message::Remove(MEMORY.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_berth_is_known_by_its_own_name_alone(
            berth: u32,
            name in fuzz::damaged_text(&["s0", "s19999", "s4294967295", "state"]),
        ) {
            prop_assert_eq!(berth_of(&name_of(berth)), Some(berth));
            prop_assert!(berth_of(&name).is_none_or(|berth| name_of(berth) == name));
        }

        /// Whatever names a manager hands over, no number is lost, and none is told twice.
        #[test]
        fn every_number_that_is_handed_over_is_sorted_once(
            names in proptest::collection::vec(
                prop_oneof![
                    Just("state".to_owned()),
                    fuzz::damaged_text(&["s0", "s1", "state"]),
                ],
                0..20,
            ),
        ) {
            let count = names.len() as Descriptor;
            let first = names.iter().position(|name| name == MEMORY);
            let sorted = Kept::sort(names.into_iter().zip(3..).collect());
            prop_assert_eq!(sorted.memory, first.map(|at| at as Descriptor + 3));
            let streams = sorted.streams.into_values().flatten();
            let others = sorted.others.into_iter().map(|(_, number)| number);
            let mut all: Vec<_> = streams.chain(others).chain(sorted.memory).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (3..3 + count).collect::<Vec<_>>());
        }
    }
}
