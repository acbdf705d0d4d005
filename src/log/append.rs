//! Appending: one write(2) in the normal case, and what is held when that fails.
//!
//! Owns the order of bytes: what is held goes first.
//! **Invariant:** infallible, bounded, and without an allocation while the disk takes what it gets.

use super::Log;
use super::cut::{Cut, cut};
use super::record::{Cause, What};
use super::rotate::{Stage, Why};
use crate::env::{Files, Moment};
use crate::limits::MARK_INTERVAL;
use std::io;

impl<F: Files> Log<F> {
    /// Appends `bytes`. What can't be written is held and retried, up to `hold_bytes` and up to
    /// `more` beyond what is held already; what can't be held is lost, and recorded.
    pub fn append(&mut self, env: &mut F, bytes: &[u8], more: usize, now: Moment) {
        if now >= self.check_at {
            self.check_name(env, now);
        }
        if now >= self.mark_at {
            // Before the bytes: they came at this time or later.
            self.mark_at = now + MARK_INTERVAL;
            self.happened(What::Mark);
        }
        let waits = !self.held.bytes.is_empty();
        let written = if waits { 0 } else { self.put(env, bytes, now) };
        if written < bytes.len() {
            self.hold(env, &bytes[written..], more, now);
        }
        self.say(env, now);
    }

    /// Bytes came and were dropped. They are recorded once another byte is written, or a second
    /// has passed.
    pub fn lose(&mut self, env: &mut F, bytes: u64, cause: Cause, now: Moment) {
        let lost = self.held.lost();
        self.held.lose(bytes, cause, env.wall());
        self.count_lost(lost, now);
        match cause {
            Cause::RateLimit => self.counters.lost_rate_limit += bytes,
            Cause::HostRateLimit => self.counters.lost_host_rate_limit += bytes,
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
        let size_max = match self.stage {
            Stage::Idle => return cut(bytes, self.size, self.spec.max_bytes),
            _ if self.is_nameless => return Cut { take: 0, full: false },
            // Whether a log was truncated after the copy is told by its size: see `copytruncate`.
            Stage::Placing { bytes } => bytes - 1,
            _ => self.begun_at.max(self.spec.max_bytes).saturating_add(self.spec.max_bytes),
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
                    if !self.held.gaps.is_empty() {
                        self.record_losses();
                    }
                    done += written;
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.counters.write_failures += 1;
            if self.writing.fail(now) {
                let (path, lost) = (self.spec.path.display(), self.counters.lost_bytes);
                ::log::warn!("cannot write log {path}: {failure} ({lost} bytes lost so far)");
            }
            break;
        }
        self.size += done as u64;
        self.counters.written_bytes += done as u64;
        self.start_age(now);
        if done == bytes.len() && done > 0 && self.writing.succeed() {
            let (path, lost) = (self.spec.path.display(), self.counters.lost_bytes);
            ::log::info!("log {path}: written again ({lost} bytes lost so far)");
        }
        done
    }

    /// Keeps `bytes` until the log can be written again, as far as there is room.
    fn hold(&mut self, env: &mut F, bytes: &[u8], more: usize, now: Moment) {
        let rotation_failed = self.writing.due().is_none() && !self.is_nameless;
        let cause = if rotation_failed { Cause::RotationFailed } else { Cause::WriteFailed };
        let max = self.spec.hold_bytes.min(self.held.bytes.len().saturating_add(more));
        let lost = self.held.lost();
        self.held.push(bytes, max, self.spec.on_overflow, cause, env.wall());
        let lost = self.count_lost(lost, now);
        if rotation_failed {
            self.counters.lost_rotation_failed += lost;
        }
    }

    /// Counts what was lost since there were `before` lost bytes yet to be recorded.
    fn count_lost(&mut self, before: u64, now: Moment) -> u64 {
        let lost = self.held.lost() - before;
        self.counters.lost_bytes += lost;
        if lost > 0 && self.lost_due.is_none() {
            self.lost_due = Some(now + MARK_INTERVAL);
        }
        lost
    }

    /// Writes what is held, as far as that goes.
    pub(super) fn drain(&mut self, env: &mut F, now: Moment) {
        let mut waiting = std::mem::take(&mut self.held.bytes);
        let held = waiting.make_contiguous();
        let mut done = 0;
        while done < held.len() {
            let piece = self.held.piece(held.len() - done);
            let written = self.put(env, &held[done..done + piece], now);
            self.held.written(written);
            done += written;
            if written < piece {
                break;
            }
        }
        if done < waiting.len() {
            waiting.drain(..done);
            self.held.bytes = waiting;
        }
    }

    /// Records the losses that lie right before the next byte, now that it is written.
    pub(super) fn record_losses(&mut self) {
        for loss in self.held.take_front() {
            self.base += loss.bytes;
            self.happened(What::Lost(loss));
        }
        if self.held.gaps.is_empty() {
            self.lost_due = None;
        }
    }

    /// Losses behind which nothing came. While the log can't be written there is no end of them.
    pub(super) fn record_losses_behind(&mut self, now: Moment) {
        let later = now + MARK_INTERVAL;
        self.lost_due = None;
        if self.held.gaps.is_empty() {
            return;
        }
        if self.held.bytes.is_empty() && self.writing.due().is_none() {
            self.record_losses();
        } else {
            self.lost_due = Some(self.writing.due().map_or(later, |due| due.max(later)));
        }
    }

    /// The same, unless the last write failed: then its time comes by the timer.
    pub(super) fn drain_if_possible(&mut self, env: &mut F, now: Moment) {
        if self.writing.due().is_none() {
            self.drain(env, now);
        }
    }
}
