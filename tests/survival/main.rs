//! What outlives seriald itself: an upgrade in its place, a crash.
//!
//! **Invariant:** the truth is what the VMs' side handed over; the guests print all the while.

#[allow(dead_code)]
#[path = "../../tools/ch-sim/mod.rs"]
mod ch_sim;
#[path = "../support/fleet.rs"]
mod fleets;
#[path = "../support/mod.rs"]
mod support;

mod boots;
mod crash;
mod heritage;
mod many;
mod packing;
mod real;
mod running;
mod service;
mod soft_limit;
mod supervise;
mod upgrade;
