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
