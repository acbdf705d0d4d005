//! What a person types: the command line, one file a subcommand.
//!
//! Owns what is printed and the exit codes: 0 done, 1 failed, 2 not understood.
//! **Invariant:** the library beneath never prints.

mod config_file;
mod json_file;
mod launch_file;
mod vm_keys;
