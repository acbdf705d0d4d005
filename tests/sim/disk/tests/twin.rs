//! A real directory and a disk in memory, to both of which the same is done.

mod calls;

use super::ops::Op;
use super::tree::{self, BEFORE, Tree};
use crate::disk::{DirHandle, Disk, DiskChange, FileHandle};
use seriald::env::os::{OsDir, OsEnv, OsFile};
use seriald::env::{Change, Env, Files, Stat, WatchId, Watches};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLockReadGuard};
use std::time::Duration;

/// The two, and what is open in both.
pub struct Twin {
    env: OsEnv,
    pub disk: Disk,
    base: PathBuf,
    files: Vec<(OsFile, FileHandle)>,
    dirs: Vec<(OsDir, DirHandle)>,
    watched: BTreeMap<WatchId, u64>,
    home: tempfile::TempDir,
    _no_fork: RwLockReadGuard<'static, ()>,
}

impl Twin {
    /// A directory that is empty, open and, as all above it, on both.
    pub fn new() -> Twin {
        Twin::below(&std::env::temp_dir())
    }

    /// The same below a directory.
    pub fn below(above: &Path) -> Twin {
        let no_fork = super::FORK.read().unwrap_or_else(PoisonError::into_inner);
        let home = tempfile::tempdir_in(above).expect("a directory");
        let place = home.path().canonicalize().expect("its path");
        // Deep enough that no path leads out of it.
        let base = place.join("x/y");
        let mut env = OsEnv::new().expect("a world");
        let mut disk = Disk::new();
        disk.user = env.files().own_user();
        disk.file_max = std::env::var(super::FILE_MAX).ok().map(|max| max.parse().expect("bytes"));
        disk.group = fs::metadata(&place).expect("there").gid();
        disk.make_dir_all(&place).expect("made");
        disk.node_mut(disk.find(&place, false).expect("there")).expect("there").mode = 0o700;
        fs::create_dir_all(&base).expect("made");
        disk.make_dir_all(&base).expect("made");
        disk.take_changes();
        let dir = env.files().open_dir(&base, None, 0o700).expect("opened");
        let dirs = vec![(dir, disk.open_dir(&base, None, 0o700).expect("opened"))];
        let mut twin = Twin {
            env,
            disk,
            base,
            files: Vec::new(),
            dirs,
            watched: BTreeMap::new(),
            home,
            _no_fork: no_fork,
        };
        // Makes all times equal.
        twin.trees();
        twin.disk.wall = BEFORE + Duration::from_secs(1);
        twin
    }

    /// Does one thing to both and compares all that can be seen.
    pub fn run(&mut self, op: &Op) {
        let needs_root =
            matches!(op, Op::Chown(..) | Op::SetOwner(..) | Op::SetGroup(..) | Op::Bind(..));
        // On the real one the limit is everybody's.
        let has_limit = matches!(
            op,
            Op::Append(..) | Op::WriteAt(..) | Op::TruncatePath(..) | Op::OpenPath(..)
        );
        if needs_root && self.disk.user != 0 || has_limit && self.disk.file_max.is_some() {
            return;
        }
        self.apply(op);
        self.compare_changes(op);
        let (real, memory) = self.trees();
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&real), names(&memory), "names after {op:?}");
        let mut pairs = Vec::new();
        for ((path, (inode, entry)), (other, expected)) in real.iter().zip(memory.values()) {
            assert_eq!(entry, expected, "{} after {op:?}", path.display());
            pairs.push((*inode, *other));
        }
        for (file, handle) in &self.files {
            let stat = self.env.files().stat(file).expect("open");
            let other = self.disk.stat(*handle).expect("open");
            assert_eq!(told(&stat), told(&other), "a file after {op:?}");
            pairs.push((stat.id.inode, other.id.inode));
        }
        is_one_to_one(&pairs);
        self.compare_counts(&memory);
    }

    fn trees(&mut self) -> (Tree, Tree) {
        let (mut real, mut memory) = (Tree::new(), Tree::new());
        tree::real(self.home.path(), &mut real);
        let home = self.home.path().canonicalize().expect("its path");
        tree::in_memory(&mut self.disk, &home, &mut memory);
        (real, memory)
    }

    /// Everything on the disk has a reason to be there.
    fn compare_counts(&self, memory: &Tree) {
        assert_eq!(self.disk.open_files(), self.files.len());
        assert_eq!(self.disk.open_dirs(), self.dirs.len());
        if self.files.is_empty() && self.dirs.len() == 1 {
            let mut inodes: Vec<u64> = memory.values().map(|(inode, _)| *inode).collect();
            inodes.sort_unstable();
            inodes.dedup();
            // The way to the base, and the root.
            let above = self.home.path().canonicalize().expect("its path").components().count();
            let first = self.disk.dir_inode(self.dirs[0].1).expect("open");
            if self.disk.info(first).is_some_and(|info| info.links > 0) {
                assert_eq!(self.disk.inodes(), (inodes.len() + above) as u64);
            }
        }
    }

    fn compare_changes(&mut self, op: &Op) {
        let mut real = Vec::new();
        while self.env.take_changes(&mut real) {}
        let ids: BTreeMap<u64, WatchId> =
            self.watched.iter().map(|(id, inode)| (*inode, *id)).collect();
        let mut memory = Vec::new();
        for change in self.disk.take_changes() {
            let told = match change {
                DiskChange::Appeared { dir, name, is_dir } => {
                    ids.get(&dir).map(|dir| Change::Appeared { dir: *dir, name, is_dir })
                }
                DiskChange::Vanished { dir, name, .. } => {
                    ids.get(&dir).map(|dir| Change::Vanished { dir: *dir, name })
                }
                DiskChange::Moved { dir } => ids.get(&dir).map(|dir| Change::Ended(*dir)),
                DiskChange::Removed { dir } => {
                    self.watched.retain(|_, inode| *inode != dir);
                    ids.get(&dir).map(|dir| Change::Ended(*dir))
                }
            };
            // inotify merges what is equal to the last of its queue.
            memory.extend(told.filter(|told| memory.last() != Some(told)));
        }
        assert_eq!(real, memory, "changes of {op:?}");
    }
}

/// What a stat tells that both must tell.
fn told(stat: &Stat) -> (bool, bool, u64, u64, u32) {
    // A directory's size is its file system's own.
    let size = if stat.regular || stat.link { stat.size } else { 0 };
    (stat.regular, stat.link, size, stat.links, stat.uid)
}

/// What is the same file on the one is on the other.
fn is_one_to_one(pairs: &[(u64, u64)]) {
    let there: BTreeMap<u64, u64> = pairs.iter().copied().collect();
    let back: BTreeMap<u64, u64> = pairs.iter().map(|(one, other)| (*other, *one)).collect();
    for (one, other) in pairs {
        assert_eq!((there[one], back[other]), (*other, *one), "one file on one, two on the other");
    }
}
