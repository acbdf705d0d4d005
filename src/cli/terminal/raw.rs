//! A terminal in raw mode, which hands on each key as it is typed.
//!
//! Owns the modes that it had before, and what is written to it at the end.
//! **Invariant:** it is given back by the end of [`RawTerminal`], by a panic too, and only once.

use super::{is_ready, is_shown, read_some, wait};
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};
use seriald::env::os::stopwatch::Stopwatch;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

/// How long the terminal may take to say where its cursor is.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// The terminal that was taken: there is one at most.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

struct Taken {
    modes: Termios,
    farewell: Vec<u8>,
}

/// Standard input, a terminal, in raw mode.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Takes the terminal on standard input. The greeting is shown now and the farewell at the end,
    /// if standard output is a terminal.
    ///
    /// # Errors
    /// It is none, or refuses.
    pub fn take(greeting: &str, farewell: &str) -> io::Result<RawTerminal> {
        give_back_on_panic();
        let modes = tcgetattr(io::stdin())?;
        let mut raw = modes.clone();
        raw.make_raw();
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Taken { modes, farewell: farewell.into() });
        let terminal = RawTerminal(());
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        show(greeting.as_bytes());
        Ok(terminal)
    }

    /// Waits until the terminal has answered whatever it was asked so far, and throws that away: an
    /// answer to a guest must not be taken for what was typed into a shell.
    ///
    /// It is asked last where its cursor is, at places that no guest can foretell: what it says
    /// of them is its last answer.
    pub fn drain_answers(&self) {
        let (columns, lines) = size();
        let seed = RandomState::new().build_hasher().finish() as usize;
        let one = (1 + seed % lines, 1 + (seed >> 16) % columns);
        let other = (1 + (seed >> 32) % lines, 1 + (seed >> 48) % columns);
        let ask = |(line, column)| format!("\x1b[{line};{column}H\x1b[6n");
        let last = [one, other].map(|(line, column)| format!("\x1b[{line};{column}R")).concat();
        let stdout = io::stdout();
        let mut room = [PollFd::new(&stdout, PollFlags::OUT)];
        let _ = wait(&mut room, Some(ANSWER_PATIENCE));
        if !is_shown() || !show(format!("\x1b7{}{}\x1b8", ask(one), ask(other)).as_bytes()) {
            return;
        }
        let (watch, mut buffer, mut end) = (Stopwatch::new(), [0; 1024], Vec::new());
        while let Some(left) = ANSWER_PATIENCE.checked_sub(watch.elapsed()) {
            let stdin = io::stdin();
            let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
            if wait(&mut fds, Some(left)).is_err() || !is_ready(&fds[0]) {
                return;
            }
            let Ok(Some(n @ 1..)) = read_some(&stdin, &mut buffer) else { return };
            end.extend_from_slice(&buffer[..n]);
            if end.windows(last.len()).any(|answer| answer == last.as_bytes()) {
                return;
            }
            // A part of it may be there.
            end.drain(..end.len().saturating_sub(last.len()));
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Puts the terminal back as it was.
fn give_back() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Taken { modes, farewell }) = taken else { return };
    show(&farewell);
    // What is typed ahead was meant for the guest. None of this waits: the terminal may be stuck.
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
}

/// A panic ends a release at once, without a drop.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

/// Shows it if there is a terminal that takes something now.
fn show(bytes: &[u8]) -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
    let is_free = is_shown() && wait(&mut fds, Some(Duration::ZERO)).is_ok() && is_ready(&fds[0]);
    is_free && super::write_some(&stdout, bytes).is_ok_and(|n| n == bytes.len())
}

/// Its columns and lines, where they are known.
pub fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}
