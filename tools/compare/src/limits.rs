//! The limit on descriptors, which ten thousand VMs need raised.
//!
//! Owns nothing.
//! **Invariant:** it is raised as far as a load needs it, never lowered; collectors inherit it.

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Sees to it that a process may have so many descriptors.
///
/// # Errors
/// Where it may not: with what is allowed.
pub fn raise_descriptors(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    if soft >= needed {
        return Ok(());
    }
    // Above the hard limit only root may go.
    if setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).is_err() {
        bail!("{needed} descriptors are needed, and {hard} allowed (ulimit -n)");
    }
    Ok(())
}

/// Sees to it that a directory's filesystem has room for so many bytes.
///
/// # Errors
/// Where it has not.
pub fn check_room(dir: &Path, needed: u64) -> Result<()> {
    let named = dir.display();
    let found = statvfs(dir).with_context(|| format!("{named}"))?;
    let free = found.blocks_available() as u64 * found.fragment_size() as u64;
    if free < needed {
        let (needed, free) = (needed.div_ceil(1_000_000), free / 1_000_000);
        bail!("{needed} MB are needed in {named}, and {free} MB are free: name another by --dir");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_enough_and_what_nobody_has_is_refused() {
        raise_descriptors(64).expect("as many has everyone");
        let error = raise_descriptors(1 << 60).expect_err("nobody has so many").to_string();
        assert!(error.contains("ulimit"), "{error}");
        check_room(Path::new("."), 1).expect("a byte");
        let error = check_room(Path::new("."), 1 << 62).expect_err("no disk has").to_string();
        assert!(error.contains("--dir"), "{error}");
    }
}
