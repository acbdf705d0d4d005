//! What seriald knows of Cloud Hypervisor (CH): its API's HTTP, its calls, its configurations and
//! its snapshots.
//!
//! Read [`http`] first (bytes to responses).
//!
//! **Invariant:** nothing in here opens a socket, reads a clock or knows the reactor.

pub mod http;
