//! Appending: one write(2) in the normal case, and what is held when that fails.
//!
//! Owns the order of bytes: what is held goes first.
//! **Invariant:** infallible, bounded, and without an allocation while the disk takes what it gets.

use super::Log;
use super::cut::{Cut, cut};
use super::rotate::{Stage, Why};
use crate::env::{Files, Moment};
use crate::limits::HOLD_BYTES;
use std::io;

impl<F: Files> Log<F> {
    /// Appends `bytes`. What can't be written is held and retried; what can't be held is counted
    /// as lost.
    pub fn append(&mut self, env: &mut F, bytes: &[u8], now: Moment) {
        if now >= self.check_at {
            self.check_name(env, now);
        }
        let written = if self.held.is_empty() { self.put(env, bytes, now) } else { 0 };
        if written < bytes.len() {
            self.hold(&bytes[written..]);
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
    fn hold(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(HOLD_BYTES - self.held.len());
        self.held.extend_from_slice(&bytes[..kept]);
        self.drop_unheld(bytes.len() - kept, self.writing.due().is_none());
    }

    /// Counts bytes that are dropped.
    pub(super) fn drop_unheld(&mut self, count: usize, rotation_failed: bool) {
        self.counters.lost_bytes += count as u64;
        if rotation_failed {
            self.counters.lost_rotation_failed += count as u64;
        }
    }

    /// The offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.counters.written_bytes + self.counters.lost_bytes + self.held.len() as u64
    }

    /// Counts bytes that were read and dropped for a limit.
    pub fn lose(&mut self, _env: &mut F, bytes: u64, cause: super::record::Cause, _now: Moment) {
        self.counters.lost_bytes += bytes;
        match cause {
            super::record::Cause::HostRateLimit => self.counters.lost_host_rate_limit += bytes,
            _ => self.counters.lost_rate_limit += bytes,
        }
    }

    /// Writes what is held, as far as that goes.
    pub(super) fn drain(&mut self, env: &mut F, now: Moment) {
        if self.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let written = self.put(env, &held, now);
        if written < held.len() {
            held.drain(..written);
            self.held = held;
        }
    }

    /// The same, unless the last write failed: then its time comes by the timer.
    pub(super) fn drain_if_possible(&mut self, env: &mut F, now: Moment) {
        if self.writing.due().is_none() {
            self.drain(env, now);
        }
    }
}
