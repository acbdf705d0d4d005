//! seriald owns the serial consoles of thousands of Cloud Hypervisor VMs: one thread, one event
//! loop, one log per VM.

pub mod ch;
pub mod config;
pub mod control;
pub mod env;
#[cfg(test)]
mod fuzz;
pub mod handover;
mod http;
pub mod keys;
pub mod limits;
pub mod log;
pub mod pattern;
pub mod reactor;
pub mod vm;

pub use config::{Config, LogSpec, OnExit, RotateMode, VmSpec};
pub use control::access::{ControlSpec, Grants};
pub use control::metrics_spec::MetricsSpec;
pub use pattern::{DirPattern, PatternError};
pub use reactor::{
    AdoptError, ControlError, Error, Event, EventKind, Handle, Reactor, Stats, VmId, VmStatus,
};
pub use vm::CloseReason;
pub use vm::launch::{LaunchSpec, Start};

/// What a launcher embeds: the loop over the real system.
pub type Seriald = Reactor<env::os::OsEnv>;

/// README's example, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
