//! What is made to fail.
//!
//! **Invariant:** a fault is one kind of call, one errno, and which of the calls; nothing random.

/// Calls of one kind that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The system call.
    pub call: &'static str,
    /// The errno that it says.
    pub error: &'static str,
    /// Which of them, in strace's words: `3`, `1..9+2`; `1+`: all, until it is healed.
    pub when: &'static str,
    /// So many have to fail before it is healed.
    pub hits: usize,
    /// The only name beside each log whose calls count; `None`: all calls.
    pub on: Option<&'static str>,
}

impl Fault {
    /// Every call, until so many have failed.
    pub const fn all(call: &'static str, error: &'static str, hits: usize) -> Fault {
        Fault { call, error, when: "1+", hits, on: None }
    }

    /// Some calls: so many.
    pub const fn some(
        call: &'static str,
        error: &'static str,
        when: &'static str,
        hits: usize,
    ) -> Fault {
        Fault { call, error, when, hits, on: None }
    }

    /// The same, of one file alone.
    pub const fn on(self, name: &'static str) -> Fault {
        Fault { on: Some(name), ..self }
    }

    /// strace's arguments for it. Waits are traced too, so that a loop that spins is seen.
    pub fn arguments(&self) -> Vec<String> {
        let Fault { call, error, when, .. } = self;
        let inject = format!("inject={call}:error={error}:when={when}");
        ["-f", "-e", &format!("trace={call},epoll_wait"), "-e", &inject].map(str::to_owned).to_vec()
    }
}
