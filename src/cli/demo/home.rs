//! The demonstration's directory.
//!
//! Owns it: made when this is, removed when this is dropped.
//! **Invariant:** nothing that was there before is touched.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A directory of ours alone.
pub struct Home {
    path: PathBuf,
    keep: bool,
}

impl Home {
    /// Makes it in the directory for temporary files, mode 0700.
    pub fn make(keep: bool) -> Result<Home, String> {
        let parent = std::env::temp_dir();
        for attempt in 0..100 {
            let path = parent.join(format!("seriald-demo-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Home { path, keep }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(format!("cannot make {}: {error} (see TMPDIR)", path.display()));
                }
            }
        }
        Err(format!("{} is full of old demonstrations: remove them", parent.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.keep {
            crate::cli::say(format_args!("kept       {}", self.path.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            crate::cli::complain(format_args!("cannot remove {path}: {error}"));
        }
    }
}
