//! The keys by which JSON describes VMs and their logs: configurations, launch files and our own
//! API have the same.
//!
//! Owns their names, ranges and defaults; a complaint names the place in the text.
//! **Invariant:** what comes out has passed [`VmSpec::validate`](crate::VmSpec::validate); a key
//! that means nothing is refused, never ignored.

pub mod json_file;
pub mod launch_keys;
pub mod log_keys;
pub mod vm_keys;
