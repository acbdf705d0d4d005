//! From a path to a place: links on the way are followed as path_resolution(7) says.
//!
//! **Invariant:** at most 40 links are followed.

use super::{Content, Disk, Kind, ROOT, errno};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};

/// How many links one path may lead through.
const LINKS_MAX: usize = 40;

/// The longest name, in bytes.
const NAME_MAX: usize = 255;

/// Where a path leads: to a name in a directory, and to what is there.
#[derive(Debug)]
pub struct Place {
    pub dir: u64,
    /// `.` or `..` or empty where the path does not end in a name.
    pub name: OsString,
    pub inode: Option<u64>,
}

/// One step of a way.
#[derive(Clone)]
enum Step {
    Root,
    Up,
    Down(OsString),
}

impl Disk {
    /// Goes a path; a link at its end is followed if `follow`. Relative paths begin at the root.
    pub(super) fn walk(&self, path: &Path, follow: bool) -> io::Result<Place> {
        if path.as_os_str().is_empty() {
            return Err(errno(libc::ENOENT));
        }
        self.walk_from(ROOT, path, follow)
    }

    /// Goes a path that begins in a directory.
    pub(super) fn walk_from(&self, start: u64, path: &Path, follow: bool) -> io::Result<Place> {
        let stay = |dir| Place { dir, name: OsString::new(), inode: Some(dir) };
        let mut left: Vec<Step> = Vec::new();
        push_steps(path, &mut left);
        let (mut place, mut links) = (stay(start), 0);
        while let Some(step) = left.pop() {
            let name = match step {
                Step::Root => {
                    place = stay(ROOT);
                    continue;
                }
                Step::Up => OsString::from(".."),
                Step::Down(name) => name,
            };
            let dir = place.inode.ok_or_else(|| errno(libc::ENOENT))?;
            let inode = self.child(dir, &name)?;
            let target = inode.and_then(|inode| match &self.inodes.get(&inode)?.content {
                Content::Link(target) if follow || !left.is_empty() => Some(target),
                _ => None,
            });
            place = match target {
                Some(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(errno(libc::ELOOP));
                    }
                    push_steps(target, &mut left);
                    stay(dir)
                }
                None => Place { dir, name, inode },
            };
        }
        Ok(place)
    }

    /// What the path leads to.
    pub(super) fn find(&self, path: &Path, follow: bool) -> io::Result<u64> {
        self.walk(path, follow)?.inode.ok_or_else(|| errno(libc::ENOENT))
    }

    /// What a name in a directory stands for.
    pub(super) fn child(&self, dir: u64, name: &OsStr) -> io::Result<Option<u64>> {
        let Content::Dir { entries, parent } = &self.node(dir)?.content else {
            return Err(errno(libc::ENOTDIR));
        };
        match name.as_encoded_bytes() {
            b"" => Err(errno(libc::ENOENT)),
            b"." => Ok(Some(dir)),
            b".." => Ok(Some(*parent)),
            long if long.len() > NAME_MAX => Err(errno(libc::ENAMETOOLONG)),
            _ => Ok(entries.get(name).copied()),
        }
    }

    pub(super) fn is_dir_inode(&self, inode: u64) -> bool {
        self.inodes.get(&inode).is_some_and(|node| node.kind() == Kind::Dir)
    }

    pub(super) fn is_link_inode(&self, inode: u64) -> bool {
        self.inodes.get(&inode).is_some_and(|node| node.kind() == Kind::Link)
    }
}

/// Puts the steps of a path before those that are left, which are taken from the end.
fn push_steps(path: &Path, left: &mut Vec<Step>) {
    let steps = path.components().filter_map(|part| match part {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    let steps: Vec<Step> = steps.collect();
    left.extend(steps.into_iter().rev());
}

/// Whether a name is one of the two that every directory has.
pub(super) fn is_dots(name: &OsStr) -> bool {
    name == "." || name == ".."
}
