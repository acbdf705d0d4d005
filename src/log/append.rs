//! Appending: one write(2) in the normal case, and what is held when that fails.
//!
//! Owns the order of bytes: what is held goes first.
//! **Invariant:** infallible, bounded, and without an allocation while the disk takes what it gets.

use super::Log;
use super::cut::{Cut, cut};
use super::record::{Cause, What};
use super::rotate::{Stage, Why};
use crate::env::{Files, Moment, Stamp};
use crate::limits::{MARK_BYTES, MARK_INTERVAL, MARK_INTERVAL_MAX};
use std::io;

impl<F: Files> Log<F> {
    /// Appends `bytes`. What can't be written is held and retried, up to `hold_bytes` and up to
    /// `more` beyond what is held already; what can't be held is lost, and recorded.
    pub fn append(&mut self, env: &mut F, bytes: &[u8], more: usize, now: Moment) {
        let stamp = Stamp::from(now);
        if stamp >= self.check_at {
            self.check_name(env, now);
        }
        if stamp >= self.mark_at {
            self.mark(now);
        }
        let waits = self.held_bytes() > 0;
        let written = if waits { 0 } else { self.put(env, bytes, now) };
        if written < bytes.len() {
            self.hold(env, &bytes[written..], more, now);
        }
        self.say(env, now);
    }

    /// Notes the time before the bytes that come now, or later, if there were few since the last.
    fn mark(&mut self, now: Moment) {
        let is_overdue = || now >= Moment::from(self.mark_at) + (MARK_INTERVAL_MAX - MARK_INTERVAL);
        let marked = (self.written_bytes / MARK_BYTES) as u16;
        if marked != self.marked || is_overdue() {
            (self.mark_at, self.marked) = ((now + MARK_INTERVAL).into(), marked);
            self.happened(What::Mark);
        }
    }

    /// Bytes came and were dropped. They are recorded once another byte is written, or a second
    /// has passed.
    pub fn lose(&mut self, env: &mut F, bytes: u64, cause: Cause, now: Moment) {
        if bytes == 0 {
            return;
        }
        let (held, wall) = (&mut self.unrest().held, env.wall());
        let lost = held.lost();
        held.lose(bytes, cause, wall);
        self.count_lost(lost, now);
        match cause {
            Cause::RateLimit => self.count().lost_rate_limit += bytes,
            Cause::HostRateLimit => self.count().lost_host_rate_limit += bytes,
            Cause::Crash => self.count().lost_crash += bytes,
            _ => {}
        }
    }

