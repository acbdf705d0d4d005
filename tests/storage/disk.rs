//! A small disk of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::process::run_to_success;

/// A tmpfs, unmounted on drop.
pub struct Disk {
    pub path: PathBuf,
}

impl Disk {
    /// Mounts one with these options at `path`; `None`, and the reason, where that is not allowed.
    pub fn mount(path: &Path, options: &str) -> Option<Disk> {
        std::fs::create_dir_all(path).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
        let output = mount.output();
        match output {
            Ok(output) if output.status.success() => Some(Disk { path: path.to_owned() }),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                super::support::skip::needs("a tmpfs of the test's own", &why)
            }
            Err(why) => super::support::skip::needs("mount", &why.to_string()),
        }
    }

    /// A file that takes all the room but `left` bytes.
    pub fn fill(&self, left: u64) -> PathBuf {
        let filler = self.path.join("filler");
        let free = free_bytes(&self.path);
        run_to_success(
            Command::new("fallocate").arg("-l").arg((free - left).to_string()).arg(&filler),
        );
        filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn free_bytes(path: &Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(path).output();
    let output = output.expect("df");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
}
