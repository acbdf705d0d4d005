//! The serial device: where the guest's bytes go, and its input comes from.
//!
//! It owns the sink (socket, file, nothing), the ring of v53 and the input queue. A guest prints
//! byte by byte and each is a write of its own. With a ring (v53) the guest never waits: what the
//! socket doesn't take stays in the ring, which is flushed only at the next byte the guest prints
//! and when a client is accepted, never because the socket has room again. Without (v52) output is
//! dropped while no client is connected, and the guest stands still while the socket is full.
//!
//! **Invariant:** the ring is a range of offsets, for a byte is known by its offset; so it always
//! holds the youngest bytes without a gap, and costs no memory in a fleet.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use mio::Registry;

use super::ledger::Boot;
use super::line::{Line, Sent};
use super::release::Release;

/// Bytes in v53's ring.
const RING_BYTES: u64 = 1 << 20;
/// Bytes written before other VMs have their turn.
const FLUSH_PER_TURN: u32 = 512;
/// More unread input than this kills v53: its queue grows by mremap(), which the seccomp filter of
/// the serial thread doesn't allow.
const INPUT_BYTES_MAX: usize = 262_144;

/// Where output goes.
pub enum Sink {
    /// Modes Off, Null, Tty, Pty: nowhere.
    Nowhere,
    /// Mode File.
    File(File),
    /// Mode Socket.
    Socket(Line),
}

/// What became of a byte that the guest prints.
#[derive(PartialEq, Eq)]
pub enum Printed {
    /// It is out, or kept, or lost; the guest runs on.
    Done,
    /// The vCPU stands in send(); the byte is not yet out.
    Blocked,
}

/// The serial device of one VM.
pub struct Serial {
    release: Release,
    /// Where output goes.
    pub sink: Sink,
    ring: Range<u64>,
    /// A flush has more to write than one turn allows.
    flushing: bool,
    /// The vCPU stands in send() (v52).
    blocked: bool,
    input: VecDeque<u8>,
    /// The line status register's "data ready". CH sets it at a client's EOF too, when it queues
    /// the zero bytes that it read, so the guest reads a NUL that nobody sent.
    data_ready: bool,
    /// More input was queued than CH survives.
    pub overrun: bool,
}

/// Opens the file of mode File as CH does: truncated, and not for appending, which is the bug
/// that makes holes of NULs when somebody else truncates it.
///
/// # Errors
/// Those of open(2).
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.write(true).create(true).truncate(true).mode(0o600);
    how.open(path)
}

impl Serial {
    /// A device that nothing was printed on.
    pub fn new(release: Release, sink: Sink) -> Self {
        Self {
            release,
            sink,
            ring: 0..0,
            flushing: false,
            blocked: false,
            input: VecDeque::new(),
            data_ready: false,
            overrun: false,
        }
    }

    /// The socket, in mode Socket.
    pub fn line(&mut self) -> Option<&mut Line> {
        match &mut self.sink {
            Sink::Socket(line) => Some(line),
            _ => None,
        }
    }

    /// Whether the output has somebody to go to: a client, a file.
    pub fn has_taker(&self) -> bool {
        match &self.sink {
            Sink::Socket(line) => line.has_client(),
            _ => true,
        }
    }

    /// Whether a flush goes on in the next turn.
    pub fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// Whether the vCPU stands in send().
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The socket has room, or its client left: the vCPU goes on.
    pub fn unblock(&mut self, registry: &Registry) {
        if std::mem::take(&mut self.blocked)
            && let Some(line) = self.line()
        {
            line.watch_for_room(registry, false);
        }
    }

    /// Serves clients: accepts, reads, goes on flushing.
    pub fn serve(&mut self, registry: &Registry, boot: &mut Boot, now: Instant) {
        self.read_client(registry, now);
        while !self.flushing {
            if !self.line().is_some_and(|line| line.accept(registry, now)) {
                break;
            }
            // A displaced client no longer holds the vCPU.
            self.unblock(registry);
            self.read_client(registry, now);
            self.flush(registry, boot, now);
        }
        if self.flushing {
            self.flush(registry, boot, now);
        }
        boot.counts.waiting = self.waiting();
    }

