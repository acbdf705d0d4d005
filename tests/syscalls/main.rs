//! System calls of the real binary that fail: strace makes up their results, at the start and in
//! mid-stream, while guests print and logs rotate.
//!
//! The binary is the one that cargo builds beside the tests (`CARGO_BIN_EXE_seriald`): under
//! `cargo test` optimised a little and with debug assertions, under `cargo test --release` the one
//! that is shipped.
//!
//! What is not made to fail here, as the kernel never does it: close(2) that leaves the descriptor
//! open, shutdown(2) of a connected socket, a read(2) of a console for ever.
//! **Invariant:** the truth is what the VMs' side handed over; a case whose call never failed is
//! a failure itself.

// ch-sim's own code reads its ledgers.
#[path = "../../tools/ch-sim/mod.rs"]
#[allow(dead_code, unused_imports)]
mod ch_sim;
#[path = "../support/fleet.rs"]
#[allow(dead_code, reason = "this target uses its own part")]
mod fleets;
#[path = "../support/mod.rs"]
mod support;

mod checker;
mod dialing;
mod fatal;
mod fault;
mod scene;
mod start;
mod stored;
mod streaming;
