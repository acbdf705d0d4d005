//! The library as an embedder sees it: the loop over real sockets and files, one rule a test.

#[path = "../support/mod.rs"]
mod support;

mod adopting;
mod losses;
mod nesting;
mod streaming;
mod waiting;
