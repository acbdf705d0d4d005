//! Whoever listens at a VM's path and is not `expect_uid`: noticed, and left in order.
//!
//! Owns the connection on its way out.
//! **Invariant:** not a byte of it reaches a log; it is shut down and read to its end before it is
//! closed, and the same socket is not connected to again.

use super::Reactor;
use super::key::Key;
use super::line::NoLine;
use super::slot::Line;
use crate::env::{Env, SocketId};
use crate::limits;
use crate::vm::DialFailure;
use std::io;

impl<E: Env> Reactor<E> {
    /// The line, if the process at its other end is the expected user's.
    pub(super) fn check_peer(
        &mut self,
        key: Key,
        line: Line<E::Stream>,
        socket: SocketId,
    ) -> Result<(Line<E::Stream>, SocketId), NoLine> {
        self.leave_if_strange(key, line, socket).map(|line| (line, socket)).map_err(NoLine::Failed)
    }

    /// The line, if it is none that is only to be left.
    pub(super) fn leave_if_strange(
        &mut self,
        key: Key,
        line: Line<E::Stream>,
        socket: SocketId,
    ) -> Result<Line<E::Stream>, DialFailure> {
        let Some(failure) = self.strangeness(key, &line) else { return Ok(line) };
        if let Some(slot) = self.table.get_mut(key) {
            slot.aside.lines.strange = Some((socket, failure));
        }
        self.leave_stranger(key, line);
        Err(failure)
    }

    /// Why a line is none of the VM's.
    fn strangeness(&mut self, key: Key, line: &Line<E::Stream>) -> Option<DialFailure> {
        let wanted = self.table.get(key)?.expect_uid()?;
        // A peer of whom the kernel says nothing is nobody's.
        let is = self.env.peer(&line.stream).map_or(u32::MAX, |peer| peer.uid);
        (is != wanted).then_some(DialFailure::Stranger { is, wanted })
    }

    /// Why this socket is not connected to, or not yet: who listens on one stays the same, and of
    /// a stranger's connections there is one at most.
    pub(super) fn refused_before(&mut self, key: Key, socket: SocketId) -> Option<DialFailure> {
        let now = self.env.now();
        let slot = self.table.get_mut(key)?;
        let strange = slot.aside.lines.strange;
        if let Some((line, _)) = slot.aside.lines.stranger.take_if(|(_, until)| now >= *until) {
            self.hang_up(line);
        }
        let waits = self.table.get(key).is_some_and(|slot| slot.aside.lines.stranger.is_some());
        strange.filter(|(of, _)| waits || *of == socket).map(|(_, failure)| failure)
    }

    /// Shuts our side down; what still comes is read, and dropped, up to the end of stream.
    fn leave_stranger(&mut self, key: Key, line: Line<E::Stream>) {
        // An error here means that the peer is gone, which the next read tells.
        let _ = self.env.shutdown_write(&line.stream);
        let until = self.env.now() + limits::LEAVE_DEADLINE;
        let Some(slot) = self.table.get_mut(key) else { return };
        slot.aside.lines.stranger = Some((line, until));
        slot.ready.look_at_serial();
        self.enqueue(key);
    }

    /// Reads one budget's worth of what a stranger still sends.
    pub(super) fn read_stranger(&mut self, key: Key) {
        let mut budget = limits::TURN_BUDGET;
        for _ in 0..limits::READS_A_TURN {
            if budget == 0 {
                break;
            }
            let Some(slot) = self.table.get_mut(key) else { return };
            let Some((line, _)) = &slot.aside.lines.stranger else { return };
            match self.env.read(&line.stream, &mut self.scratch[..budget]) {
                Ok(n) if n > 0 => {
                    self.stats.foreign_bytes += n as u64;
                    budget -= n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its end, or it is gone.
                _ => {
                    if let Some((line, _)) = slot.aside.lines.stranger.take() {
                        self.hang_up(line);
                    }
                    return;
                }
            }
        }
        // There is more: the next turn goes on.
        if let Some(slot) = self.table.get_mut(key) {
            slot.ready.look_at_serial();
        }
        self.enqueue(key);
    }
}
