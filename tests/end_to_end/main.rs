//! VMs from their launch to their end, against ch-sim in both versions and, where
//! `CLOUD_HYPERVISOR` names one, a real Cloud Hypervisor.

#[path = "../support/mod.rs"]
mod support;

// The judge: what ch-sim says that it handed over.
#[allow(dead_code)]
#[path = "../../tools/ch-sim/mod.rs"]
mod ch_sim;

mod attach;
mod boots;
#[allow(dead_code)]
#[path = "../control/client.rs"]
mod client;
mod displaced;
mod ends;
mod failures;
mod file_mode;
mod fleet;
#[path = "../support/fleet.rs"]
mod fleets;
mod life;
mod orderly;
mod packed;
mod rates;
mod resets;
mod snapshots;
#[allow(dead_code)]
#[path = "../control/viewer.rs"]
mod viewer;
mod watch;

/// What a guest leaves its reader before it ends: what v53 still holds back then dies with it. Far
/// more than a reader needs, for a machine that is busy with other tests.
const LEEWAY: std::time::Duration = std::time::Duration::from_millis(400);
