//! Where a run takes place: a directory with one below it per VM, for its socket and its log.
//!
//! Owns the directory of one run, which is removed at its end.
//! **Invariant:** two runs share no file: none finds what another left in the page cache.

use crate::guests::text::LINE;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The longest path that a Unix socket may have (sun_path, its NUL not counted).
const SOCKET_PATH_MAX: usize = 107;

/// One VM's places.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Its id.
    pub id: String,
    /// Its serial socket.
    pub socket: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// The directory of one run.
pub struct Site {
    dir: tempfile::TempDir,
    /// Its VMs.
    pub vms: Vec<Vm>,
}

impl Site {
    /// Makes it below `parent`, for so many VMs.
    ///
    /// # Errors
    /// Where it can't be made, or its path is too long for sockets.
    pub fn make(parent: &Path, vms: usize) -> Result<Site> {
        let dir = tempfile::Builder::new().prefix("run-").rand_bytes(4).tempdir_in(parent);
        let dir = dir.with_context(|| format!("can't make a directory in {}", parent.display()))?;
        let vms: Vec<Vm> = (0..vms).map(|number| vm(dir.path(), number)).collect();
        let longest = vms.iter().map(|vm| vm.socket.as_os_str().len()).max().unwrap_or(0);
        if longest > SOCKET_PATH_MAX {
            bail!(
                "{} is too long a path for sockets below it ({longest} bytes, at most \
                 {SOCKET_PATH_MAX}): name a shorter one by --dir",
                parent.display()
            );
        }
        for vm in &vms {
            let place = vm.log.parent().unwrap_or(dir.path());
            fs::create_dir(place).with_context(|| format!("can't make {}", place.display()))?;
        }
        Ok(Site { dir, vms })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where a collector is asked for consoles.
    pub fn control(&self) -> PathBuf {
        self.path().join("control.sock")
    }

    /// Writes a file that a collector reads.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file with a line `socket TAB log` per VM.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write_list(&self) -> Result<PathBuf> {
        let line = |vm: &Vm| format!("{}\t{}\n", vm.socket.display(), vm.log.display());
        self.write("list", &self.vms.iter().map(line).collect::<String>())
    }

    /// Fills a VM's log with so many bytes, lines for the most part, and has them on the disk.
    ///
    /// # Errors
    /// Those of writing.
    pub fn prefill(&self, vm: usize, bytes: u64) -> Result<()> {
        let path = &self.vms[vm].log;
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
            let mut line = [b'-'; LINE];
            line[LINE - 1] = b'\n';
            let mut rest = bytes;
            while rest > 0 {
                let part = rest.min(LINE as u64);
                file.write_all(&line[LINE - part as usize..])?;
                rest -= part;
            }
            file.into_inner()?.sync_all()
        };
        write().with_context(|| format!("can't write {}", path.display()))
    }

    /// Leaves it there.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

fn vm(dir: &Path, number: usize) -> Vm {
    let id = format!("vm-{number:04}");
    let place = dir.join(&id);
    Vm { socket: place.join("serial.sock"), log: place.join("app.log"), id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vm_has_a_directory_of_its_own_and_all_go_at_the_end() {
        let parent = tempfile::tempdir().expect("a directory");
        let site = Site::make(parent.path(), 3).expect("a site");
        assert!(site.vms.iter().all(|vm| vm.log.parent().is_some_and(Path::is_dir)));
        site.prefill(2, 200).expect("room");
        assert_eq!(fs::metadata(&site.vms[2].log).expect("a log").len(), 200);
        let list = fs::read_to_string(site.write_list().expect("room")).expect("a list");
        assert_eq!(list.lines().count(), 3);
        drop(site);
        assert_eq!(fs::read_dir(parent.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn a_directory_too_deep_for_sockets_is_refused_with_the_way_out() {
        let parent = tempfile::tempdir().expect("a directory");
        let deep = parent.path().join("d".repeat(90));
        fs::create_dir(&deep).expect("a directory");
        let error = Site::make(&deep, 1).err().expect("too long").to_string();
        assert!(error.contains("--dir"), "{error}");
    }
}
