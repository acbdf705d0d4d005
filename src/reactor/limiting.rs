//! Limits on what is kept of a VM's output: given to slots, and held to.
//!
//! Owns no state of its own.
//! **Invariant:** a VM above a limit is read as any other, and what is dropped of it is counted and
//! recorded; without a limit a slot has no state for it. A successor in the same process begins
//! with full buckets: an upgrade is rare, and a burst more does no harm.

use super::key::Key;
use super::rate::{Limits, Rate, Rest, Share};
use super::report::EventKind;
use super::slot::Slot;
use super::{Config, Env, Reactor};
use crate::env::Moment;
use crate::limits::LOG_QUIET;
use crate::log::record::Cause;

/// The host's limit, and what the shares leave over.
pub(super) struct Host {
    rate: Rate,
    rest: Rest,
}

impl Host {
    pub(super) fn of(config: &Config, now: Moment) -> Option<Self> {
        let rate = Rate::new(config.host_rate_bytes?, config.host_burst_bytes);
        Some(Host { rate, rest: Rest::full(rate, now) })
    }
}

impl<E: Env> Reactor<E> {
    /// The loop's settings have changed: other limits apply to what comes from now on.
    pub(super) fn set_host_limit(&mut self, now: Moment) {
        self.host = match (Host::of(&self.config, now), self.host.take()) {
            (Some(new), Some(old)) => Some(Host { rate: new.rate, rest: old.rest }),
            (new, _) => new,
        };
        for key in self.table.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            self.set_limits(key, now);
        }
    }

    /// Gives a VM the limits that its spec and the loop's settings ask for. What it has used of
    /// those that were there before counts on.
    pub(super) fn set_limits(&mut self, key: Key, now: Moment) {
        let vms = self.vms_in_charge();
        let Some(slot) = self.table.get_mut(key) else { return };
        let log = &slot.log.terms().spec;
        let own = log.rate_bytes.map(|rate| Rate::new(rate, log.burst_bytes));
        if own.is_none() && self.host.is_none() {
            self.tell_dropped(key);
            if let Some(slot) = self.table.get_mut(key) {
                slot.aside.limits = None;
                slot.settle();
            }
            return;
        }
        let limits = slot.aside.limits.get_or_insert_with(|| Box::new(Limits::none()));
        limits.set_own(own, now);
        let host = self.host.as_ref();
        limits.share = host.map(|host| match limits.share {
            Some(share) => share,
            None => Share::full(host.rate, vms, now),
        });
    }

    fn vms_in_charge(&self) -> u64 {
        self.table.len() as u64
    }

    /// The first `n` bytes of the scratch buffer came from a VM that has limits.
    pub(super) fn take_limited(&mut self, key: Key, n: usize, now: Moment) {
        let (vms, more) = (self.vms_in_charge(), self.more_to_hold());
        let Some(slot) = self.table.get_mut(key) else { return };
        let Some(limits) = &mut slot.aside.limits else { return };
        let read = n as u64;
        let below_own = limits.take_own(read, now);
        let kept = match (&mut limits.share, &mut self.host) {
            (Some(share), Some(host)) => share.take(&mut host.rest, host.rate, vms, below_own, now),
            _ => below_own,
        };
        let mut before = slot.log.counters();
        let bytes = &self.scratch[..usize::try_from(kept).unwrap_or(n).min(n)];
        if !bytes.is_empty() {
            slot.log.append(self.env.files(), bytes, more, now);
        }
        // The first bytes are kept, so that each loss is one run up to the next that are.
        let (of_host, of_own) = (below_own - kept, read - below_own);
        for (bytes, cause) in [(of_host, Cause::HostRateLimit), (of_own, Cause::RateLimit)] {
            if bytes > 0 {
                slot.log.lose(self.env.files(), bytes, cause, now);
            }
        }
        if kept < read {
            warn(slot, read - kept, now);
        }
        let Some(limits) = &mut slot.aside.limits else { return };
        let told = limits.dropped(read - kept, now);
        self.stats.lost_rate_limit += of_own;
        self.stats.lost_host_rate_limit += of_host;
        self.stats.lost_bytes += read - kept;
        // An event a second, not one a read.
        before.lost_bytes += read - kept;
        self.after_log(key, before);
        if let Some(bytes) = told {
            self.tell(key, EventKind::Lost(bytes));
        }
    }

    /// Tells of what was dropped since the last event about it.
    pub(super) fn tell_dropped(&mut self, key: Key) {
        let limited = self.table.get_mut(key).filter(|slot| slot.aside.limits.is_some());
        let limits = limited.and_then(|slot| slot.aside.limits.as_mut());
        let untold = limits.map_or(0, |limits| std::mem::take(&mut limits.untold));
        if untold > 0 {
            self.tell(key, EventKind::Lost(untold));
        }
    }
}

/// Says that a VM is above a limit, once in a while.
fn warn<E: Env>(slot: &mut Slot<E>, bytes: u64, now: Moment) {
    let Some(limits) = slot.aside.limits.as_mut().filter(|limits| now >= limits.quiet_until) else {
        return;
    };
    limits.quiet_until = now + LOG_QUIET;
    let (id, counters) = (slot.id(), slot.log.counters());
    ::log::warn!(
        "VM {id}: prints more than it may, {bytes} bytes dropped ({} so far by its own limit, {} \
         by the host's)",
        counters.lost_rate_limit,
        counters.lost_host_rate_limit
    );
}
