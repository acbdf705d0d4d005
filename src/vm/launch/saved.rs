//! A launch that has come to its end, taken over from a predecessor in the same process.
//!
//! Owns nothing.
//! **Invariant:** one under way is never handed over: it is waited for.

use super::{Launch, Step};
use crate::ch::api::Call;
use crate::limits;
use std::path::PathBuf;

impl Launch {
    /// A launch that has come to its end under a predecessor: the guest runs, or the VMM has ended.
    pub fn take_over(serial: PathBuf, ended: bool) -> Self {
        Launch {
            step: if ended { Step::Ended } else { Step::Running },
            // Neither is asked any more.
            start: Call::Ping,
            boot: None,
            serial,
            timeout: None,
            connect_timeout: limits::API_QUERY_DEADLINE,
            limit: None,
            deadline: None,
            retry_at: None,
            tries: 0,
            spawned: true,
            asked_to_create: true,
            broken_off: false,
            in_the_way: false,
            ran: true,
            failure: None,
            late: false,
            last_words: String::new(),
        }
    }

    /// Nothing is being done about it: the guest runs, or the VMM has ended.
    pub fn is_settled(&self) -> bool {
        matches!(self.step, Step::Running | Step::Ended)
    }

    /// The VMM has ended.
    pub fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }
}
