//! A place in what a VM prints, and what there is from there on: of its files, or of its ring.
//!
//! Owns a place; the history belongs to the client, as long as it is needed, or to all who yet read
//! of a VM that is gone.
//! **Invariant:** each byte is told once, at its offset, or is told to be missing: files are read
//! up to where the ring begins, and what is above that comes from the ring alone. That a VM goes
//! changes nothing of this.

use crate::control::ring::Ring;
use crate::env::Env;
use crate::limits;
use crate::log::{History, LogError, Part};
use crate::reactor::Reactor;
use crate::reactor::key::Key;
use std::time::Duration;

/// Why bytes can't be had of a VM that is gone: its files are gone as well.
pub(super) const GONE: &str = "gone";

/// A client's place.
pub(super) struct View {
    pub vm: Key,
    /// The next byte.
    pub offset: u64,
    /// No byte from here on.
    pub until: u64,
    /// It has come up to what is printed now.
    pub is_live: bool,
}

/// What there is.
#[derive(Debug)]
pub(super) enum Sight {
    /// Bytes, and when the first was printed, or shortly before.
    Bytes { offset: u64, time: Option<Duration>, bytes: Vec<u8> },
    /// Bytes that can't be had.
    Missing { offset: u64, bytes: u64, why: &'static str },
}

impl<E: Env> Reactor<E> {
    /// What there is at a client's place, some 16 KiB of it; nothing: it is not there yet. With
    /// `timed` no bytes are told together that have different times.
    ///
    /// # Errors
    /// The log can't be read.
    pub(super) fn look_at_vm(
        &mut self,
        client: Key,
        view: &mut View,
        timed: bool,
    ) -> Result<Vec<Sight>, LogError> {
        let ring = self.consoles.get(view.vm).map(|watched| &watched.ring);
        if let Some(ring) = ring.filter(|ring| view.offset >= ring.start()) {
            view.is_live = true;
            let seen = from_ring(ring, view);
            self.consoles.histories.remove(&client);
            return Ok(seen);
        }
        let until = view.until.min(ring.map_or(u64::MAX, Ring::start));
        if view.offset >= until {
            return Ok(Vec::new());
        }
        // While it is read nobody else can have it.
        let shared = match self.consoles.histories.contains_key(&client) {
            true => None,
            false => self.consoles.last_histories.remove(&view.vm),
        };
        let is_shared = shared.is_some();
        let history = match shared {
            Some(history) => Some(history),
            None => self.take_history(client, view.vm)?,
        };
        let Some(mut history) = history else { return Ok(self.pass_over(view, until)) };
        let seen = self.read_back(&mut history, view, until, timed);
        match is_shared {
            true => self.consoles.last_histories.insert(view.vm, history),
            false => self.consoles.histories.insert(client, history),
        };
        seen
    }

    /// A client's history, as things stand now; or a new one. `None`: the VM is gone.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn take_history(
        &mut self,
        client: Key,
        vm: Key,
    ) -> Result<Option<History<E::Files>>, LogError> {
        let Some(mut history) = self.consoles.histories.remove(&client) else {
            return self.open_history(vm);
        };
        self.bring_up(&mut history, vm)?;
        Ok(Some(history))
    }

    /// Opens a VM's log to be read back; `None`: the VM is gone.
    ///
    /// # Errors
    /// It can't be read, or its events file is longer than a turn may take.
    pub(super) fn open_history(&mut self, vm: Key) -> Result<Option<History<E::Files>>, LogError> {
        let Some(slot) = self.table.get(vm) else { return Ok(None) };
        let spec = slot.spec().log;
        let most = limits::CONTROL_EVENTS_BYTES_MAX;
        let mut history = History::open_within(self.env.files(), &spec, most)?;
        self.bring_up(&mut history, vm)?;
        Ok(Some(history))
    }

    /// Tells a history what the events file will say of its VM, while somebody knows.
    fn bring_up(&mut self, history: &mut History<E::Files>, vm: Key) -> Result<(), LogError> {
        let Some(slot) = self.table.get(vm) else { return Ok(()) };
        let unwritten = slot.log.unwritten_lines(self.env.files());
        history.know(self.env.files(), unwritten)
    }

    /// What no file has, between what is written and what is in the ring.
    fn pass_over(&self, view: &mut View, until: u64) -> Vec<Sight> {
        if until == u64::MAX {
            return Vec::new();
        }
        let is_gone = self.table.get(view.vm).is_none_or(|slot| slot.closing);
        // Held, or lost and not yet recorded; of a VM that is gone either was recorded at the end.
        let why = if is_gone { GONE } else { "not_written" };
        let (offset, bytes) = (view.offset, until - view.offset);
        view.offset = until;
        vec![Sight::Missing { offset, bytes, why }]
    }

    fn read_back(
        &mut self,
        history: &mut History<E::Files>,
        view: &mut View,
        until: u64,
        timed: bool,
    ) -> Result<Vec<Sight>, LogError> {
        if view.offset >= history.len() {
            history.refresh(self.env.files())?;
        }
        let mut most = (until - view.offset).min(limits::CONTROL_PIECE_BYTES as u64);
        if let Some(next) = history.next_time_after(view.offset).filter(|_| timed) {
            most = most.min(next - view.offset);
        }
        let pieces = history.read_at(self.env.files(), view.offset, most)?;
        if pieces.is_empty() {
            return Ok(self.pass_over(view, until));
        }
        let mut seen = Vec::new();
        for piece in pieces.into_iter().take(limits::CONTROL_PARTS_A_PIECE) {
            let (offset, end) = (piece.offset.max(view.offset), piece.end().min(until));
            if end <= offset {
                continue;
            }
            view.offset = end;
            seen.push(match piece.part {
                Part::Bytes(bytes) => Sight::Bytes { offset, time: history.time_at(offset), bytes },
                Part::Missing(missing) => {
                    Sight::Missing { offset, bytes: end - offset, why: missing.why.word() }
                }
            });
        }
        Ok(seen)
    }
}

fn from_ring(ring: &Ring, view: &mut View) -> Vec<Sight> {
    let most = usize::try_from(view.until.saturating_sub(view.offset)).unwrap_or(usize::MAX);
    let bytes = ring.read(view.offset, most.min(limits::CONTROL_PIECE_BYTES));
    if bytes.is_empty() {
        return Vec::new();
    }
    let (offset, time) = (view.offset, ring.time_at(view.offset));
    view.offset += bytes.len() as u64;
    vec![Sight::Bytes { offset, time, bytes }]
}
