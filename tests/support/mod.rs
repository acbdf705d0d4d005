//! What the end-to-end tests share: tools that may be missing, processes, deadlines, the guests and
//! the relay that knows the truth, and logs read back with their backups.
//!
//! **Invariant:** nothing here survives its test: files lie in the test's own directory, processes
//! are killed on drop, and every wait has a deadline.

// Each test binary compiles all of this and uses its own part.
#![allow(dead_code)]

pub mod account;
pub mod embedded;
pub mod family;
pub mod guest;
pub mod linux;
pub mod logs;
pub mod process;
pub mod qemu;
pub mod relay;
pub mod seriald;
pub mod skip;
pub mod sockets;
pub mod strace;
pub mod vmm;
pub mod wait;
