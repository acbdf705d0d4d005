//! A world whose n-th call fails.

use crate::env::os::{OsDir, OsFile, OsFiles};
use crate::env::{Files, Open, Stat};
use std::io;
use std::ops::Range;
use std::path::Path;

/// Real files, but some calls fail.
pub struct Faulty {
    os: OsFiles,
    /// Calls so far.
    pub calls: u64,
    /// The calls that fail, counted from 1.
    pub failing: Range<u64>,
    /// With this errno.
    pub errno: i32,
    /// Only calls of this name fail; empty: any.
    pub only: &'static str,
    /// So many of those that would fail don't.
    pub skip: u64,
    /// Writes take all they get, and are not counted as calls.
    pub sound_writes: bool,
    /// Bytes that write(2) took.
    pub written: usize,
    /// What was called, for a message.
    pub failed: Vec<&'static str>,
    /// What somebody else does right before the call of this number.
    pub meanwhile: Option<(u64, Box<dyn FnOnce()>)>,
}

impl Faulty {
    pub fn new(failing: Range<u64>, errno: i32) -> Faulty {
        Faulty {
            os: OsFiles::default(),
            calls: 0,
            failing,
            errno,
            only: "",
            skip: 0,
            sound_writes: false,
            written: 0,
            failed: Vec::new(),
            meanwhile: None,
        }
    }

    fn call(&mut self, name: &'static str) -> io::Result<()> {
        self.calls += 1;
        if let Some((_, act)) = self.meanwhile.take_if(|(at, _)| *at == self.calls) {
            act();
        }
        if !self.failing.contains(&self.calls) || !(self.only.is_empty() || self.only == name) {
            return Ok(());
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.failed.push(name);
        Err(io::Error::from_raw_os_error(self.errno))
    }
}

impl Files for Faulty {
    type Dir = OsDir;
    type File = OsFile;

    fn open_dir(&mut self, path: &Path, root: Option<&Path>, mode: u32) -> io::Result<OsDir> {
        self.call("open_dir")?;
        self.os.open_dir(path, root, mode)
    }

    fn has_dir(&mut self, path: &Path) -> bool {
        self.os.has_dir(path)
    }

    fn open(&mut self, dir: &OsDir, name: &str, how: Open) -> io::Result<OsFile> {
        self.call("open")?;
        self.os.open(dir, name, how)
    }

    fn stat(&mut self, file: &OsFile) -> io::Result<Stat> {
        self.call("stat")?;
        self.os.stat(file)
    }

    fn stat_at(&mut self, dir: &OsDir, name: &str) -> io::Result<Stat> {
        self.call("stat_at")?;
        self.os.stat_at(dir, name)
    }

    fn names(&mut self, dir: &OsDir) -> io::Result<Vec<String>> {
        self.call("names")?;
        self.os.names(dir)
    }

    fn write(&mut self, file: &OsFile, bytes: &[u8], size: u64) -> io::Result<usize> {
        let crashed = self.failing.end == u64::MAX && self.calls >= self.failing.start;
        if self.sound_writes && !crashed {
            self.written += bytes.len();
            return self.os.write(file, bytes, size);
        }
        // Every write is short: the rest of a write that failed half way is what matters.
        let failed = self.call("write");
        let part = if failed.is_err() { return failed.map(|()| 0) } else { bytes.len() / 2 + 1 };
        let written = self.os.write(file, &bytes[..part.min(bytes.len())], size)?;
        self.written += written;
        Ok(written)
    }

    fn write_beside(&mut self, file: &OsFile, bytes: &[u8]) -> io::Result<usize> {
        self.call("write_beside")?;
        self.os.write_beside(file, &bytes[..bytes.len().div_ceil(2)])
    }

    fn wall(&mut self) -> std::time::Duration {
        self.os.wall()
    }

    fn read_at(&mut self, file: &OsFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.call("read_at")?;
        self.os.read_at(file, offset, into)
    }

    fn copy(&mut self, from: &OsFile, offset: u64, to: &OsFile, len: u64) -> io::Result<u64> {
        self.call("copy")?;
        self.os.copy(from, offset, to, len / 2 + 1)
    }

    fn truncate(&mut self, file: &OsFile, len: u64) -> io::Result<()> {
        self.call("truncate")?;
        self.os.truncate(file, len)
    }

    fn rename(&mut self, dir: &OsDir, from: &str, to: &str) -> io::Result<()> {
        self.call("rename")?;
        self.os.rename(dir, from, to)
    }

    fn unlink(&mut self, dir: &OsDir, name: &str) -> io::Result<()> {
        self.call("unlink")?;
        self.os.unlink(dir, name)
    }

    fn lock(&mut self, file: &OsFile) -> io::Result<bool> {
        self.call("lock")?;
        self.os.lock(file)
    }

    fn set_mode(&mut self, file: &OsFile, mode: u32) -> io::Result<()> {
        self.call("set_mode")?;
        self.os.set_mode(file, mode)
    }

    fn set_modified_as(&mut self, file: &OsFile, other: &OsFile) -> io::Result<()> {
        self.call("set_modified_as")?;
        self.os.set_modified_as(file, other)
    }

    fn set_group(&mut self, file: &OsFile, gid: u32) -> io::Result<()> {
        self.call("set_group")?;
        self.os.set_group(file, gid)
    }

    fn set_owner(&mut self, file: &OsFile, uid: u32) -> io::Result<()> {
        self.call("set_owner")?;
        self.os.set_owner(file, uid)
    }

    fn group_id(&mut self, name: &str) -> io::Result<Option<u32>> {
        self.call("group_id")?;
        self.os.group_id(name)
    }

    fn user_id(&mut self, name: &str) -> io::Result<Option<u32>> {
        self.call("user_id")?;
        self.os.user_id(name)
    }

    fn own_user(&mut self) -> u32 {
        self.os.own_user()
    }
}
