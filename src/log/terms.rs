//! What logs of one configuration have in common, kept once for all of them.
//!
//! Owns nothing of one log.
//! **Invariant:** never changed; a log that is given other limits gets other terms.

use super::error::LogError;
use super::ours::Rights;
use crate::config::LogSpec;
use crate::env::Files;
use crate::limits::MAX_BYTES_MIN;
use std::path::PathBuf;

/// What logs are to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// As it was asked for, but for the path.
    pub(crate) spec: LogSpec,
    /// Whose the files are, as numbers.
    pub(super) rights: Rights,
}

impl Terms {
    /// Those of `spec`.
    ///
    /// # Errors
    /// There is no such user or group, or it can't be told.
    pub fn of<F: Files>(env: &mut F, spec: &LogSpec) -> Result<Terms, LogError> {
        Ok(Terms::with(spec, Rights::of(env, spec)?))
    }

    /// Those that a log under these is to have by another `spec`: its owner stays.
    ///
    /// # Errors
    /// As [`Terms::of`].
    pub(crate) fn changed<F: Files>(&self, env: &mut F, spec: &LogSpec) -> Result<Terms, LogError> {
        let rights = Rights { uid: self.rights.uid, ..Rights::of(env, spec)? };
        Ok(Terms::with(spec, rights))
    }

    pub(super) fn with(spec: &LogSpec, rights: Rights) -> Terms {
        // Whoever skipped `VmSpec::validate` shall not make a cut that takes nothing, for ever.
        let max_bytes = spec.max_bytes.max(MAX_BYTES_MIN);
        Terms { spec: LogSpec { path: PathBuf::new(), max_bytes, ..spec.clone() }, rights }
    }
}
