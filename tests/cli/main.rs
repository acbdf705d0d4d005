//! The binary from outside: what it prints, how it ends, and what it leaves behind.
//!
//! **Invariant:** nothing here knows the library; a test has a directory of its own and a deadline.

mod asking;
#[cfg(feature = "demo")]
mod demo;
mod help;
#[cfg(feature = "demo")]
mod launch;
mod log;
mod program;
mod reload;
mod run;
mod snapshot;
mod watch;
