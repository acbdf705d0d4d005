//! Files of the simulated world.
//!
//! **Invariant:** a fault strikes before the call has an effect; what it fails with, the kernel
//! could say there.

use super::{Number, OWN_UID};
use crate::disk::{DirHandle, FileHandle};
use crate::faults::Fault;
use crate::kernel::store::Memory;
use crate::kernel::{Kernel, Object, Shared, errno};
use seriald::env::{Files, Open, Stat};
use std::cell::RefMut;
use std::io;
use std::path::Path;
use std::time::Duration;

pub struct SimFile {
    pub(super) number: Number,
    pub(super) handle: FileHandle,
}

pub struct SimDir {
    pub(super) number: Number,
    pub(super) handle: DirHandle,
}

pub struct SimFiles {
    kernel: Shared,
    /// The memory for a successor, and its descriptor.
    kept: Option<(u64, Number)>,
}

impl SimFiles {
    pub fn new(kernel: &Shared) -> SimFiles {
        SimFiles { kernel: kernel.clone(), kept: None }
    }

    pub(super) fn keep(&mut self, id: u64, number: Number) {
        self.kept = Some((id, number));
    }

    pub(super) fn memory<'a>(&self, kernel: &'a mut Kernel) -> Option<&'a mut Memory> {
        let (id, _) = self.kept.as_ref()?;
        kernel.memories.get_mut(id)
    }

    pub(super) fn call(&self, name: &'static str) -> io::Result<RefMut<'_, Kernel>> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.begin_call(name)?;
        Ok(kernel)
    }

    /// A store into the memory of a successor: a kill comes before or after it.
    pub(super) fn remember(&self, what: impl FnOnce(&mut Memory)) {
        let Ok(mut kernel) = self.call("a store into memory") else { return };
        if let Some(memory) = self.memory(&mut kernel) {
            what(memory);
        }
    }

    /// A call that an I/O error may hit.
    fn risky(&self, name: &'static str) -> io::Result<RefMut<'_, Kernel>> {
        let mut kernel = self.call(name)?;
        match kernel.strikes(Fault::Broken) {
            true => Err(errno(libc::EIO)),
            false => Ok(kernel),
        }
    }

    /// A call that may need room on the disk.
    fn growing(&self, name: &'static str) -> io::Result<RefMut<'_, Kernel>> {
        let mut kernel = self.risky(name)?;
        match kernel.strikes(Fault::Full) {
            true => Err(errno(libc::ENOSPC)),
            false => Ok(kernel),
        }
    }
}

impl Files for SimFiles {
    type Dir = SimDir;
    type File = SimFile;

    fn open_dir(&mut self, path: &Path, root: Option<&Path>, mode: u32) -> io::Result<SimDir> {
        let mut kernel = self.growing("openat")?;
        if kernel.strikes(Fault::Open) {
            return Err(errno(libc::EACCES));
        }
        let opened = kernel.disk.open_dir(path, root, mode);
        kernel.hear_of_names();
        let handle = opened?;
        let number = match kernel.new_descriptor(Object::Dir(handle)) {
            Ok(number) => number,
            Err(error) => {
                kernel.disk.close_dir(handle)?;
                return Err(error);
            }
        };
        drop(kernel);
        Ok(SimDir { number: Number::new(&self.kernel, number), handle })
    }

    fn has_dir(&mut self, path: &Path) -> bool {
        self.call("stat").is_ok_and(|kernel| kernel.disk.has_dir(path))
    }

    fn open(&mut self, dir: &SimDir, name: &str, how: Open) -> io::Result<SimFile> {
        let is_new = matches!(how, Open::New(_) | Open::NewToAppend(_));
        let mut kernel = match is_new {
            true => self.growing("openat")?,
            false => self.risky("openat")?,
        };
        if kernel.strikes(Fault::Open) {
            return Err(errno(libc::EACCES));
        }
        let number = kernel.new_descriptor(Object::File(FileHandle(u64::MAX)))?;
        let opened = kernel.disk.open(dir.handle, name, how);
        kernel.hear_of_names();
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) => {
                kernel.descriptors.remove(&number);
                return Err(error);
            }
        };
        kernel.descriptors.insert(number, Object::File(handle));
        drop(kernel);
        Ok(SimFile { number: Number::new(&self.kernel, number), handle })
    }

    fn stat(&mut self, file: &SimFile) -> io::Result<Stat> {
        self.risky("fstat")?.disk.stat(file.handle)
    }

    fn stat_at(&mut self, dir: &SimDir, name: &str) -> io::Result<Stat> {
        self.risky("fstatat")?.disk.stat_at(dir.handle, name)
    }

    fn names(&mut self, dir: &SimDir) -> io::Result<Vec<String>> {
        self.risky("getdents")?.disk.names(dir.handle)
    }

    fn write(&mut self, file: &SimFile, bytes: &[u8], size: u64) -> io::Result<usize> {
        self.remember(|memory| memory.writing(size));
        let written = self.write_once(file, bytes);
        // A kill between the write and this is the next call's.
        self.remember(|memory| memory.wrote(*written.as_ref().unwrap_or(&0)));
        written
    }

    fn write_beside(&mut self, file: &SimFile, bytes: &[u8]) -> io::Result<usize> {
        self.write_once(file, bytes)
    }

    fn read_at(&mut self, file: &SimFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.risky("pread")?;
        let most = match kernel.strikes(Fault::Short) {
            true => kernel.dice.between(1, into.len().max(1) as u64) as usize,
            false => into.len(),
        };
        let most = most.min(into.len());
        kernel.disk.read_at(file.handle, offset, &mut into[..most])
    }

    fn copy(&mut self, from: &SimFile, offset: u64, to: &SimFile, len: u64) -> io::Result<u64> {
        let mut kernel = self.growing("copy_file_range")?;
        let len = match kernel.strikes(Fault::Short) {
            true => kernel.dice.between(1, len.max(1)),
            false => len,
        };
        kernel.disk.copy(from.handle, offset, to.handle, len)
    }

    fn truncate(&mut self, file: &SimFile, len: u64) -> io::Result<()> {
        self.risky("ftruncate")?.disk.truncate(file.handle, len)
    }

    fn rename(&mut self, dir: &SimDir, from: &str, to: &str) -> io::Result<()> {
        let mut kernel = self.risky("renameat")?;
        if kernel.strikes(Fault::Rename) {
            let code = *kernel.dice.pick(&[libc::EACCES, libc::ENOSPC, libc::EROFS]);
            return Err(errno(code));
        }
        let done = kernel.disk.rename(dir.handle, from, to);
        kernel.note(|| format!("rename {from} to {to}: {done:?}"));
        kernel.hear_of_names();
        done
    }

    fn unlink(&mut self, dir: &SimDir, name: &str) -> io::Result<()> {
        let mut kernel = self.risky("unlinkat")?;
        if kernel.strikes(Fault::Rename) {
            return Err(errno(libc::EACCES));
        }
        let done = kernel.disk.unlink(dir.handle, name);
        kernel.hear_of_names();
        done
    }

    fn lock(&mut self, file: &SimFile) -> io::Result<bool> {
        self.call("flock")?.disk.lock(file.handle)
    }

    fn set_mode(&mut self, file: &SimFile, mode: u32) -> io::Result<()> {
        self.risky("fchmod")?.disk.set_mode(file.handle, mode)
    }

    fn set_modified_as(&mut self, file: &SimFile, other: &SimFile) -> io::Result<()> {
        self.risky("futimens")?.disk.set_modified_as(file.handle, other.handle)
    }

    fn set_group(&mut self, file: &SimFile, gid: u32) -> io::Result<()> {
        self.risky("fchown")?.disk.set_group(file.handle, gid)
    }

    fn wall(&mut self) -> Duration {
        self.kernel.borrow().wall()
    }

    fn set_owner(&mut self, file: &SimFile, uid: u32) -> io::Result<()> {
        self.risky("fchown")?.disk.set_owner(file.handle, uid)
    }

    fn group_id(&mut self, name: &str) -> io::Result<Option<u32>> {
        Ok(name.parse().ok())
    }

    fn user_id(&mut self, name: &str) -> io::Result<Option<u32>> {
        Ok(name.parse().ok())
    }

    fn own_user(&mut self) -> u32 {
        OWN_UID
    }
}

impl SimFiles {
    fn write_once(&mut self, file: &SimFile, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.growing("write")?;
        let most = match kernel.strikes(Fault::Short) {
            true => kernel.dice.between(1, bytes.len().max(1) as u64) as usize,
            false => bytes.len(),
        };
        let written = kernel.disk.write(file.handle, &bytes[..most.min(bytes.len())]);
        kernel.note(|| format!("write {}: {written:?}", bytes.len()));
        written
    }
}
