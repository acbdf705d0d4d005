//! Unix stream sockets, as far as a collector and a VMM use them.
//!
//! Owns every connection's two ends and what lies between them.
//! **Invariant:** what unix(7) and the measured facts say: 278 one-byte messages fill a socket; an
//! end of stream comes behind what was sent; a close with unread bytes resets the other end.

use super::{Kernel, errno};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// What a sender may have unread, and what one message takes of it (measured, fact 4.2).
const SEND_BUFFER: usize = 212_992;
const MESSAGE_OVERHEAD: usize = 767;

/// One that binds, and perhaps listens.
#[derive(Debug)]
pub struct Listener {
    pub inode: u64,
    pub vm: usize,
    pub pid: u32,
    pub uid: u32,
    pub listens: bool,
    pub is_open: bool,
    pub backlog: VecDeque<usize>,
    pub backlog_max: usize,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Not connected yet.
    None,
    /// Connected, not accepted.
    Waiting,
    /// Accepted.
    Open,
    /// Closed, or shut down in both directions.
    Closed,
}

#[derive(Debug)]
pub struct Conn {
    /// Whose console it is, once connected.
    pub vm: usize,
    /// The listener that it came through.
    pub listener: usize,
    /// The client is the collector.
    pub is_ours: bool,
    /// Who has the client's end: its process, the service manager.
    pub clients: usize,
    pub server: Server,
    messages: VecDeque<Vec<u8>>,
    /// How much of the first message was read.
    taken: usize,
    used: usize,
    /// The client has shut its side down, and when.
    pub left_at: Option<Duration>,
    /// The client closed with unread bytes.
    pub was_reset: bool,
    /// The collector has closed it itself, not by its death.
    pub was_closed: bool,
    /// What the client's next read fails with, once the messages are read.
    error: Option<i32>,
    pub watch: Option<(i32, u64)>,
    /// Since when there is something to read.
    pub readable_since: Option<Duration>,
    /// The client has read the end of the stream.
    pub has_seen_end: bool,
}

impl Conn {
    pub fn unread(&self) -> usize {
        self.messages.iter().map(Vec::len).sum::<usize>() - self.taken
    }
}

impl Kernel {
    pub fn new_conn(&mut self, is_ours: bool) -> usize {
        self.conns.push(Conn {
            vm: usize::MAX,
            listener: usize::MAX,
            is_ours,
            clients: 1,
            server: Server::None,
            messages: VecDeque::new(),
            taken: 0,
            used: 0,
            left_at: None,
            was_reset: false,
            was_closed: false,
            error: None,
            watch: None,
            readable_since: None,
            has_seen_end: false,
        });
        self.conns.len() - 1
    }

    /// Who listens on the socket with this inode.
    pub fn listener_on(&self, inode: u64) -> Option<usize> {
        self.listeners.iter().rposition(|one| one.is_open && one.inode == inode)
    }

    /// connect(2).
    pub fn connect(&mut self, conn: usize, inode: u64) -> io::Result<()> {
        let refused = || errno(libc::ECONNREFUSED);
        let at = self.listener_on(inode).ok_or_else(refused)?;
        if !self.listeners[at].listens {
            return Err(refused());
        }
        if self.listeners[at].backlog.len() >= self.listeners[at].backlog_max {
            return Err(errno(libc::EAGAIN));
        }
        self.listeners[at].backlog.push_back(conn);
        let vm = self.listeners[at].vm;
        let one = &mut self.conns[conn];
        (one.vm, one.listener, one.server) = (vm, at, Server::Waiting);
        self.note(|| format!("vm {vm}: connection {conn} waits to be accepted"));
        self.knock(vm);
        Ok(())
    }

    /// The client's end can be read, or has ended.
    fn announce_conn(&mut self, conn: usize) {
        let now = self.now;
        let one = &mut self.conns[conn];
        one.readable_since.get_or_insert(now);
        if let Some((number, token)) = one.watch {
            self.announce(number, token);
        }
    }

    /// send(2) by the VMM: whether it fits.
    pub fn send_to_client(&mut self, conn: usize, bytes: &[u8]) -> bool {
        let one = &mut self.conns[conn];
        if one.used >= SEND_BUFFER {
            return false;
        }
        one.used += bytes.len() + MESSAGE_OVERHEAD;
        one.messages.push_back(bytes.to_vec());
        self.announce_conn(conn);
        true
    }

