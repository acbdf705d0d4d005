//! The real operating system: Linux, by mio and libc.
//!
//! Owns the epoll instance and every descriptor's type.
//! **Invariant:** no other folder says `mio`, `libc`, `unsafe` or `Instant::now`.
#![allow(unsafe_code)]

pub mod holes;
pub mod stopwatch;
mod files;
pub use files::{OsDir, OsFile, OsFiles};
