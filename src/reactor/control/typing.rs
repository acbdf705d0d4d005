//! What a writer types, on its way to the guest.
//!
//! Owns no state of its own.
//! **Invariant:** no more of a writer is read than may go on: what the VMM has no room for, and
//! what would be too far ahead of the guest, waits in the client's socket. Nobody waits for a VMM.

use super::client::{Client, Served};
use super::console::{Console, Mode};
use crate::control::frames::{Notice, Part};
use crate::control::pacing;
use crate::env::{Env, Moment};
use crate::limits;
use crate::reactor::Reactor;
use crate::reactor::key::Key;
use crate::vm::State;
use std::io;

/// What is said of a frame `b`, by which others ask for a break.
const NO_BREAK: &str = "Cloud Hypervisor has no break: its serial socket carries bytes alone";

impl<E: Env> Reactor<E> {
    /// Takes a piece of what a client has typed, and sends it on. [`Served::More`]: there may be
    /// more of it.
    pub(super) fn step_typing(&mut self, key: Key, console: &mut Console, now: Moment) -> Served {
        if console.retry_at.is_some_and(|at| at <= now) {
            console.retry_at = None;
        }
        let read = match self.may_read(console) {
            true => self.read_typed(key, console),
            false => Served::Waits,
        };
        if read == Served::Gone {
            console.has_ended = true;
        }
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Gone };
        let mut more = read == Served::More;
        if !client.input.is_empty() && console.typed.len() < limits::INPUT_PIECE_BYTES {
            let mut input = std::mem::take(&mut client.input);
            match take_input(console, &mut input) {
                Ok(()) => {}
                Err(why) => {
                    console.tell(&Notice::BadFrame { why });
                    console.has_ended = true;
                    input.clear();
                }
            }
            more |= !input.is_empty();
            if let Some(client) = self.control.clients.get_mut(key) {
                client.input = input;
            }
        }
        if console.mode == Mode::Spy && !console.typed.is_empty() {
            console.typed.clear();
            if !std::mem::replace(&mut console.told_read_only, true) {
                console.tell(&Notice::ReadOnly);
            }
        }
        let is_stuck = !self.send_typed(console, more && !console.has_ended, now);
        let hung_up = self.control.clients.get(key).is_none_or(|client| client.has_hung_up);
        if (console.has_ended || (hung_up && is_stuck)) && (console.typed.is_empty() || is_stuck) {
            return Served::Gone;
        }
        let readable = self.control.clients.get(key).is_some_and(Client::is_readable);
        if (more || readable) && !is_stuck { Served::More } else { Served::Waits }
    }

    /// Whether a piece of input may be taken now.
    fn may_read(&self, console: &Console) -> bool {
        match console.mode {
            Mode::Spy => true,
            _ if console.has_ended || console.retry_at.is_some() => false,
            _ => console.typed.len() < limits::INPUT_PIECE_BYTES && !console.is_full,
        }
    }

    /// Reads a piece. [`Served::More`]: there may be more, as it filled the room.
    fn read_typed(&mut self, key: Key, console: &Console) -> Served {
        let Some(client) = self.control.clients.get_mut(key) else { return Served::Gone };
        let taken = client.input.len() + console.typed.len();
        let room = limits::INPUT_PIECE_BYTES.saturating_sub(taken);
        client.read_up_to(&mut self.env, &mut self.scratch, room)
    }

    /// Sends what is typed and may go on. `false`: there is some that may not now.
    fn send_typed(&mut self, console: &mut Console, more: bool, now: Moment) -> bool {
        let forced = console.mode == Mode::Force;
        let Some(watched) = self.consoles.get_mut(console.view.vm) else { return false };
        let length = pacing::piece(console.typed.len(), more);
        let needed = match console.is_full {
            // Not byte by byte, as the guest prints them.
            true => length.max(limits::INPUT_PIECE_BYTES),
            false => length,
        };
        if watched.ahead.room(forced, needed) < needed as u64 {
            if !std::mem::replace(&mut console.is_full, true) {
                let piece = limits::INPUT_PIECE_BYTES;
                let more = watched.ahead.room(true, piece) >= piece as u64;
                let (ahead, force_goes_on) = (watched.ahead.unproved(), !forced && more);
                console.tell(&Notice::InputFull { ahead, force_goes_on });
            }
            return false;
        }
        if std::mem::take(&mut console.is_full) {
            console.tell(&Notice::InputGoesOn);
        }
        if length == 0 {
            return true;
        }
        if console.retry_at.is_some() {
            return false;
        }
        let Some(slot) = self.table.get(console.view.vm) else { return false };
        let serves = matches!(slot.vm.state(), State::Streaming { .. });
        let is_whole = slot.aside.lines.successor.is_none() && !slot.foreign;
        let Some(line) = slot.stream.as_ref().filter(|_| serves && is_whole) else { return false };
        match self.env.send(&line.stream, &console.typed[..length]) {
            Ok(sent) => {
                if let Some(watched) = self.consoles.get_mut(console.view.vm) {
                    watched.ahead.on_sent(&console.typed[..sent]);
                }
                console.typed.drain(..sent);
                console.idle_at = self.idle_from_now();
                if sent < length {
                    console.retry_at = Some(now + limits::INPUT_RETRY);
                }
                sent == length
            }
            Err(error) => {
                // An end is told by the next read; until there is another stream this waits.
                if error.kind() == io::ErrorKind::WouldBlock {
                    console.retry_at = Some(now + limits::INPUT_RETRY);
                }
                false
            }
        }
    }
}

/// Moves input that came, without its frames, to what is typed.
fn take_input(console: &mut Console, input: &mut Vec<u8>) -> Result<(), String> {
    let Some(mut frames) = console.frames.take() else {
        console.typed.append(input);
        return Ok(());
    };
    let (mut rest, mut failed, mut told) = (&input[..], None, Vec::new());
    loop {
        match frames.next(&mut rest) {
            Ok(None) => break,
            Ok(Some(Part::Input(bytes))) => console.typed.extend_from_slice(bytes),
            // What goes the other way means nothing here.
            Ok(Some(Part::Output(_) | Part::Notice(_))) => {}
            Ok(Some(Part::NotKnown(kind))) => {
                let why = if kind == b'b' { NO_BREAK } else { "no frame of this kind is known" };
                told.push(Notice::NotKnown { kind: char::from(kind), why: why.into() });
            }
            Err(error) => {
                failed = Some(error.to_string());
                break;
            }
        }
    }
    input.clear();
    console.frames = Some(frames);
    for notice in told {
        console.tell(&notice);
    }
    failed.map_or(Ok(()), Err)
}
