//! Each call, done to the real directory and to the disk in memory.

use super::{Twin, told};
use crate::disk::ROOT;
use crate::disk::tests::ops::{Op, PARTS, Way};
use seriald::env::{Change, Env, FileId, Files, Open, Refused, Sockets, Watches};
use std::fmt::Debug;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

impl Twin {
    fn at(&self, way: &Way) -> PathBuf {
        way.iter().fold(self.base.clone(), |path, part| path.join(PARTS[*part]))
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::OpenDir { path, root, mode } => {
                let (path, root) = (self.at(path), root.as_ref().map(|root| self.at(root)));
                let real = self.env.files().open_dir(&path, root.as_deref(), *mode);
                let memory = self.disk.open_dir(&path, root.as_deref(), *mode);
                self.dirs.extend(same_error(op, real, memory));
            }
            Op::CloseDir(index) if self.dirs.len() > 1 => {
                let (real, memory) = self.dirs.swap_remove(index % self.dirs.len());
                drop(real);
                self.disk.close_dir(memory).expect("closed");
            }
            Op::Open(dir, name, how) => {
                let (dir, handle) = &self.dirs[dir % self.dirs.len()];
                let real = self.env.files().open(dir, name, *how);
                let memory = self.disk.open(*handle, name, *how);
                self.files.extend(same_error(op, real, memory));
            }
            Op::StatAt(dir, name) => {
                let (dir, handle) = &self.dirs[dir % self.dirs.len()];
                let real = self.env.files().stat_at(dir, name);
                let memory = self.disk.stat_at(*handle, name);
                same(op, real.map(|stat| told(&stat)), memory.map(|stat| told(&stat)));
            }
            Op::Names(dir) => {
                let (dir, handle) = &self.dirs[dir % self.dirs.len()];
                let real = self.env.files().names(dir).map(sorted);
                same(op, real, self.disk.names(*handle));
            }
            Op::Rename(dir, from, to) => {
                let (dir, handle) = &self.dirs[dir % self.dirs.len()];
                let real = self.env.files().rename(dir, from, to);
                same(op, real, self.disk.rename(*handle, from, to));
            }
            Op::Unlink(dir, name) => {
                let (dir, handle) = &self.dirs[dir % self.dirs.len()];
                let real = self.env.files().unlink(dir, name);
                same(op, real, self.disk.unlink(*handle, name));
            }
            _ if self.files.is_empty() || self.on_file(op) => self.on_path(op),
            _ => {}
        }
    }

    /// What is done to open files. `true`: it is no such call.
    fn on_file(&mut self, op: &Op) -> bool {
        let count = self.files.len();
        let file = |at: &usize| &self.files[at % count];
        let (real, disk) = (self.env.files(), &mut self.disk);
        match op {
            Op::Close(index) => {
                let (real, memory) = self.files.swap_remove(index % count);
                drop(real);
                disk.close(memory).expect("closed");
                assert!(disk.close(memory).is_err());
            }
            Op::Write(at, bytes) => {
                let (file, handle) = file(at);
                same(op, real.write(file, bytes, 0), disk.write(*handle, bytes));
            }
            Op::ReadAt(at, offset, len) => {
                let (file, handle) = file(at);
                let (mut one, mut other) = (vec![7; *len], vec![7; *len]);
                let read = real.read_at(file, *offset, &mut one);
                same(op, read, disk.read_at(*handle, *offset, &mut other));
                assert_eq!(one, other);
            }
            Op::Copy { from, offset, to, len } => {
                let (from, to) = (file(from), file(to));
                let copied = real.copy(&from.0, *offset, &to.0, *len);
                same(op, copied, disk.copy(from.1, *offset, to.1, *len));
            }
            Op::Truncate(at, len) => {
                let (file, handle) = file(at);
                same(op, real.truncate(file, *len), disk.truncate(*handle, *len));
            }
            Op::Lock(at) => {
                let (file, handle) = file(at);
                same(op, real.lock(file), disk.lock(*handle));
            }
            Op::SetMode(at, mode) => {
                let (file, handle) = file(at);
                same(op, real.set_mode(file, *mode), disk.set_mode(*handle, *mode));
            }
            Op::SetModifiedAs(at, other) => {
                let (file, other) = (file(at), file(other));
                let set = real.set_modified_as(&file.0, &other.0);
                same(op, set, disk.set_modified_as(file.1, other.1));
            }
            Op::SetGroup(at, id) => {
                let (file, handle) = file(at);
                same(op, real.set_group(file, *id), disk.set_group(*handle, *id));
            }
            Op::SetOwner(at, id) => {
                let (file, handle) = file(at);
                same(op, real.set_owner(file, *id), disk.set_owner(*handle, *id));
            }
            _ => return true,
        }
        false
    }

    /// What others do.
    fn on_path(&mut self, op: &Op) {
        let at = |way: &Way| self.at(way);
        match op {
            Op::MakeDirAll(path) => {
                let path = at(path);
                same(op, fs::create_dir_all(&path), self.disk.make_dir_all(&path));
            }
            Op::MakeDir(path) => {
                let path = at(path);
                same(op, fs::create_dir(&path), self.disk.make_dir_at(&path));
            }
            Op::OpenPath(path, how, bytes) => {
                let path = at(path);
                let real = options(*how).open(&path).and_then(|mut file| file.write(bytes));
                let memory = self.disk.open_path(&path, *how).and_then(|file| {
                    let written = self.disk.write(file, bytes);
                    self.disk.close(file).expect("closed");
                    written
                });
                same(op, real, memory);
            }
            Op::WriteFile(path, bytes) => {
                let path = at(path);
                same(op, fs::write(&path, bytes), self.disk.write_file(&path, bytes));
            }
            Op::Append(path, bytes) => {
                let path = at(path);
                let real = OpenOptions::new().append(true).open(&path);
                let real = real.and_then(|mut file| file.write_all(bytes));
                same(op, real, self.disk.append(&path, bytes));
            }
            Op::WriteAt(path, offset, bytes) => {
                let path = at(path);
                let real = OpenOptions::new().write(true).open(&path);
                let real = real.and_then(|file| file.write_all_at(bytes, *offset));
                same(op, real, self.disk.write_at(&path, *offset, bytes));
            }
            Op::TruncatePath(path, len) => {
                let path = at(path);
                let real = OpenOptions::new().write(true).open(&path);
                let real = real.and_then(|file| file.set_len(*len));
                same(op, real, self.disk.truncate_path(&path, *len));
            }
            Op::RenamePath(from, to) => {
                let (from, to) = (at(from), at(to));
                same(op, fs::rename(&from, &to), self.disk.rename_path(&from, &to));
            }
            Op::RemovePath(path) => {
                let path = at(path);
                same(op, remove(&path), self.disk.remove_path(&path));
            }
            Op::RemoveAll(path) => {
                let path = at(path);
                same(op, remove_all(&path), self.disk.remove_all(&path));
            }
            _ => self.on_links(op),
        }
    }

    fn on_links(&mut self, op: &Op) {
        let at = |way: &Way| self.at(way);
        match op {
            Op::Symlink(target, whole, path) => {
                let path = at(path);
                let relative: PathBuf = target.iter().map(|part| PARTS[*part]).collect();
                let target = if *whole { at(target) } else { relative };
                same(op, symlink(&target, &path), self.disk.symlink(&target, &path));
            }
            Op::HardLink(from, to) => {
                let (from, to) = (at(from), at(to));
                same(op, fs::hard_link(&from, &to), self.disk.hard_link(&from, &to));
            }
            Op::Chown(path, id) => {
                let path = at(path);
                let real = lchown(&path, Some(*id), Some(*id + 1));
                same(op, real, self.disk.chown(&path, *id, *id + 1));
            }
            Op::Bind(path, id) => {
                let path = at(path);
                let real = UnixListener::bind(&path);
                let real = real.and_then(|_| lchown(&path, Some(*id), None));
                same(op, real, self.disk.bind_socket(&path, *id).map(drop));
            }
            Op::UnlinkSocket(path) => {
                let path = at(path);
                same(op, self.env.unlink_socket(&path), self.disk.unlink_socket(&path));
            }
            Op::Watch(path) => {
                let path = at(path);
                let real = self.env.watch_dir(&path);
                let memory = self.disk.dir_at(&path);
                self.watched.extend(same_error(op, real, memory));
            }
            Op::Unwatch(index) => {
                if let Some(id) = self.watched.keys().nth(*index).copied() {
                    self.env.unwatch_dir(id);
                    self.watched.remove(&id);
                    // It tells of its own end.
                    let mut end = Vec::new();
                    self.env.take_changes(&mut end);
                    assert_eq!(end, [Change::Ended(id)]);
                }
            }
            Op::Ask(path) => self.ask(op, &at(path)),
            _ => {}
        }
    }

    fn ask(&mut self, op: &Op, path: &Path) {
        let (env, disk) = (&mut self.env, &self.disk);
        assert_eq!(env.files().has_dir(path), disk.has_dir(path), "{op:?}");
        assert_eq!(path.exists(), disk.exists(path), "{op:?}");
        for through in [false, true] {
            assert_eq!(env.is_dir(path, through), disk.is_dir(path, through), "{op:?}");
        }
        same(op, env.entries(path).map(sorted), disk.list(path));
        same(op, fs::read(path), disk.read_file(path));
        same(op, fs::read_link(path), disk.read_link(path));
        let socket = env.find(path, None).map(|(_, id)| id);
        let other = disk.socket_at(path).and_then(|info| match info.links {
            1 => Ok(info),
            _ => Err(io::Error::other(Refused::LinkedSocket)),
        });
        same(op, socket.as_ref().map(drop).map_err(again), other.as_ref().map(drop).map_err(again));
        let (real, memory) = (env.place(path), disk.place(path));
        assert_eq!((real.0.is_some(), &real.1), (memory.0.is_some(), &memory.1), "{op:?}");
        let numbers = |id: Option<FileId>| id.map(|id| id.inode);
        let base = disk.dir_inode(self.dirs[0].1).expect("open");
        let real_base = fs::metadata(&self.base).ok().map(|meta| meta.ino());
        if disk.find(&self.base, true).is_ok_and(|now| now == base) {
            assert_eq!(numbers(real.0) == real_base, memory.0 == Some(base), "{op:?}");
        }
        assert_ne!(memory.0, Some(ROOT));
    }
}

