//! What a person sees: the binary in a real terminal, tmux's.
//!
//! **Invariant:** a test has a terminal of its own and a deadline; nothing waits for a time.

#[path = "../cli/api.rs"]
mod api;
#[path = "../support/family.rs"]
mod family;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "most is run by a shell here")]
mod program;
#[path = "../support/skip.rs"]
#[allow(dead_code, reason = "its other tests need other tools")]
mod skip;

mod attach;
mod completions;
mod console;
mod logs;
mod real;
mod screen;
mod top;
