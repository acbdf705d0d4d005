//! Which Cloud Hypervisor is imitated.
//!
//! **Invariant:** a difference between releases is asked for here by name, never by number.

/// A release of CH, standing for those like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The last without a ring behind the serial socket: the guest waits for its reader.
    V52,
    /// The first with a ring of 1 MiB: the guest runs on, the oldest bytes are dropped.
    V53,
}

impl Release {
    /// Parses the value of `--as`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "v52" => Some(Self::V52),
            "v53" => Some(Self::V53),
            _ => None,
        }
    }

    /// The word of `--as`, as the ledger has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::V52 => "v52",
            Self::V53 => "v53",
        }
    }

    /// The version as `vmm.ping` tells it.
    pub fn version(self) -> &'static str {
        match self {
            Self::V52 => "52.0.0",
            Self::V53 => "53.0.0",
        }
    }

    /// Whether output waits in a ring where no client takes it.
    pub fn has_ring(self) -> bool {
        self == Self::V53
    }

    /// Whether a stale API path is replaced at start (under a lock file beside it).
    pub fn replaces_stale_api_path(self) -> bool {
        self == Self::V53
    }

    /// Whether `vm.info` and `vm.boot` without a VM are 404; they were 500 before.
    pub fn says_not_found(self) -> bool {
        self == Self::V53
    }

    /// Whether absent fields of a config are written as null.
    pub fn writes_nulls(self) -> bool {
        self == Self::V52
    }
}
