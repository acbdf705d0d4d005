//! The binary from outside: what it prints, how it ends, and what it leaves behind.
//!
//! **Invariant:** nothing here knows the library; a test has a directory of its own and a deadline.

mod api;
mod asking;
mod attach;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod events;
#[path = "../support/family.rs"]
mod family;
mod help;
#[cfg(feature = "demo")]
mod launch;
mod life;
mod log;
mod logs;
mod program;
mod reload;
mod run;
#[path = "../support/skip.rs"]
#[allow(dead_code, reason = "its other tests need other tools")]
mod skip;
mod snapshot;
mod top;
mod watch;
