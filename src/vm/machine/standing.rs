//! Where a VM stands.
//!
//! Owns nothing.
//! **Invariant:** pure; what is kept tells the same as what is shown.

use crate::env::{Moment, Stamp};

/// Where a VM stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its launch has not come to the serial port yet.
    Held,
    /// There is no connection; the next dial is at `at`.
    Dialing {
        /// When it is dialed next; `None`: once its path appears, of which we are told.
        at: Option<Moment>,
    },
    /// Connected; bytes may come.
    Streaming {
        /// When it was connected.
        since: Moment,
    },
    /// Released: our side is shut down, what is left is read up to the EOF, or until this moment.
    Leaving {
        /// When the wait for the EOF ends.
        until: Moment,
    },
    /// At its end, and why.
    Closed,
}

impl State {
    /// One word for it, as status and documentation have it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Held => "held",
            State::Dialing { .. } => "dialing",
            State::Streaming { .. } => "streaming",
            State::Leaving { .. } => "leaving",
            State::Closed => "closed",
        }
    }
}

/// The same in half the memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    Held,
    Dialing { at: Option<Stamp> },
    Streaming { since: Stamp },
    Leaving { until: Stamp },
    Closed,
}

impl From<State> for Standing {
    fn from(state: State) -> Self {
        match state {
            State::Held => Standing::Held,
            State::Dialing { at } => Standing::Dialing { at: at.map(Stamp::from) },
            State::Streaming { since } => Standing::Streaming { since: since.into() },
            State::Leaving { until } => Standing::Leaving { until: until.into() },
            State::Closed => Standing::Closed,
        }
    }
}

impl From<Standing> for State {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Held => State::Held,
            Standing::Dialing { at } => State::Dialing { at: at.map(Moment::from) },
            Standing::Streaming { since } => State::Streaming { since: since.into() },
            Standing::Leaving { until } => State::Leaving { until: until.into() },
            Standing::Closed => State::Closed,
        }
    }
}