    /// Prints the byte at the boot's position.
    pub fn print(&mut self, registry: &Registry, boot: &mut Boot, now: Instant) -> Printed {
        let offset = boot.position();
        let byte = boot.byte_at(offset);
        let dead = self.line().is_some_and(|line| line.is_dead());
        let handed = match &mut self.sink {
            Sink::Nowhere => false,
            Sink::File(file) => file.write_all(&[byte]).is_ok(),
            Sink::Socket(_) if dead => false,
            Sink::Socket(_) if self.release.has_ring() => {
                boot.counts.printed += 1;
                self.print_to_ring(registry, boot, now, offset);
                return Printed::Done;
            }
            Sink::Socket(line) => match line.send(byte) {
                Sent::Done => true,
                Sent::Full => {
                    line.watch_for_room(registry, true);
                    self.blocked = true;
                    return Printed::Blocked;
                }
                Sent::Gone => {
                    self.read_client(registry, now);
                    false
                }
            },
        };
        boot.counts.printed += 1;
        match handed {
            true => boot.hand(offset),
            false => boot.counts.dropped_no_client += 1,
        }
        Printed::Done
    }

    /// Reads a byte of input as the guest does: a NUL if "data ready" was set without any.
    pub fn take_input(&mut self) -> Option<u8> {
        if !self.data_ready {
            return None;
        }
        self.data_ready = self.input.len() > 1;
        Some(self.input.pop_front().unwrap_or(0))
    }

    /// The input that the guest has not read, for a snapshot.
    pub fn unread_input(&self) -> Vec<u8> {
        self.input.iter().copied().collect()
    }

    /// Puts back the input that a snapshot held.
    pub fn restore_input(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.data_ready = !self.input.is_empty();
    }

    /// The end of a boot: what is in the ring dies with it.
    pub fn end(&mut self, boot: &mut Boot, why: &str) {
        boot.counts.lost_at_end += self.waiting();
        boot.counts.waiting = 0;
        boot.ended = Some(why.to_string());
        self.ring = 0..0;
    }

    fn waiting(&self) -> u64 {
        self.ring.end - self.ring.start
    }

    fn print_to_ring(&mut self, registry: &Registry, boot: &mut Boot, now: Instant, offset: u64) {
        if self.ring.is_empty() {
            self.ring = offset..offset;
        }
        self.ring.end = offset + 1;
        let had_client = self.has_taker();
        self.flush(registry, boot, now);
        if had_client && !self.has_taker() && self.waiting() == 1 {
            // Its own write failed with EPIPE: that byte is lost, unlike those that were waiting.
            self.ring.start += 1;
            boot.counts.dropped_no_client += 1;
        }
        if self.waiting() > RING_BYTES {
            self.ring.start += 1;
            boot.counts.dropped_ring += 1;
        }
        boot.counts.waiting = self.waiting();
    }

    /// Writes the ring out, byte by byte, until the socket is full.
    fn flush(&mut self, registry: &Registry, boot: &mut Boot, now: Instant) {
        self.flushing = false;
        if !self.has_taker() {
            return;
        }
        let Sink::Socket(line) = &mut self.sink else {
            return;
        };
        let mut budget = FLUSH_PER_TURN;
        while !self.ring.is_empty() {
            if budget == 0 {
                self.flushing = true;
                return;
            }
            budget -= 1;
            match line.send(boot.byte_at(self.ring.start)) {
                Sent::Done => {
                    boot.hand(self.ring.start);
                    self.ring.start += 1;
                }
                Sent::Full => return,
                Sent::Gone => {
                    self.read_client(registry, now);
                    return;
                }
            }
        }
    }

    fn read_client(&mut self, registry: &Registry, now: Instant) {
        let Some(line) = self.line() else {
            return;
        };
        let had_client = line.has_client();
        let input = line.read(now);
        let left = had_client && !line.has_client();
        self.data_ready |= input.eof || !input.bytes.is_empty();
        self.input.extend(input.bytes);
        self.overrun |= self.release.has_ring() && self.input.len() > INPUT_BYTES_MAX;
        if left {
            self.unblock(registry);
        }
    }
}
