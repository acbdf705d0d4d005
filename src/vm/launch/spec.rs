//! What is asked of a launch, and why it may be refused before anything starts.
//!
//! Owns nothing.
//! **Invariant:** holds what the embedder gave, unchanged; [`super::Launch::new`] judges it.

use crate::ch::http::HttpError;
use crate::ch::vm_config::{self, ConfigError};
use crate::config::VmSpec;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// What the VMM is told to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The body of vm.create (JSON). Its serial section is set to mode Socket at the VM's serial
    /// path, its console to Off where none is set; the rest stays as it is.
    Create(String),
    /// The body of vm.restore (JSON). A snapshot in serial mode File is restored as it is, and has
    /// no stream.
    Restore(String),
}

/// A VM to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchSpec {
    /// The VM; its `api` path is where the VMM is told to listen, and must be given.
    pub vm: VmSpec,
    /// The VMM's program and arguments; `--api-socket path=...` is appended.
    pub vmm: Vec<OsString>,
    /// What it runs.
    pub start: Start,
    /// How long create, boot, restore and resume may take together; `None`: as long as they do.
    pub timeout: Option<Duration>,
}

impl LaunchSpec {
    /// A number that another launch hardly has: of the program and of what it runs. A successor of
    /// this program makes the same of them (FNV-1a).
    pub fn digest(&self) -> u64 {
        use std::os::unix::ffi::OsStrExt;
        let (kind, start) = match &self.start {
            Start::Create(body) => ("config", body),
            Start::Restore(body) => ("restore", body),
        };
        let words = self.vmm.iter().map(|word| word.as_bytes());
        let parts = words.chain([kind.as_bytes(), start.as_bytes()]);
        // Neither a word nor a JSON text has a NUL in it.
        let bytes = parts.flat_map(|part| part.iter().chain(&[0]));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Why a launch was refused before anything was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchSpecError {
    /// There is no API path.
    NoApiPath,
    /// There is no program.
    NoProgram,
    /// The configuration can't be used: no JSON, or a socket path that CH can't bind.
    Config(ConfigError),
    /// The API path can't be bound by CH.
    ApiPath(vm_config::SocketPathError),
    /// The restore body is no JSON object.
    Restore(String),
    /// The body is longer than CH takes.
    Body(HttpError),
}

impl fmt::Display for LaunchSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchSpecError::NoApiPath => f.write_str("no api path is given"),
            LaunchSpecError::NoProgram => f.write_str("vmm: no program is given"),
            LaunchSpecError::Config(error) => write!(f, "config: {error}"),
            LaunchSpecError::ApiPath(error) => write!(f, "api: {error}"),
            LaunchSpecError::Restore(error) => write!(f, "restore: {error}"),
            LaunchSpecError::Body(error) => write!(f, "config: {error}"),
        }
    }
}

impl std::error::Error for LaunchSpecError {}
