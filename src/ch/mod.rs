//! What seriald knows of Cloud Hypervisor (CH): its API's HTTP, its calls, its configurations and
//! its snapshots.
//!
//! Read in this order: [`http`] (bytes to responses), [`api`] (calls and answers), `spans`
//! (changing a JSON text in place), [`vm_config`] (the serial section), [`snapshot`] (files).
//!
//! **Invariant:** nothing in here opens a socket, reads a clock or knows the reactor. Only
//! [`snapshot`] touches the file system.

pub mod api;
pub mod http;
pub mod snapshot;
mod spans;
pub mod vm_config;

pub use spans::JsonError;
