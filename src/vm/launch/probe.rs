//! What lies at a socket path before a launch uses it.
//!
//! Owns nothing.
//! **Invariant:** pure: the reactor looks, the launch's machine judges.

/// What is found at a socket path before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nothing.
    Absent,
    /// A socket on which nobody listens.
    Dead,
    /// A socket that somebody listens on, and its pid.
    Alive(Option<u32>),
    /// Something else, or something that can't be asked: why.
    Unusable(String),
}

pub(super) fn in_use(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("in use by the running process {pid}: stop that VM first"),
        None => "in use by a running process: stop that VM first".into(),
    }
}
