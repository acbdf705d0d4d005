//! What a guest has read of its input for certain, by what it echoes.
//!
//! A VMM tells nobody what its guest has read. But a guest reads in the order in which bytes were
//! sent: so the echo of one proves that it, and all before it, were read. Output is an echo where
//! it is a run of what was sent:
//!
//! - at the front, of what is not proved yet: `FRONT_RUN` bytes, or a short line to its end;
//! - further on, as passwords and much else are not echoed: `JUMP_RUN` bytes, of some variety. Of
//!   several places it is the first, which proves least;
//! - behind an echo, in step with it: each byte.
//!
//! Line ends are skipped on both sides, as terminals make one or two bytes of either. One that
//! follows in step proves one.
//!
//! Owns the bytes that are not proved, with an index of them.
//! **Invariant:** pure. Holds at most `KNOWN_MAX` bytes, and looks at nothing that is printed
//! while nothing is unproved. A byte takes constant time, spread over many: the search for the
//! first place looks at no byte that it does not prove.

mod index;
mod tail;
#[cfg(test)]
pub mod tests;

use crate::limits;
use index::Index;
use std::collections::VecDeque;
use tail::Tail;

/// Bytes in a row that are an echo at the front.
const FRONT_RUN: usize = 16;
/// Bytes in a row that are one further on, as far as there are so many different ones among them:
/// rows of dashes or spaces are printed by many.
const JUMP_RUN: usize = 32;
const JUMP_VARIETY: usize = 4;
/// A line of at least so many bytes, to its end, is an echo within the first bytes.
const LINE_MIN: usize = 4;
const LINE_VARIETY: usize = 3;
const LINE_WITHIN: usize = 64;
/// Bytes between the places that the index knows: a run that long beyond [`JUMP_RUN`] has one.
const STRIDE: u64 = 16;
/// How far it is looked, beyond line ends, for the bytes of a run.
const LOOK: usize = 256;
/// Most bytes that are held: all that can be unproved.
const KNOWN_MAX: usize = limits::INPUT_UNPROVED_MAX as usize;
/// What is kept of memory once all is proved, in bytes.
const KEPT: usize = 1024;

/// See the module. Positions count the bytes that were sent.
#[derive(Debug, Default)]
pub struct Echo {
    /// Behind the last byte that was sent.
    sent: u64,
    /// How many of the last ones are not proved to be read.
    unproved: u64,
    /// The last of those: what is missing of them at the front is not known.
    bytes: VecDeque<u8>,
    /// The last eight that were sent, and how many, without line ends.
    word: u64,
    texts: u64,
    index: Index,
    /// What was printed last is what was proved last.
    in_step: bool,
    /// The last byte printed was no line end.
    in_line: bool,
    /// What was printed since the last proof.
    tail: Tail,
    front: Front,
}

/// The first [`FRONT_RUN`] bytes of what is not proved.
#[derive(Clone, Copy, Debug, Default)]
enum Front {
    /// To be looked for.
    #[default]
    Stale,
    /// Fewer are there.
    Short,
    /// They are these, among the first so many with line ends.
    Is(u128, usize),
}

impl Echo {
    /// Of so many bytes nothing is known but that they were sent.
    pub fn of(unproved: u64) -> Echo {
        let unproved = unproved.min(limits::OFFSET_MAX);
        Echo { sent: unproved, unproved, ..Echo::default() }
    }

    /// How many bytes a guest may not have read.
    pub fn unproved(&self) -> u64 {
        self.unproved
    }

    /// How many of them are held.
    pub fn known(&self) -> usize {
        self.bytes.len()
    }

    /// These were sent.
    pub fn on_sent(&mut self, bytes: &[u8]) {
        self.unproved += bytes.len() as u64;
        self.front = Front::Stale;
        if self.known() + bytes.len() > KNOWN_MAX {
            self.sent += bytes.len() as u64;
            return self.forget();
        }
        self.index.reach(self.known() + bytes.len(), self.sent, self.known());
        for byte in bytes {
            self.bytes.push_back(*byte);
            self.sent += 1;
            if is_line_end(*byte) {
                continue;
            }
            self.word = self.word << 8 | u64::from(*byte);
            self.texts += 1;
            if self.texts.is_multiple_of(STRIDE) {
                self.index.put(self.word, self.sent, self.known());
            }
        }
    }

    /// These were printed: how many bytes are proved thereby.
    pub fn on_printed(&mut self, bytes: &[u8]) -> u64 {
        let before = self.unproved;
        for byte in bytes {
            if self.unproved == 0 {
                break;
            }
            match is_line_end(*byte) {
                true => self.on_line_end(),
                false => self.on_text(*byte),
            }
        }
        before - self.unproved
    }