fn options(how: Open) -> OpenOptions {
    let mut options = OpenOptions::new();
    match how {
        Open::Append => options.read(true).append(true),
        Open::NewToAppend(mode) => options.read(true).append(true).create_new(true).mode(mode),
        Open::New(mode) => options.read(true).write(true).create_new(true).mode(mode),
        Open::Existing => options.read(true).write(true),
        Open::Read => options.read(true),
    };
    options
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.raw_os_error() == Some(libc::EISDIR) => fs::remove_dir(path),
        removed => removed,
    }
}

/// In the order of the names, for the changes are told in it.
fn remove_all(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        let entries = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        for entry in sorted(entries.collect::<io::Result<Vec<_>>>()?) {
            remove_all(&entry)?;
        }
    }
    remove(path)
}

/// What is to be the same of an error.
fn words(error: &io::Error) -> (io::ErrorKind, Option<i32>, Option<Refused>) {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    (error.kind(), error.raw_os_error(), refused.cloned())
}

fn again(error: &io::Error) -> io::Error {
    match (error.raw_os_error(), words(error).2) {
        (Some(code), _) => io::Error::from_raw_os_error(code),
        (None, Some(refused)) => io::Error::other(refused),
        (None, None) => error.kind().into(),
    }
}

/// Both succeeded, or failed in the same way.
fn same_error<A, B>(op: &Op, real: io::Result<A>, memory: io::Result<B>) -> Option<(A, B)> {
    let failed = real.as_ref().err().map(words);
    assert_eq!(failed, memory.as_ref().err().map(words), "{op:?}");
    real.ok().zip(memory.ok())
}

fn same<T: Debug + PartialEq>(op: &Op, real: io::Result<T>, memory: io::Result<T>) {
    if let Some((real, memory)) = same_error(op, real, memory) {
        assert_eq!(real, memory, "{op:?}");
    }
}
