//! seriald owns the serial consoles of thousands of Cloud Hypervisor VMs: one thread, one event
//! loop, one log per VM.

pub mod ch;
pub mod config;
pub mod env;
pub mod limits;
pub mod log;