    /// Writes `bytes`, rotating on the way. Returns how many were written; the rest is to be held.
    fn put(&mut self, env: &mut F, bytes: &[u8], now: Moment) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let cut = self.cut(rest);
            let written = self.write_all(env, &rest[..cut.take], now);
            done += written;
            if written < cut.take {
                break;
            }
            if cut.full {
                self.begin(env, Why::Size, now);
            } else if cut.take == 0 {
                break;
            }
        }
        done
    }

    /// How much of `bytes` may go into the file we have.
    fn cut(&self, bytes: &[u8]) -> Cut {
        let max_bytes = self.terms.spec.max_bytes;
        let Some(unrest) = self.unrest.as_ref().filter(|unrest| !unrest.stage.is_idle()) else {
            return cut(bytes, self.size, max_bytes);
        };
        let size_max = match unrest.stage {
            _ if unrest.is_nameless => return Cut { take: 0, full: false },
            // Whether a log was truncated after the copy is told by its size: see `copytruncate`.
            Stage::Placing { bytes } => bytes - 1,
            _ => unrest.begun_at.max(max_bytes).saturating_add(max_bytes),
        };
        let room = usize::try_from(size_max.saturating_sub(self.size)).unwrap_or(usize::MAX);
        Cut { take: bytes.len().min(room), full: false }
    }

    /// Writes `bytes` to the file we have. Returns how many were written before an error, which is
    /// noted.
    fn write_all(&mut self, env: &mut F, bytes: &[u8], now: Moment) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let failure = match env.write(&self.file, &bytes[done..], self.size + done as u64) {
                Ok(written) if written > 0 => {
                    if self.has_gaps() {
                        self.record_losses();
                    }
                    done += written;
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.count().write_failures += 1;
            if self.unrest().writing.fail(now) {
                let (path, lost) = (self.shown(), self.counters().lost_bytes);
                ::log::warn!("cannot write log {path}: {failure} ({lost} bytes lost so far)");
            }
            break;
        }
        self.size += done as u64;
        self.written_bytes += done as u64;
        self.start_age(now);
        let is_whole = done == bytes.len() && done > 0;
        if let Some(unrest) = self.unrest.as_mut().filter(|_| is_whole)
            && unrest.writing.succeed()
        {
            let (path, lost) = (self.shown(), self.counters().lost_bytes);
            ::log::info!("log {path}: written again ({lost} bytes lost so far)");
        }
        done
    }

    /// Keeps `bytes` until the log can be written again, as far as there is room.
    fn hold(&mut self, env: &mut F, bytes: &[u8], more: usize, now: Moment) {
        let rotation_failed = self.writing_due().is_none() && !self.is_nameless();
        let cause = if rotation_failed { Cause::RotationFailed } else { Cause::WriteFailed };
        let max = self.terms.spec.hold_bytes.min(self.held_bytes().saturating_add(more));
        let (overflow, wall) = (self.terms.spec.on_overflow, env.wall());
        let unrest = self.unrest();
        if unrest.held.bytes.is_empty() {
            unrest.held_since = now;
        }
        let held = &mut unrest.held;
        let lost = held.lost();
        held.push(bytes, max, overflow, cause, wall);
        let lost = self.count_lost(lost, now);
        if rotation_failed && lost > 0 {
            self.count().lost_rotation_failed += lost;
        }
    }

    /// Counts what was lost since there were `before` lost bytes yet to be recorded.
    fn count_lost(&mut self, before: u64, now: Moment) -> u64 {
        let unrest = self.unrest();
        let lost = unrest.held.lost() - before;
        if lost > 0 {
            unrest.lost_due.get_or_insert(now + MARK_INTERVAL);
            self.count().lost_bytes += lost;
        }
        lost
    }

    /// Writes what is held, as far as that goes.
    pub(super) fn drain(&mut self, env: &mut F, now: Moment) {
        if self.held_bytes() == 0 {
            return;
        }
        let mut waiting = std::mem::take(&mut self.unrest().held.bytes);
        let held = waiting.make_contiguous();
        let mut done = 0;
        while done < held.len() {
            let piece = self.unrest().held.piece(held.len() - done);
            let written = self.put(env, &held[done..done + piece], now);
            self.unrest().held.written(written);
            done += written;
            if written < piece {
                break;
            }
        }
        if done < waiting.len() {
            waiting.drain(..done);
            self.unrest().held.bytes = waiting;
        }
    }

    /// Records the losses that lie right before the next byte, now that it is written.
    pub(super) fn record_losses(&mut self) {
        let Some(unrest) = &mut self.unrest else { return };
        for loss in unrest.held.take_front() {
            self.stand_at(self.first_offset(), self.base + loss.bytes);
            self.happened(What::Lost(loss));
        }
        let is_over = !self.has_gaps();
        if let Some(unrest) = self.unrest.as_mut().filter(|_| is_over) {
            unrest.lost_due = None;
        }
    }

    /// Something was lost that is yet to be noted.
    fn has_gaps(&self) -> bool {
        self.unrest.as_ref().is_some_and(|unrest| !unrest.held.gaps.is_empty())
    }

    /// Losses behind which nothing came. While the log can't be written there is no end of them.
    pub(super) fn record_losses_behind(&mut self, now: Moment) {
        let later = now + MARK_INTERVAL;
        let Some(unrest) = &mut self.unrest else { return };
        let due = unrest.writing.due();
        unrest.lost_due = None;
        if unrest.held.gaps.is_empty() {
            return;
        }
        if unrest.held.bytes.is_empty() && due.is_none() {
            self.record_losses();
        } else {
            unrest.lost_due = Some(due.map_or(later, |due| due.max(later)));
        }
    }

    /// The same, unless the last write failed: then its time comes by the timer.
    pub(super) fn drain_if_possible(&mut self, env: &mut F, now: Moment) {
        if self.writing_due().is_none() {
            self.drain(env, now);
        }
    }
}
