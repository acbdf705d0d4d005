//! All that can be seen of a tree, of the real one and of the one in memory in the same words.

use crate::disk::{Disk, Info, Kind};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The time that every file has before a call: another afterwards was set by the call.
pub const BEFORE: Duration = Duration::from_secs(1_000_000);

/// One name.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    kind: Kind,
    size: u64,
    links: u64,
    owner: (u32, u32),
    mode: u32,
    bytes: Vec<u8>,
    target: PathBuf,
    touched: bool,
}

/// Entries by their paths, with the inodes' numbers apart: only what is equal among them counts.
pub type Tree = BTreeMap<PathBuf, (u64, Entry)>;

/// The real tree below a directory.
pub fn real(below: &Path, into: &mut Tree) {
    let entries = fs::read_dir(below).expect("a directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // The first name of a file tells whether it was touched: the same one on both.
    paths.sort();
    for path in paths {
        let meta = fs::symlink_metadata(&path).expect("there");
        let kind = meta.file_type();
        let kind = match () {
            () if kind.is_dir() => Kind::Dir,
            () if kind.is_symlink() => Kind::Link,
            () if kind.is_socket() => Kind::Socket,
            () => Kind::File,
        };
        let can_touch = matches!(kind, Kind::File | Kind::Dir);
        let modified = SystemTime::UNIX_EPOCH + BEFORE;
        let touched = can_touch && meta.modified().expect("a time") != modified;
        if touched {
            fs::File::open(&path).and_then(|file| file.set_modified(modified)).expect("set");
        }
        let entry = Entry {
            kind,
            size: if kind == Kind::Dir { 0 } else { meta.len() },
            links: meta.nlink(),
            owner: (meta.uid(), meta.gid()),
            mode: meta.permissions().mode() & 0o7777,
            bytes: if kind == Kind::File { fs::read(&path).expect("read") } else { Vec::new() },
            target: fs::read_link(&path).unwrap_or_default(),
            touched,
        };
        into.insert(path.clone(), (meta.ino(), entry));
        if kind == Kind::Dir {
            real(&path, into);
        }
    }
}

/// The tree in memory below a directory.
pub fn in_memory(disk: &mut Disk, below: &Path, into: &mut Tree) {
    for (name, is_dir) in disk.list(below).expect("a directory") {
        let path = below.join::<&OsStr>(&name);
        let info: Info = disk.lookup(&path, false).expect("there");
        assert_eq!(is_dir, info.kind == Kind::Dir);
        let touched = matches!(info.kind, Kind::File | Kind::Dir) && info.modified != BEFORE;
        if touched {
            disk.node_mut(info.inode).expect("there").modified = BEFORE;
        }
        let is_file = info.kind == Kind::File;
        let entry = Entry {
            kind: info.kind,
            size: info.size,
            links: info.links,
            owner: (info.uid, info.gid),
            mode: info.mode,
            bytes: if is_file { disk.read_file(&path).expect("read") } else { Vec::new() },
            target: disk.read_link(&path).unwrap_or_default(),
            touched,
        };
        into.insert(path.clone(), (info.inode, entry));
        if is_dir {
            in_memory(disk, &path, into);
        }
    }
}
