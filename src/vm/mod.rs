//! What one VM is to us: the machine of its stream and the machine of its launch.
//!
//! Owns the decisions, not the things they are about.
//! **Invariant:** pure: no descriptor, no clock, no path opened. Inputs are `on_*(.., now)`, and
//! each returns one value that only the reactor interprets.

mod backoff;
mod close_reason;
mod dial_failure;
mod drain;
mod end;
pub mod launch;
mod machine;
mod passing;
mod tail;
#[cfg(test)]
mod tests;

pub use close_reason::CloseReason;
pub use dial_failure::DialFailure;
pub use drain::Drained;
pub use end::{After, EndCause, Reached, Recognised, serial_thread_is_gone};
pub use machine::{Next, SavedVm, State, Vm};

pub(crate) use backoff::Jitter;
