//! The serial socket and the thread that CH has behind it.
//!
//! It owns the listener, the one client, and the state of that thread: whether it serves, sleeps,
//! or is dead. Facts it imitates: one client at a time, the latest wins; a client that closes
//! makes the thread sleep 500 ms (CH sleeps at EPOLLHUP, meant for a PTY); one that closes with
//! unread bytes in its queue makes CH's read() fail with ECONNRESET, and the thread returns for
//! good, unlogged, while the listener stays: connects succeed and are never served.
//!
//! **Invariant:** at most one client; nothing is accepted unless the thread serves.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

/// How long a plain close makes CH's serial thread sleep.
const DEAF: Duration = Duration::from_millis(500);
/// How soon accept() is tried again after an error such as EMFILE.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// CH reads its client in chunks of this size.
const CHUNK: usize = 64;
/// Chunks read before other VMs have their turn.
const CHUNKS_PER_TURN: usize = 64;

/// What CH's serial thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// Not started: the VM has not booted, clients wait in the backlog.
    Unborn,
    /// Accepting and reading.
    Serving,
    /// Asleep until then.
    Asleep(Instant),
    /// Returned, until the VM is made anew.
    Dead,
}

/// What a write of one byte came to.
pub enum Sent {
    /// It is in the socket.
    Done,
    /// The socket is full.
    Full,
    /// Nobody reads any more.
    Gone,
}

/// What came from the client.
#[derive(Default)]
pub struct Input {
    /// Its bytes, a chunk that is a lone newline turned into a carriage return.
    pub bytes: Vec<u8>,
    /// Whether it half-closed or closed.
    pub eof: bool,
}

/// The tokens of the serial socket.
#[derive(Clone, Copy)]
pub struct LineTokens {
    /// The listener's.
    pub listener: Token,
    /// The client's.
    pub client: Token,
}

/// A serial socket: listener, client, thread.
pub struct Line {
    path: PathBuf,
    listener: UnixListener,
    tokens: LineTokens,
    client: Option<UnixStream>,
    thread: Thread,
    /// The client is closed both ways, as EPOLLHUP says.
    hung_up: bool,
    /// Clients may be waiting (epoll is edge-triggered here).
    to_accept: bool,
    /// Input may be waiting.
    to_read: bool,
    /// The path outlives an unorderly end.
    path_stays: bool,
}

impl Line {
    /// Takes a listener; nothing is accepted before `start`.
    ///
    /// # Errors
    /// Those of the registration with epoll.
    pub fn new(
        registry: &Registry,
        mut listener: UnixListener,
        path: PathBuf,
        tokens: LineTokens,
    ) -> io::Result<Self> {
        registry.register(&mut listener, tokens.listener, Interest::READABLE)?;
        Ok(Self {
            path,
            listener,
            tokens,
            client: None,
            thread: Thread::Unborn,
            hung_up: false,
            to_accept: true,
            to_read: false,
            path_stays: false,
        })
    }

    /// Removes the path: a VM that booted ends.
    pub fn remove_path(&self) {
        if !self.path_stays {
            // Somebody may have removed it already.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// From now on the path is not removed: the VMM dies without an orderly end.
    pub fn keep_path(&mut self) {
        self.path_stays = true;
    }

    /// Starts the thread: the VM boots or is restored.
    pub fn start(&mut self) {
        self.thread = Thread::Serving;
        self.to_accept = true;
    }

    /// Removes the path and closes on everybody who connected; the listener stays, unserved.
    pub fn abandon(&mut self, registry: &Registry, now: Instant) {
        self.start();
        while self.accept(registry, now) {}
        self.close_client();
        self.thread = Thread::Unborn;
        self.remove_path();
    }

    /// Lets the listener go, open and unserved, as CH forgets it after a VM that never booted.
    pub fn into_listener(self, registry: &Registry) -> UnixListener {
        let mut listener = self.listener;
        // It was registered in `new`; an error here changes nothing for the clients.
        let _ = registry.deregister(&mut listener);
        listener
    }

    /// Whether the thread returned for good.
    pub fn is_dead(&self) -> bool {
        self.thread == Thread::Dead
    }

    /// Whether a client is being served.
    pub fn has_client(&self) -> bool {
        self.client.is_some()
    }

    /// Until when the thread sleeps, and with it everybody who joins it.
    pub fn asleep_until(&self, now: Instant) -> Option<Instant> {
        match self.thread {
            Thread::Asleep(until) if until > now => Some(until),
            _ => None,
        }
    }

    /// When something is due without an event.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        match self.thread {
            Thread::Asleep(until) => Some(until),
            Thread::Serving if self.to_accept || self.to_read => Some(now),
            _ => None,
        }
    }

