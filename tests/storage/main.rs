//! Disks that are full, for bytes or for files, and what the account says then.
//!
//! **Invariant:** a disk that fills up is one that the test has mounted, and nobody else's.

// ch-sim's own code reads its ledgers.
#[path = "../../tools/ch-sim/mod.rs"]
#[allow(dead_code, unused_imports)]
mod ch_sim;
#[path = "../support/fleet.rs"]
#[allow(dead_code, reason = "this target uses its own part")]
mod fleets;
#[path = "../support/mod.rs"]
mod support;

mod disk;
mod files;
mod full;
mod limit;
