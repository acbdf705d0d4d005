//! Rules that the kernel's own disk is not asked for: space, limits, numbers.

use crate::disk::{DirHandle, Disk, FileHandle, ROOT};
use seriald::env::Open;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A disk with its root directory open.
fn disk() -> (Disk, DirHandle) {
    let mut disk = Disk::new();
    let root = disk.open_dir(Path::new("/"), None, 0o755).expect("opened");
    (disk, root)
}

fn new(disk: &mut Disk, dir: DirHandle, name: &str) -> FileHandle {
    disk.open(dir, name, Open::NewToAppend(0o600)).expect("made")
}

fn code<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_write_takes_what_there_is_room_for_and_fails_only_if_that_is_nothing() {
    let (mut disk, root) = disk();
    let (a, b) = (new(&mut disk, root, "a"), new(&mut disk, root, "b"));
    disk.capacity = 10;
    assert_eq!(disk.write(a, b"123456").expect("room"), 6);
    assert_eq!(disk.write(b, b"123456").expect("room for a part"), 4);
    assert_eq!((disk.used(), code(disk.write(b, b"x"))), (10, Some(libc::ENOSPC)));
    assert_eq!(disk.write(b, b"").expect("nothing needs no room"), 0);
    disk.truncate(a, 1).expect("cut");
    assert_eq!(disk.write(b, b"123456").expect("room again"), 5);
    // What lies on the disk already can be written anew.
    disk.write_at(Path::new("/b"), 0, b"new").expect("no more room is needed");
    assert_eq!(disk.read_file(Path::new("/b")).expect("read"), b"new412345");
}

#[test]
fn an_outside_write_that_fills_the_disk_leaves_its_beginning() {
    let (mut disk, _) = disk();
    disk.capacity = 3;
    assert_eq!(code(disk.write_file(Path::new("/a"), b"12345")), Some(libc::ENOSPC));
    assert_eq!(disk.read_file(Path::new("/a")).expect("read"), b"123");
}

#[test]
fn holes_take_no_space_and_are_read_as_zeros() {
    let (mut disk, root) = disk();
    let a = new(&mut disk, root, "a");
    disk.truncate(a, 1 << 40).expect("no space is needed");
    assert_eq!((disk.stat(a).expect("open").size, disk.used()), (1 << 40, 0));
    disk.write_at(Path::new("/a"), 100, b"xy").expect("written");
    disk.write_at(Path::new("/a"), 98, b"abc").expect("written");
    assert_eq!(disk.used(), 4);
    let mut seen = [7; 6];
    assert_eq!(disk.read_at(a, 97, &mut seen).expect("read"), 6);
    assert_eq!(&seen, b"\0abcy\0");
    disk.capacity = 8;
    // Of the hole before it four bytes can be filled; what is there needs no room, what follows
    // does.
    let whole = disk.open_path(Path::new("/a"), Open::Existing).expect("opened");
    assert_eq!(disk.write(whole, &[1; 200]).expect("a part"), 4);
    disk.write_at(Path::new("/a"), 98, b"ABCD").expect("no room is needed");
    assert_eq!(code(disk.write_at(Path::new("/a"), 98, b"ABCDE")), Some(libc::ENOSPC));
    disk.truncate(a, 99).expect("cut");
    assert_eq!(disk.used(), 5);
}

#[test]
fn a_removed_file_takes_space_until_it_is_closed() {
    let (mut disk, root) = disk();
    let a = new(&mut disk, root, "a");
    disk.write(a, b"123").expect("written");
    let inode = disk.stat(a).expect("open").id.inode;
    disk.hold(inode).expect("held");
    disk.unlink(root, "a").expect("removed");
    disk.write(a, b"456").expect("written");
    assert_eq!((disk.used(), disk.stat(a).expect("open").links, disk.open_files()), (6, 0, 1));
    assert_eq!(disk.read_inode(inode).expect("read"), b"123456");
    disk.close(a).expect("closed");
    assert_eq!((disk.used(), disk.open_files()), (6, 0));
    disk.let_go(inode);
    assert_eq!((disk.used(), disk.info(inode), disk.inodes()), (0, None, 1));
    assert_eq!(code(disk.close(a)), Some(libc::EBADF));
    disk.close_dir(root).expect("closed");
    assert_eq!((code(disk.close_dir(root)), disk.open_dirs()), (Some(libc::EBADF), 0));
}