    /// An event on the listener.
    pub fn on_acceptable(&mut self) {
        self.to_accept = true;
    }

    /// An event on the client.
    pub fn on_client_event(&mut self, hung_up: bool) {
        self.to_read = true;
        self.hung_up |= hung_up;
    }

    /// Accepts one client and shuts the one before it down both ways: it still reads what is in
    /// its socket, then EOF. `false`: nobody is waiting.
    pub fn accept(&mut self, registry: &Registry, now: Instant) -> bool {
        if !self.awake(now) || !self.to_accept {
            return false;
        }
        let mut stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                self.to_accept = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    eprintln!("ch-sim: cannot accept on {}: {error}", self.path.display());
                    self.to_accept = true;
                    self.thread = Thread::Asleep(now + ACCEPT_RETRY);
                }
                return false;
            }
        };
        self.close_client();
        if let Err(error) = registry.register(&mut stream, self.tokens.client, Interest::READABLE) {
            eprintln!(
                "ch-sim: cannot serve a client of {}: {error}",
                self.path.display()
            );
            return true;
        }
        self.client = Some(stream);
        self.hung_up = false;
        self.to_read = true;
        true
    }

    /// Reads what the client sent, or finds out how it left.
    pub fn read(&mut self, now: Instant) -> Input {
        let mut input = Input::default();
        if !self.awake(now) || !self.to_read {
            return input;
        }
        for _ in 0..CHUNKS_PER_TURN {
            let Some(client) = &mut self.client else {
                self.to_read = false;
                break;
            };
            let mut chunk = [0; CHUNK];
            match client.read(&mut chunk) {
                Ok(0) => {
                    input.eof = true;
                    let hung_up = self.hung_up;
                    self.close_client();
                    if hung_up {
                        self.thread = Thread::Asleep(now + DEAF);
                    }
                    break;
                }
                // For a Windows console, which wants a return for a newline that is typed.
                Ok(1) if chunk[0] == b'\n' => input.bytes.push(b'\r'),
                Ok(count) => input.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.to_read = false;
                    break;
                }
                // ECONNRESET: it closed with unread bytes.
                Err(_) => {
                    self.close_client();
                    self.thread = Thread::Dead;
                    break;
                }
            }
        }
        input
    }

    /// Writes one byte, as the vCPU does for each that its guest prints.
    pub fn send(&mut self, byte: u8) -> Sent {
        let Some(client) = &mut self.client else {
            return Sent::Gone;
        };
        loop {
            match client.write(&[byte]) {
                Ok(1) => return Sent::Done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Full,
                Ok(_) | Err(_) => {
                    // EPIPE. The real thread runs beside the vCPU and notices as soon.
                    self.hung_up = true;
                    self.to_read = true;
                    return Sent::Gone;
                }
            }
        }
    }

    /// Asks epoll to tell when the full socket has room, or no longer to.
    pub fn watch_for_room(&mut self, registry: &Registry, watch: bool) {
        let interest = match watch {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        if let Some(client) = &mut self.client
            && let Err(error) = registry.reregister(client, self.tokens.client, interest)
        {
            eprintln!("ch-sim: {}: {error}", self.path.display());
        }
    }

    fn awake(&mut self, now: Instant) -> bool {
        if matches!(self.thread, Thread::Asleep(until) if until <= now) {
            self.thread = Thread::Serving;
        }
        self.thread == Thread::Serving
    }

    fn close_client(&mut self) {
        if let Some(client) = self.client.take() {
            // ENOTCONN if it is gone already.
            let _ = client.shutdown(Shutdown::Both);
        }
        self.to_read = false;
    }
}
