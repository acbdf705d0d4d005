//! What a signal asks of a program that has a terminal in its hands.
//!
//! Owns the way in which a signal wakes a wait.
//! **Invariant:** a signal only notes itself; what it asks for is done by whoever waits, so that
//! the terminal is given back first.

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The signals that end it.
const TO_END: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Signals that have come.
pub struct Signals {
    /// Readable when one has.
    woken: UnixStream,
    /// The one that ends the program; 0: none has come.
    end: Arc<AtomicUsize>,
}

impl Signals {
    /// Watches for them from now on, for good.
    pub fn watch() -> io::Result<Signals> {
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let end = Arc::new(AtomicUsize::new(0));
        for signal in TO_END {
            flag::register_usize(signal, Arc::clone(&end), signal.unsigned_abs() as usize)?;
        }
        for signal in TO_END.into_iter().chain([SIGWINCH, SIGCONT]) {
            pipe::register(signal, waker.try_clone()?)?;
        }
        Ok(Signals { woken, end })
    }

    /// Forgets what woke us.
    pub fn clear(&mut self) {
        let mut all = [0; 64];
        while self.woken.read(&mut all).is_ok_and(|n| n == all.len()) {}
    }

    /// The number of the signal that is to end us, if one has come.
    pub fn end(&self) -> Option<u8> {
        match u8::try_from(self.end.load(Ordering::Relaxed)) {
            Ok(0) | Err(_) => None,
            Ok(signal) => Some(signal),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
