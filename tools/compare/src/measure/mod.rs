//! What is measured: time of processors, what /proc says, how soon a byte is in its file.
//!
//! Owns nothing.
//! **Invariant:** nothing here touches a collector; it is looked at from outside, or asked as its
//! users ask it.

pub mod clock;
pub mod follow;
pub mod latency;
pub mod proc;
pub mod siege;
pub mod spread;
pub mod strace;
pub mod usage;
pub mod viewers;