    /// read(2) by the client.
    pub fn read_conn(&mut self, conn: usize, into: &mut [u8]) -> io::Result<usize> {
        let one = &mut self.conns[conn];
        let mut read = 0;
        while read < into.len() {
            let Some(message) = one.messages.front() else { break };
            let rest = &message[one.taken..];
            let n = rest.len().min(into.len() - read);
            into[read..read + n].copy_from_slice(&rest[..n]);
            (read, one.taken) = (read + n, one.taken + n);
            if one.taken == message.len() {
                one.used -= message.len() + MESSAGE_OVERHEAD;
                one.taken = 0;
                one.messages.pop_front();
            }
        }
        if read > 0 {
            let now = self.now;
            one.readable_since = (!one.messages.is_empty()).then_some(now);
            let vm = one.vm;
            self.room_made(vm);
            return Ok(read);
        }
        if let Some(error) = one.error.take() {
            one.has_seen_end = true;
            return Err(errno(error));
        }
        match one.server {
            Server::None => Err(errno(libc::EINVAL)),
            Server::Closed => {
                one.readable_since = None;
                one.has_seen_end = true;
                Ok(0)
            }
            Server::Waiting | Server::Open => Err(errno(libc::EAGAIN)),
        }
    }

    /// The VMM closes its end, or shuts it down in both directions.
    pub fn close_server(&mut self, conn: usize) {
        let one = &mut self.conns[conn];
        // What a client is not accepted for is told as a reset (fact 2.1).
        if one.server == Server::Waiting {
            one.error = Some(libc::ECONNRESET);
        }
        if one.server != Server::Closed {
            one.server = Server::Closed;
            let (vm, left) = (one.vm, one.unread());
            self.note(|| format!("vm {vm}: connection {conn} ends, {left} bytes unread"));
            self.announce_conn(conn);
        }
    }

    /// A listener is closed; its file may stay.
    pub fn close_listener(&mut self, at: usize) {
        self.listeners[at].is_open = false;
        for conn in std::mem::take(&mut self.listeners[at].backlog) {
            self.close_server(conn);
        }
    }

    /// shutdown(SHUT_WR) by the client.
    pub fn shut_down_client(&mut self, conn: usize) -> io::Result<()> {
        let now = self.now;
        let one = &mut self.conns[conn];
        match one.server {
            Server::None => return Err(errno(libc::ENOTCONN)),
            Server::Closed => return Ok(()),
            Server::Waiting | Server::Open => {}
        }
        one.left_at.get_or_insert(now);
        let vm = one.vm;
        self.note(|| format!("vm {vm}: connection {conn} is shut down by its client"));
        self.client_gone(vm);
        Ok(())
    }

    /// One holder of the client's end fewer; the last one closes it.
    pub fn drop_client(&mut self, conn: usize) {
        let one = &mut self.conns[conn];
        one.clients -= 1;
        if one.clients > 0 {
            return;
        }
        let (vm, unread) = (one.vm, one.unread());
        one.readable_since = None;
        if matches!(one.server, Server::Waiting | Server::Open) {
            one.was_reset = unread > 0;
            self.note(|| format!("vm {vm}: connection {conn} is closed, {unread} bytes unread"));
            self.client_gone(vm);
        }
        if vm != usize::MAX {
            self.bytes_destroyed(conn, unread);
            let one = &mut self.conns[conn];
            (one.used, one.taken) = (0, 0);
            one.messages.clear();
        }
    }

    /// What the collector owes a console when it closes one (facts 3.3, 3.5, 3.6).
    pub fn judge_close(&mut self, conn: usize) {
        self.conns[conn].was_closed = true;
        let one = &self.conns[conn];
        let alive = matches!(one.server, Server::Waiting | Server::Open);
        if one.clients > 1 || !one.is_ours || !alive {
            return;
        }
        let (vm, unread) = (one.vm, one.unread());
        // A thread that does not serve it never answers: that wait is bounded.
        let waited = one.left_at.is_some_and(|at| self.now >= at + seriald::limits::LEAVE_DEADLINE);
        if waited && (one.server == Server::Waiting || !self.serves(vm)) {
            return;
        }
        if unread > 0 {
            self.break_rule(format!("vm {vm}: closed with {unread} unread bytes"));
        } else if one.left_at.is_none() {
            self.break_rule(format!("vm {vm}: closed without leaving"));
        } else if !waited && self.slept.is_zero() {
            // A process that was stopped finds its own deadline over.
            self.break_rule(format!("vm {vm}: closed before the end of its stream"));
        }
    }
}
