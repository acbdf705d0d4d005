//! Users and groups by their names.
//!
//! Owns nothing.
//! **Invariant:** a decimal number stands for itself, whatever the databases say.

use super::files::c_name;
use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;

/// Room for an entry, at first and at most, in bytes: a group may have many members.
const ENTRY_MIN: usize = 1024;
/// See [`ENTRY_MIN`].
const ENTRY_MAX: usize = 1024 * 1024;

/// The number of a group; `None`: there is none of that name.
pub(super) fn group_id(name: &str) -> io::Result<Option<u32>> {
    number(name, |name, strings| {
        let mut entry = MaybeUninit::<libc::group>::uninit();
        let mut found = std::ptr::null_mut();
        let (at, room) = (strings.as_mut_ptr(), strings.len());
        // SAFETY: the name ends with NUL; entry, strings (with their length) and found are
        // writable and outlive the call.
        let code =
            unsafe { libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), at, room, &mut found) };
        // SAFETY: a result that is not null points to `entry`, which is filled then.
        (code, (!found.is_null()).then(|| unsafe { (*found).gr_gid }))
    })
}

/// The number of a user; `None`: there is none of that name.
pub(super) fn user_id(name: &str) -> io::Result<Option<u32>> {
    number(name, |name, strings| {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let (at, room) = (strings.as_mut_ptr(), strings.len());
        // SAFETY: as for a group.
        let code =
            unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), at, room, &mut found) };
        // SAFETY: a result that is not null points to `entry`, which is filled then.
        (code, (!found.is_null()).then(|| unsafe { (*found).pw_uid }))
    })
}

/// Asks with more and more room for the entry's strings.
fn number(
    name: &str,
    ask: impl Fn(&CStr, &mut [c_char]) -> (c_int, Option<u32>),
) -> io::Result<Option<u32>> {
    // -1 would mean "leave it as it is" to chown(2).
    if let Some(number) = name.parse().ok().filter(|number| *number != u32::MAX) {
        return Ok(Some(number));
    }
    let name = c_name(name)?;
    let mut room = ENTRY_MIN;
    while room <= ENTRY_MAX {
        match ask(&name, &mut vec![0; room]) {
            (0, found) => return Ok(found),
            // What getgrnam(3) and getpwnam(3) list as "not found" besides 0.
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (libc::ERANGE, _) => room *= 4,
            (code, _) => return Err(io::Error::from_raw_os_error(code)),
        }
    }
    Err(io::Error::other("its entry in the database is too long"))
}
