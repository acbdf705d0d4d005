//! The real loop in a simulated world: every fault, from one seed.
//!
//! `SERIALD_SIM_SEEDS=n` runs more seeds, `SERIALD_SIM_SEED=x` replays one with its trace.
//!
//! **Invariant:** nothing of that world reads a real clock or does real I/O.

mod dice;
mod disk;
mod env;
mod faults;
mod kernel;
mod run;
mod script;
mod seeds;
mod trace;
mod vmm;