    /// Gives the bytes up: what is unproved stays so until something sent later is echoed.
    pub fn forget(&mut self) {
        let (sent, unproved) = (self.sent, self.unproved);
        *self = Echo { sent, unproved, ..Echo::default() };
    }

    fn on_line_end(&mut self) {
        if !self.in_step && self.tail.line() >= LINE_MIN {
            self.prove_line();
        }
        let is_first = std::mem::replace(&mut self.in_line, false);
        let is_next = self.bytes.front().is_some_and(|next| is_line_end(*next));
        if self.in_step && is_first && is_next {
            self.prove(1);
        }
        self.tail.end_line();
    }

    fn on_text(&mut self, byte: u8) {
        self.in_line = true;
        if self.in_step {
            let next = self.texts().next();
            match next {
                Some((next, length)) if next == byte => return self.prove(length),
                _ => self.in_step = false,
            }
        }
        self.tail.push(byte);
        if self.tail.len() >= FRONT_RUN
            && self.unknown() == 0
            && let Front::Is(run, length) = self.look_at_front()
            && run == self.tail.newer()
        {
            return self.prove(length);
        }
        if self.tail.len() >= JUMP_RUN {
            self.prove_jump();
        }
    }

    fn look_at_front(&mut self) -> Front {
        if let Front::Stale = self.front {
            let (mut run, mut front) = (0_u128, Front::Short);
            for (at, (byte, length)) in self.texts().take(FRONT_RUN).enumerate() {
                run = run << 8 | u128::from(byte);
                if at + 1 == FRONT_RUN {
                    front = Front::Is(run, length);
                }
            }
            self.front = front;
        }
        self.front
    }

    /// A line was printed to its end: the first line that it ends with, if there is one.
    fn prove_line(&mut self) {
        let within = LINE_WITHIN.saturating_sub(self.unknown() as usize).min(self.known());
        let (mut line, mut length) = ([0; LINE_WITHIN], 0);
        for (at, byte) in self.bytes.range(..within).enumerate() {
            if !is_line_end(*byte) {
                line[length] = *byte;
                length += 1;
                continue;
            }
            let sent = &line[..std::mem::take(&mut length)];
            if sent.len() >= LINE_MIN && self.tail.ends_with(sent) && varies(sent, LINE_VARIETY) {
                return self.prove(at);
            }
        }
    }

    /// The first place of what was printed, if it is anywhere.
    fn prove_jump(&mut self) {
        let known = self.known();
        let word = self.tail.newer() as u64;
        let is_there = self.index.find(word, self.sent, known).any(|end| self.ends_there(end));
        if !is_there || !varies(&self.tail.bytes(), JUMP_VARIETY) {
            return;
        }
        let mut seen = Tail::default();
        let first = self.bytes.iter().position(|byte| {
            if !is_line_end(*byte) {
                seen.push(*byte);
            }
            seen.is(&self.tail)
        });
        if let Some(at) = first {
            self.prove(at + 1);
        }
    }

    /// Whether what was printed last ends at a position.
    fn ends_there(&self, end: u64) -> bool {
        let begin = self.sent - self.known() as u64;
        let before = self.bytes.range(..(end - begin) as usize);
        let looked_at = before.rev().take(LOOK).filter(|byte| !is_line_end(**byte));
        looked_at.take(JUMP_RUN).eq(self.tail.bytes().iter().rev())
    }

    /// So many of the bytes that are held were read, and all before them.
    fn prove(&mut self, length: usize) {
        self.bytes.drain(..length);
        self.unproved = self.bytes.len() as u64;
        (self.in_step, self.front) = (true, Front::Stale);
        self.tail.clear();
        if self.unproved == 0 && self.bytes.capacity() > KEPT {
            (self.bytes, self.index) = (VecDeque::new(), Index::default());
        }
    }

    /// How many bytes are unproved and not held.
    fn unknown(&self) -> u64 {
        self.unproved - self.bytes.len() as u64
    }

    /// The first bytes that are held, without line ends; and how many there are up to each.
    fn texts(&self) -> impl Iterator<Item = (u8, usize)> {
        let looked_at = self.bytes.iter().take(LOOK).zip(1..);
        looked_at.filter(|(byte, _)| !is_line_end(**byte)).map(|(byte, length)| (*byte, length))
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether there are so many different bytes.
fn varies(bytes: &[u8], least: usize) -> bool {
    let is_new = |(at, byte): &(usize, &u8)| !bytes[..*at].contains(byte);
    bytes.iter().enumerate().filter(is_new).nth(least - 1).is_some()
}
