//! seriald.

pub mod ch;
