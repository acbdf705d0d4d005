//! One guest and its serial socket.
//!
//! Owns the listener and the one client's connection.
//! **Invariant:** a byte is counted as printed when the socket has taken it, never before.

use super::text::Text;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

/// How printing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// All that was asked for is in the socket; the last byte was about to be sent at that time,
    /// if that was asked for.
    Done(Option<Instant>),
    /// The socket is full: the vCPU stands in send(2).
    Full,
}

/// One VM's side.
pub struct Guest {
    listener: UnixListener,
    client: Option<UnixStream>,
    printed: u64,
    /// The unit that is being printed, and its number.
    unit: (u64, Vec<u8>),
}

impl Guest {
    /// Binds the serial socket.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn bind(path: &Path) -> Result<Guest> {
        let listener = UnixListener::bind(path);
        let listener = listener.with_context(|| format!("can't bind {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Guest { listener, client: None, printed: 0, unit: (u64::MAX, Vec::new()) })
    }

    /// What becomes readable when a client connects.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The client's connection, if there is one.
    pub fn client(&self) -> Option<BorrowedFd<'_>> {
        self.client.as_ref().map(AsFd::as_fd)
    }

    /// Bytes that the socket has taken.
    pub fn printed(&self) -> u64 {
        self.printed
    }

    /// Accepts every client that waits. As in CH the latest wins: the one before it gets an end of
    /// stream, after all that is in its socket.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((client, _)) => {
                    client.set_nonblocking(true)?;
                    if let Some(displaced) = self.client.replace(client) {
                        // It may have left by itself, which is no error.
                        let _ = displaced.shutdown(Shutdown::Both);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("can't accept a collector"),
            }
        }
    }

    /// Prints on until `goal` bytes have been printed, or the socket is full. `timed`: the time of
    /// the last send is wanted.
    ///
    /// # Errors
    /// Where the collector is not connected any more.
    pub fn print(&mut self, vm: usize, text: Text, goal: u64, timed: bool) -> Result<Printed> {
        let Some(client) = &self.client else { bail!("no collector is connected") };
        let length = text.unit() as u64;
        let mut sent_at = None;
        while self.printed < goal {
            let (number, at) = (self.printed / length, (self.printed % length) as usize);
            if self.unit.0 != number {
                if self.unit.0 == u64::MAX || text == Text::Lines {
                    text.write_unit(vm, number, &mut self.unit.1);
                }
                self.unit.0 = number;
            }
            let most = (goal - self.printed).min(text.piece() as u64) as usize;
            let piece = &self.unit.1[at..self.unit.1.len().min(at + most)];
            if timed && self.printed + piece.len() as u64 == goal {
                sent_at = Some(Instant::now());
            }
            match send(client.as_raw_fd(), piece, MsgFlags::MSG_NOSIGNAL) {
                Ok(taken) => self.printed += taken as u64,
                Err(Errno::EAGAIN) => return Ok(Printed::Full),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("the collector left"),
            }
        }
        Ok(Printed::Done(sent_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    fn guest_and_client(dir: &Path) -> (Guest, UnixStream) {
        let path = dir.join("serial.sock");
        let mut guest = Guest::bind(&path).expect("a listener");
        let client = connect(&path);
        guest.accept().expect("a client");
        (guest, client)
    }

    /// A client that doesn't wait for ever.
    fn connect(path: &Path) -> UnixStream {
        let client = UnixStream::connect(path).expect("a connection");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
        client
    }

    #[test]
    fn a_guest_stands_still_at_a_full_socket_and_goes_on_where_it_stood() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut guest, mut client) = guest_and_client(dir.path());
        let goal = 81 * 100;
        assert_eq!(guest.print(1, Text::Lines, goal, false).expect("a client"), Printed::Full);
        let before = guest.printed();
        assert!(before > 0 && before < goal, "{before}");
        let mut read = vec![0; usize::try_from(goal).expect("small")];
        client.read_exact(&mut read[..before as usize]).expect("what was printed");
        while guest.printed() < goal {
            guest.print(1, Text::Lines, goal, false).expect("a client");
            let (from, to) = (read.len() - (goal - before) as usize, guest.printed() as usize);
            let done = read[from..].iter().take_while(|byte| **byte != 0).count() + from;
            client.read_exact(&mut read[done..to]).expect("what was printed");
        }
        let mut unit = Vec::new();
        for (number, line) in read.chunks(81).enumerate() {
            Text::Lines.write_unit(1, number as u64, &mut unit);
            assert_eq!(line, unit);
        }
    }

    #[test]
    fn a_second_client_displaces_the_first_without_loss() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut guest, mut first) = guest_and_client(dir.path());
        guest.print(1, Text::Lines, 81, false).expect("a client");
        let mut second = connect(&dir.path().join("serial.sock"));
        guest.accept().expect("a client");
        guest.print(1, Text::Lines, 162, false).expect("a client");
        drop(guest);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        first.read_to_end(&mut one).expect("its bytes, then the end");
        second.read_to_end(&mut two).expect("its bytes, then the end");
        assert_eq!((one.len(), two.len()), (81, 81));
    }

    #[test]
    fn a_collector_that_left_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut guest, client) = guest_and_client(dir.path());
        drop(client);
        let error = guest.print(1, Text::Lines, 81, false).expect_err("nobody reads");
        assert_eq!(error.to_string(), "the collector left");
    }
}
