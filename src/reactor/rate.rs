//! How much of what a VM prints is kept: a token bucket of its own, and one that all VMs share.
//!
//! Owns the tokens, not the limits: those are passed in, and may change at any call.
//! **Invariant:** pure, whole numbers only, and exact: what is less than a byte is carried on. In
//! any `t` seconds a [`Bucket`] lets through `rate * t + burst` at most, all VMs of a [`Rest`]
//! `rate * (t + 1) + burst`; and a VM that prints no more than its equal share, a second's worth of
//! it at once, loses nothing by the latter. Once something was dropped everything is, until a
//! second's worth has come together: so losses are few and long.

use crate::env::Moment;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// A limit in bytes a second, and how many bytes above it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    rate: u64,
    burst: u64,
}

impl Rate {
    /// `None`: a second's worth, which is also the least: with less a loss would be recorded more
    /// often than once a second.
    pub(super) fn new(rate: u64, burst: Option<u64>) -> Self {
        Rate { rate, burst: burst.unwrap_or(rate).max(rate) }
    }
}

/// Bytes that may pass. They come at a steady rate, up to a limit.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    /// Below zero: so many that had a right to pass did so before their time.
    level: i64,
    /// What there is beside that, less than a byte, in bytes times the nanoseconds of `every`.
    part: u128,
    at: Moment,
}

impl Tokens {
    fn full(most: u64, now: Moment) -> Self {
        Tokens { level: signed(most), part: 0, at: now }
    }

    /// What has come since: `bytes` `every` so many nanoseconds, up to `most`.
    fn refill(&mut self, bytes: u64, every: u64, most: u64, now: Moment) {
        let past = now.saturating_sub(self.at).as_nanos();
        self.at = self.at.max(now);
        let every = u128::from(every.max(1));
        // Another rate may have left a part that is more than a byte of this one.
        let gained = u128::from(bytes).saturating_mul(past) + self.part.min(every - 1);
        self.part = gained % every;
        let level = self.level.saturating_add(i64::try_from(gained / every).unwrap_or(i64::MAX));
        if level >= signed(most) {
            (self.level, self.part) = (signed(most), 0);
        } else {
            self.level = level;
        }
    }

    fn available(&self) -> u64 {
        u64::try_from(self.level).unwrap_or(0)
    }

    fn spend(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(signed(bytes));
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// One VM's own limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: Tokens,
    dropping: bool,
}

impl Bucket {
    pub(super) fn full(limit: Rate, now: Moment) -> Self {
        Bucket { tokens: Tokens::full(limit.burst, now), dropping: false }
    }

    /// How many of the next `wanted` bytes are kept: the first ones.
    pub(super) fn take(&mut self, limit: Rate, wanted: u64, now: Moment) -> u64 {
        self.tokens.refill(limit.rate, SECOND, limit.burst, now);
        if self.dropping && self.tokens.available() < limit.rate {
            return 0;
        }
        let kept = wanted.min(self.tokens.available());
        self.tokens.spend(kept);
        self.dropping = kept < wanted;
        kept
    }
}

/// What the shares of all VMs leave over, for those that want more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest(Tokens);

impl Rest {
    pub(super) fn full(limit: Rate, now: Moment) -> Self {
        Rest(Tokens::full(limit.burst, now))
    }
}

/// One VM's part of the host's limit, which is its own whatever the others print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    tokens: Tokens,
    dropping: bool,
}

impl Share {
    pub(super) fn full(limit: Rate, vms: u64, now: Moment) -> Self {
        Share { tokens: Tokens::full(Share::most(limit, vms), now), dropping: false }
    }

    /// A second's worth of it.
    fn most(limit: Rate, vms: u64) -> u64 {
        (limit.rate / vms.max(1)).max(1)
    }

    /// How many of the next `wanted` bytes of one of so many VMs are kept: the first ones. All of
    /// them are taken off the rest, so that it holds no more than what the shares have left over.
    pub(super) fn take(
        &mut self,
        rest: &mut Rest,
        limit: Rate,
        vms: u64,
        wanted: u64,
        now: Moment,
    ) -> u64 {
        let (vms, most) = (vms.max(1), Share::most(limit, vms));
        self.tokens.refill(limit.rate, vms.saturating_mul(SECOND), most, now);
        rest.0.refill(limit.rate, SECOND, limit.burst, now);
        if self.dropping && self.tokens.available() < most {
            return 0;
        }
        let own = wanted.min(self.tokens.available());
        self.tokens.spend(own);
        rest.0.spend(own);
        let more = (wanted - own).min(rest.0.available());
        rest.0.spend(more);
        self.dropping = own + more < wanted;
        own + more
    }
}

/// What a VM is held to, as long as there is a limit.
#[derive(Debug)]
pub(super) struct Limits {
    own: Option<(Rate, Bucket)>,
    pub share: Option<Share>,
    /// Bytes dropped and not yet told by an event, and when they may be.
    pub untold: u64,
    tell_at: Moment,
    /// Until when nothing more of it is logged.
    pub quiet_until: Moment,
}

impl Limits {
    pub(super) fn none() -> Self {
        Limits {
            own: None,
            share: None,
            untold: 0,
            tell_at: Moment::ZERO,
            quiet_until: Moment::ZERO,
        }
    }

    /// Another limit of its own. What it has used counts on.
    pub(super) fn set_own(&mut self, limit: Option<Rate>, now: Moment) {
        let had = self.own.map(|(_, bucket)| bucket);
        self.own = limit.map(|limit| (limit, had.unwrap_or(Bucket::full(limit, now))));
    }

    /// How many of the next `wanted` bytes its own limit lets through.
    pub(super) fn take_own(&mut self, wanted: u64, now: Moment) -> u64 {
        self.own.as_mut().map_or(wanted, |(limit, bucket)| bucket.take(*limit, wanted, now))
    }

    /// Bytes that were dropped, as an event is to tell them: at most once a second.
    pub(super) fn dropped(&mut self, bytes: u64, now: Moment) -> Option<u64> {
        self.untold += bytes;
        if now < self.tell_at || self.untold == 0 {
            return None;
        }
        self.tell_at = now + Duration::from_nanos(SECOND);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
