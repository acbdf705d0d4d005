//! Who may ask for what.
//!
//! Owns the rules by which a caller gets a role.
//! **Invariant:** root and the user as whom this process runs may do everything; others only what
//! they were given.

use crate::env::Caller;
use crate::keys::vm_keys::VmDefaults;
use crate::limits;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What a caller may do; a later one includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See counters, and whether the loop turns: whoever reaches the address for them.
    Scrape,
    /// See how VMs stand, and what they print.
    Read,
    /// Type into their consoles.
    Attach,
    /// Everything.
    Admin,
}

impl Role {
    /// Its name, as the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Scrape => "scrape",
            Role::Read => "read",
            Role::Attach => "attach",
            Role::Admin => "admin",
        }
    }
}

/// Users and groups, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Users.
    pub uids: Vec<u32>,
    /// Groups: whoever is in one, whether it is his first or not.
    pub gids: Vec<u32>,
}

impl Grants {
    fn includes(&self, caller: &Caller) -> bool {
        self.uids.contains(&caller.uid) || caller.gids.iter().any(|gid| self.gids.contains(gid))
    }
}

/// Where our own API is asked for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSpec {
    /// The socket's path. Its directory must exist.
    pub path: PathBuf,
    /// Permission bits of the socket: 0600 unless told otherwise. Who may not connect has no role.
    pub mode: u32,
    /// Group of the socket, a name or a number; `None`: the process'.
    pub group: Option<String>,
    /// Those who may look.
    pub read: Grants,
    /// Those who may look, and type into consoles.
    pub attach: Grants,
    /// Those who may do everything.
    pub admin: Grants,
    /// Whether anybody may type into consoles: without it neither those who were given `attach`
    /// nor admins.
    pub interactive: bool,
    /// How many of the newest bytes are kept of a console that somebody watches.
    pub viewer_buffer_bytes: usize,
    /// How long a writer may type nothing before he is a spy; `None`: for ever.
    pub console_idle: Option<Duration>,
    /// What a VM is that is put, where the request leaves it out.
    pub vms: VmDefaults,
}

/// See [`ControlSpec::viewer_buffer_bytes`].
const BUFFER: RangeInclusive<usize> =
    limits::VIEWER_BUFFER_BYTES_MIN..=limits::VIEWER_BUFFER_BYTES_MAX;

/// Why no socket can be bound as a spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSpecError(String);

impl fmt::Display for ControlSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ControlSpecError {}

impl ControlSpec {
    /// A socket at `path` for root and the user of this process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        ControlSpec {
            path: path.into(),
            mode: 0o600,
            group: None,
            read: Grants::default(),
            attach: Grants::default(),
            admin: Grants::default(),
            interactive: true,
            viewer_buffer_bytes: limits::VIEWER_BUFFER_BYTES,
            console_idle: Some(limits::CONSOLE_IDLE),
            vms: VmDefaults::default(),
        }
    }

    /// Checks every rule that needs no file to be opened.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ControlSpecError> {
        let path = self.path.display();
        let length = self.path.as_os_str().len();
        let most = limits::SUN_PATH_MAX;
        let why = if self.path.file_name().is_none() {
            format!("{path} names no file")
        } else if length > most {
            format!("{path} has {length} bytes, a socket's path has {most} at most")
        } else if self.mode & !0o777 != 0 || self.mode & 0o600 != 0o600 {
            format!("mode {:#o} is not within 0600 to 0777", self.mode)
        } else if !BUFFER.contains(&self.viewer_buffer_bytes) {
            let (least, most) = (BUFFER.start(), BUFFER.end());
            format!("viewer_buffer_bytes is not within {least} to {most}")
        } else {
            return Ok(());
        };
        Err(ControlSpecError(why))
    }

    /// What a caller may do, where this process is `own`'s; `None`: nothing.
    pub fn role_of(&self, caller: &Caller, own: u32) -> Option<Role> {
        if caller.uid == 0 || caller.uid == own || self.admin.includes(caller) {
            return Some(Role::Admin);
        }
        if self.attach.includes(caller) {
            return Some(Role::Attach);
        }
        self.read.includes(caller).then_some(Role::Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_only_what_they_were_given() {
        let mut spec = ControlSpec::new("/run/c.sock");
        let caller = |uid, gids: &[u32]| Caller { pid: None, uid, gids: gids.to_vec() };
        let role = |spec: &ControlSpec, uid, gids: &[u32]| spec.role_of(&caller(uid, gids), 7);
        assert_eq!(role(&spec, 0, &[]), Some(Role::Admin));
        assert_eq!(role(&spec, 7, &[9]), Some(Role::Admin));
        assert_eq!(role(&spec, 8, &[0, 7]), None);
        spec.read = Grants { uids: vec![8], gids: vec![4] };
        spec.attach = Grants { uids: vec![11], gids: vec![6] };
        spec.admin = Grants { uids: vec![9], gids: vec![5] };
        assert_eq!(role(&spec, 8, &[]), Some(Role::Read));
        assert_eq!(role(&spec, 10, &[1, 4]), Some(Role::Read));
        assert_eq!(role(&spec, 9, &[]), Some(Role::Admin));
        assert_eq!(role(&spec, 11, &[]), Some(Role::Attach));
        assert_eq!(role(&spec, 8, &[4, 6]), Some(Role::Attach));
        assert_eq!(role(&spec, 11, &[4, 5, 6]), Some(Role::Admin), "the highest one counts");
        assert_eq!(role(&spec, 5, &[8, 9]), None, "a group's number is no user's");
    }

    #[test]
    fn a_spec_that_no_socket_can_have_is_refused_by_name() {
        let spec = |path: &str, mode| ControlSpec { mode, ..ControlSpec::new(path) };
        let why = |spec: ControlSpec| spec.validate().err().map(|error| error.to_string());
        let long = format!("/{}", "x".repeat(crate::limits::SUN_PATH_MAX - 1));
        assert_eq!(why(spec(&long, 0o600)), None);
        assert_eq!(why(spec("/a", 0o777)), None);
        let refused = why(spec(&format!("{long}x"), 0o600)).expect("too long");
        assert!(refused.ends_with("has 108 bytes, a socket's path has 107 at most"), "{refused}");
        assert_eq!(why(spec("/", 0o600)).as_deref(), Some("/ names no file"));
        for mode in [0o400, 0o1600, 0] {
            assert!(why(spec("/a", mode)).is_some_and(|why| why.contains("0600 to 0777")));
        }
    }
}
