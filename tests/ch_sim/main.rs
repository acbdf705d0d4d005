//! ch-sim against the facts about Cloud Hypervisor (CH) that it imitates, one test a fact.
//!
//! Facts that hold for a real CH too are also tested on it, where `CLOUD_HYPERVISOR` names one and
//! `CLOUD_HYPERVISOR_GUEST` the test guest.

#[path = "../../tools/ch-sim/mod.rs"]
#[allow(dead_code, reason = "the tests use its ledger, not its program")]
mod ch_sim;

mod api;
mod boots;
mod clients;
mod file_mode;
mod fleet;
mod input;
mod paths;
mod pressure;
mod snapshots;
mod support;
