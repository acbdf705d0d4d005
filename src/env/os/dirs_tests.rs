//! Which links are followed on the way to a directory, with openat2(2) and without.

use super::super::OsFiles;
use super::*;
use crate::env::Files;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use tempfile::TempDir;

/// `real/in/logs`, and links to each of its directories beside them.
fn place() -> TempDir {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("real/in/logs")).unwrap();
    symlink("real", top.path().join("link")).unwrap();
    symlink("in", top.path().join("real/link")).unwrap();
    symlink("logs", top.path().join("real/in/link")).unwrap();
    top
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// The inode that was reached, or the directory that was refused.
fn reached(top: &Path, path: &str, root: Option<&str>) -> Result<u64, String> {
    let root = root.map(|root| top.join(root));
    let opened = open_log_dir(&top.join(path), root.as_deref(), 0o750);
    match opened {
        Ok(dir) => Ok(super::super::fstat(dir.as_raw_fd()).unwrap().st_ino),
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>()) {
            Some(Refused::LinkedDirectory(at)) => {
                Err(at.strip_prefix(top).unwrap().display().to_string())
            }
            other => panic!("{path}: {error} {other:?}"),
        },
    }
}

fn links_below_a_root_are_refused_and_the_root_is_taken_as_it_stands() {
    let top = place();
    let top = top.path();
    let logs = inode(&top.join("real/in/logs"));
    assert_eq!(reached(top, "real/in/logs", Some("real")), Ok(logs));
    assert_eq!(reached(top, "link/in/logs", Some("link")), Ok(logs));
    assert_eq!(reached(top, "real/in/link", Some("real/in/link")), Ok(logs));
    assert_eq!(reached(top, "link/in/logs", Some("")), Err("link".into()));
    assert_eq!(reached(top, "real/link/logs", Some("real")), Err("real/link".into()));
    assert_eq!(reached(top, "real/in/link", Some("real")), Err("real/in/link".into()));
    // What is missing is made, but not through a link.
    assert!(reached(top, "real/new/logs", Some("real")).is_ok());
    assert_eq!(reached(top, "real/link/new", Some("real")), Err("real/link".into()));
    assert!(!top.join("real/in/new").exists());
    let error = open_log_dir(&top.join("no/logs"), Some(&top.join("no")), 0o750).unwrap_err();
    assert!(error.to_string().starts_with("log.root "), "{error}");
    assert!(!top.join("no").exists(), "a root is never made");
    let error = open_log_dir(&top.join("real/../x"), Some(&top.join("real")), 0o750).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn below_a_root_no_link_is_followed() {
    links_below_a_root_are_refused_and_the_root_is_taken_as_it_stands();
}

#[test]
fn below_a_root_no_link_is_followed_where_openat2_is_missing_or_forbidden() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let refused = std::thread::spawn(move || {
            forbid_openat2(errno);
            let top = open_directory(None, c"/", libc::O_PATH).unwrap();
            let error = open_at_once(&top, c"tmp").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "the filter does not work");
            links_below_a_root_are_refused_and_the_root_is_taken_as_it_stands();
        });
        refused.join().unwrap();
    }
}

#[test]
fn without_a_root_the_directory_itself_may_be_no_link_and_those_above_may() {
    let top = place();
    let top = top.path();
    let logs = inode(&top.join("real/in/logs"));
    assert_eq!(reached(top, "link/link/logs", None), Ok(logs));
    assert_eq!(reached(top, "real/in/link", None), Err("real/in/link".into()));
    // A slash, or a dot, at its end would have the kernel follow it.
    assert_eq!(reached(top, "real/in/link/", None), Err("real/in/link".into()));
    assert_eq!(reached(top, "real/in/link/.", None), Err("real/in/link".into()));
    assert!(reached(top, "link/link/new/logs", None).is_ok());
    assert!(top.join("real/in/new/logs").exists());
    // A link that leads nowhere is no directory to be made.
    symlink("nowhere", top.join("dangling")).unwrap();
    assert_eq!(reached(top, "dangling", None), Err("dangling".into()));
    assert!(open_log_dir(&top.join("dangling/logs"), None, 0o750).is_err());
    assert!(!top.join("nowhere").exists());
}

#[test]
fn a_link_that_is_refused_is_named_with_the_way_out() {
    let top = place();
    let path = top.path().join("real/in/link");
    let error = OsFiles::default().open_dir(&path, None, 0o750).unwrap_err().to_string();
    let wanted = format!("{} is a symbolic link, which is not followed: name its", path.display());
    assert!(error.starts_with(&wanted) && error.contains("log.root"), "{error}");
}

/// From now on openat2(2) fails in this thread: a sandbox that does not know it, or an old kernel.
fn forbid_openat2(errno: c_int) {
    let instruction = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = [
        // The number of the call; if it is openat2's fail, else allow.
        instruction(0x20, 0, 0),
        instruction(0x15, libc::SYS_openat2 as u32, 1),
        instruction(0x06, libc::SECCOMP_RET_ERRNO | errno as u32, 0),
        instruction(0x06, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is live during the call, and as long as said.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let filter = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program), 0);
    }
}
