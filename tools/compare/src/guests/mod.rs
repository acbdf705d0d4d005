//! The guests: what Cloud Hypervisor's side of a thousand serial sockets does, in one thread.
//!
//! As CH does it: a listener per VM, one client at a time (the latest wins), a send(2) per byte.
//! A guest whose socket is full stands still until there is room, as under CH up to v52: nothing is
//! dropped, so each log must end with exactly what was sent.

pub mod drive;
mod fleet;
mod guest;
pub mod text;

pub use fleet::Fleet;
