//! What a collector hands to its successor: after an upgrade, or after a crash.
//!
//! Owns the formats in which that is written down.
//! **Invariant:** pure; knows nothing of the loop, which writes and reads what stands here.

pub mod notify;
pub mod restarts;
pub mod state;
