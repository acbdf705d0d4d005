//! Guests of a real VMM, QEMU, whose serial ports end up in rotated logs.
//!
//! **Invariant:** the truth is what a relay between QEMU and seriald has recorded.

#[path = "../support/mod.rs"]
mod support;

mod linux_kernel;
mod tiny_guest;