#[test]
fn the_lowest_free_number_is_given_anew_only_where_that_is_wanted() {
    for (reuse, expected) in [(true, ROOT + 1), (false, ROOT + 4)] {
        let (mut disk, root) = disk();
        disk.reuse_inodes = reuse;
        for name in ["a", "b", "c"] {
            let file = new(&mut disk, root, name);
            disk.close(file).expect("closed");
        }
        disk.unlink(root, "b").expect("removed");
        disk.unlink(root, "a").expect("removed");
        let (inode, _) = disk.bind_socket(Path::new("/s"), 7).expect("bound");
        assert_eq!(inode, expected);
    }
}

#[test]
fn a_disk_without_inodes_makes_nothing_new() {
    let (mut disk, root) = disk();
    disk.inodes_max = 3;
    new(&mut disk, root, "a");
    disk.make_dir_all(Path::new("/d")).expect("made");
    let more = disk.open(root, "b", Open::New(0o600));
    assert_eq!(code(more), Some(libc::ENOSPC));
    assert_eq!(code(disk.open_dir(Path::new("/d/e"), None, 0o700)), Some(libc::ENOSPC));
    assert_eq!(code(disk.symlink(Path::new("a"), Path::new("/l"))), Some(libc::ENOSPC));
    disk.hard_link(Path::new("/a"), Path::new("/b")).expect("that is only a name");
    assert_eq!(disk.list(Path::new("/")).expect("listed").len(), 3);
}

#[test]
fn a_file_grows_to_its_limit_and_an_actor_outside_has_none() {
    let (mut disk, root) = disk();
    disk.file_max = Some(5);
    let a = new(&mut disk, root, "a");
    assert_eq!(disk.write(a, b"1234567").expect("a part"), 5);
    assert_eq!(code(disk.write(a, b"x")), Some(libc::EFBIG));
    assert_eq!(code(disk.truncate(a, 6)), Some(libc::EFBIG));
    disk.append(Path::new("/a"), b"67").expect("appended");
    disk.truncate(a, 6).expect("that makes it shorter");
    let b = disk.open(root, "b", Open::New(0o600)).expect("made");
    assert_eq!(disk.copy(a, 0, b, 6).expect("a part"), 5);
    assert_eq!(code(disk.copy(a, 0, b, 6)), Some(libc::EFBIG));
    let theirs = disk.open_path(Path::new("/b"), Open::Append).expect("opened");
    assert_eq!((disk.write(theirs, b"123456").expect("all"), disk.open_files()), (6, 2));
}

#[test]
fn an_offset_that_no_file_has_is_refused() {
    let (mut disk, root) = disk();
    let (a, b) = (new(&mut disk, root, "a"), disk.open(root, "b", Open::New(0o600)).expect("made"));
    assert_eq!(code(disk.copy(a, 1, b, u64::MAX)), Some(libc::EOVERFLOW));
    assert_eq!(disk.copy(a, 0, b, u64::MAX).expect("nothing to copy"), 0);
    let far = disk.truncate(a, u64::MAX).expect_err("too far").kind();
    assert_eq!(far, io::ErrorKind::FileTooLarge);
}

#[test]
fn a_path_leads_through_forty_links() {
    let (mut disk, _) = disk();
    disk.write_file(Path::new("/0"), b"x").expect("written");
    for n in 1..=41 {
        let (to, at) = (format!("{}", n - 1), format!("/{n}"));
        disk.symlink(to.as_ref(), at.as_ref()).expect("linked");
    }
    assert_eq!(disk.read_file(Path::new("/40")).expect("read"), b"x");
    assert_eq!(code(disk.read_file(Path::new("/41"))), Some(libc::ELOOP));
}

#[test]
fn a_file_is_as_old_as_its_last_write() {
    let (mut disk, root) = disk();
    let seconds = Duration::from_secs;
    disk.wall = seconds(100);
    let (a, b) = (new(&mut disk, root, "a"), new(&mut disk, root, "b"));
    disk.wall = seconds(103);
    disk.write(a, b"x").expect("written");
    disk.write(b, b"").expect("nothing");
    disk.wall = seconds(110);
    let seen = |disk: &Disk, file| disk.stat(file).map(|stat| (stat.modified, stat.age)).expect("");
    assert_eq!(seen(&disk, a), (seconds(103), seconds(7)));
    assert_eq!(seen(&disk, b), (seconds(100), seconds(10)));
    disk.set_modified_as(b, a).expect("set");
    // The clock may be set back: no file is of the future.
    disk.wall = seconds(90);
    assert_eq!(seen(&disk, b), (seconds(103), seconds(0)));
    let (_, born) = disk.bind_socket(Path::new("/s"), 7).expect("bound");
    assert_eq!((born, disk.lookup(Path::new("/s"), false).expect("there").uid), (seconds(90), 7));
}
