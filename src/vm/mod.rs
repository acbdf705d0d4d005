//! What one VM is to us: the machine of its stream and the machine of its launch.
//!
//! Owns the decisions, not the things they are about.
//! **Invariant:** pure: no descriptor, no clock, no path opened. Inputs are `on_*(.., now)`, and
//! each returns one value that only the reactor interprets.

mod backoff;
pub mod launch;
mod machine;
#[cfg(test)]
mod tests;

pub use machine::{CloseReason, DialFailure, EndOfStream, Next, SavedVm, State, Vm};

pub(crate) use backoff::Jitter;
