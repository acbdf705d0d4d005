//! The library as an embedder sees it: the loop over real sockets and files, one rule a test.

#[path = "../support/mod.rs"]
mod support;

mod adopting;
mod after_rotate;
mod boots;
mod limits;
mod losses;
mod nesting;
mod noting;
mod patterns;
mod rates;
mod streaming;
mod turns;
mod waiting;
mod watching;
