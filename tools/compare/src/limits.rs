//! The limit on descriptors, which ten thousand VMs need raised.
//!
//! Owns nothing.
//! **Invariant:** it is raised as far as a load needs it, never lowered; collectors inherit it.

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Raises the limit so that a process may have `needed` descriptors, or as near to that as is
/// allowed: how many it may have now.
///
/// # Errors
/// Those of getrlimit(2).
pub fn raise_descriptors(needed: u64) -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("RLIMIT_NOFILE")?;
    // Above the hard limit only root may go, and not in every container.
    for (soft_now, hard_now) in [(needed, hard.max(needed)), (needed.min(hard), hard)] {
        if soft < soft_now && setrlimit(Resource::RLIMIT_NOFILE, soft_now, hard_now).is_ok() {
            return Ok(soft_now);
        }
    }
    Ok(soft)
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
    fn what_there_is_is_enough_and_what_nobody_has_is_not_given() {
        assert!(raise_descriptors(64).expect("a limit") >= 64);
        assert!(raise_descriptors(1 << 60).expect("a limit") < 1 << 60, "the kernel has a maximum");
        check_room(Path::new("."), 1).expect("a byte");
        let error = check_room(Path::new("."), 1 << 62).expect_err("no disk has").to_string();
        assert!(error.contains("--dir"), "{error}");
    }
}
