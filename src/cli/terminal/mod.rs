//! The terminal of whoever types: what is safe to show on it, its raw mode, and signals.
//!
//! Owns waiting for several descriptors at once.
//! **Invariant:** nothing of a guest's is shown on a terminal but through `clean`, unless it is
//! asked for; a terminal that was taken is given back as it was, whatever ends the program, but
//! SIGKILL.

pub mod clean;
pub mod raw;
pub mod signals;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Waits until one of them is ready, or so long. A signal ends the wait, too.
pub fn wait(fds: &mut [PollFd<'_>], patience: Option<Duration>) -> io::Result<()> {
    let patience = patience.map(|time| Timespec::try_from(time).unwrap_or_default());
    match poll(fds, patience.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it can be read from, is at its end, or has failed: a read tells.
pub fn is_ready(fd: &PollFd<'_>) -> bool {
    !fd.revents().is_empty()
}

/// Whether the reader of our standard output has gone away.
pub fn is_reader_gone(fd: &PollFd<'_>) -> bool {
    fd.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// Whether somebody looks at our standard output.
pub fn is_shown() -> bool {
    io::stdout().is_terminal()
}

/// Prints bytes as they are; `false`: nobody reads them any more.
pub fn print(bytes: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// What there is to read, at most as much as there is room; `None`: nothing for now.
pub fn read_some(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::read(fd, buffer) {
        Ok(n) => Ok(Some(n)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        // A terminal that was hung up.
        Err(Errno::IO) => Ok(Some(0)),
        Err(error) => Err(error.into()),
    }
}

/// As much as can be written now.
pub fn write_some(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::write(fd, bytes) {
        Ok(n) => Ok(n),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
