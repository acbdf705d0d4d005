//! A VM's id and its paths, as they are kept of each VM: in one small piece of memory.
//!
//! Owns how they are laid out: a byte that says which parts go without saying, the lengths of the
//! others, and their text. The directory that all paths begin with is there once, and the names
//! that an instance directory has, and an id that is the directory's name, are not there at all.
//! **Invariant:** what was put in is told again, byte for byte.

use super::VmSpec;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The names in an instance directory: serial socket, API socket, log.
const INSTANCE: [&[u8]; 3] = [b"serial.sock", b"ch.sock", b"logs/app.log"];

/// See [`INSTANCE`]: the bit of a path that has the name of an instance's.
const NAMED: [u8; 3] = [1, 2, 4];
/// The bit of an API path that is there.
const HAS_API: u8 = 8;
/// The bit of an id that is the directory's name.
const ID_IN_DIR: u8 = 16;

/// A VM's id and paths.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct VmPaths(Box<[u8]>);

/// The parts, as they lie there.
struct Parts<'a> {
    dir: &'a [u8],
    id: &'a [u8],
    serial: &'a [u8],
    api: Option<&'a [u8]>,
    log: &'a [u8],
}

impl VmPaths {
    /// Those of this spec.
    pub(crate) fn of(spec: &VmSpec) -> Self {
        let api = spec.api.as_deref();
        VmPaths::lay_out(&spec.id, Some(&spec.serial), api, &spec.log.path)
    }

    /// A log's alone, with no VM.
    pub(crate) fn of_log(log: &Path) -> Self {
        VmPaths::lay_out("", None, None, log)
    }

    fn lay_out(id: &str, serial: Option<&Path>, api: Option<&Path>, log: &Path) -> Self {
        let log = log.as_os_str().as_bytes();
        let serial = serial.map_or(log, |serial| serial.as_os_str().as_bytes());
        let api = api.map(|api| api.as_os_str().as_bytes());
        let common = common_len(common_len(serial.len(), serial, log), serial, api.unwrap_or(log));
        let len = serial[..common].iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        // A path that ends with a slash has its name before that.
        let keeps_name = |path: &&[u8]| name_of(&path[len..]) == name_of(path);
        let len =
            if [Some(serial), api, Some(log)].iter().flatten().all(keeps_name) { len } else { 0 };
        let dir = &serial[..len];
        let mut flags = 0;
        let mut parts: Vec<&[u8]> = vec![dir];
        if !id.is_empty() && name_of_dir(dir) == id.as_bytes() {
            flags |= ID_IN_DIR;
        } else {
            parts.push(id.as_bytes());
        }
        for (at, path) in [Some(serial), api, Some(log)].into_iter().enumerate() {
            let Some(rest) = path.map(|path| &path[dir.len()..]) else { continue };
            if at == 1 {
                flags |= HAS_API;
            }
            if rest == INSTANCE[at] {
                flags |= NAMED[at];
            } else {
                parts.push(rest);
            }
        }
        let mut bytes = vec![flags];
        parts.iter().for_each(|part| push_len(&mut bytes, part.len()));
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        VmPaths(bytes.into_boxed_slice())
    }

    fn parts(&self) -> Parts<'_> {
        let flags = self.0.first().copied().unwrap_or(0);
        let has = |bit| flags & bit != 0;
        let is_there =
            [true, !has(ID_IN_DIR), !has(NAMED[0]), has(HAS_API) && !has(NAMED[1]), !has(NAMED[2])];
        let mut rest = self.0.get(1..).unwrap_or_default();
        let lens = is_there.map(|there| if there { take_len(&mut rest) } else { 0 });
        let [dir, id, serial, api, log] = lens.map(|len| {
            let (part, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            part
        });
        let named = |at: usize, part| if has(NAMED[at]) { INSTANCE[at] } else { part };
        Parts {
            dir,
            id: if has(ID_IN_DIR) { name_of_dir(dir) } else { id },
            serial: named(0, serial),
            api: has(HAS_API).then(|| named(1, api)),
            log: named(2, log),
        }
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        // It was text when it came.
        std::str::from_utf8(self.parts().id).unwrap_or_default()
    }

    /// The serial socket.
    pub(crate) fn serial(&self) -> PathBuf {
        let parts = self.parts();
        path(parts.dir, parts.serial)
    }

    /// The API socket.
    pub(crate) fn api(&self) -> Option<PathBuf> {
        let parts = self.parts();
        parts.api.map(|api| path(parts.dir, api))
    }

    /// The log.
    pub(crate) fn log(&self) -> PathBuf {
        let parts = self.parts();
        path(parts.dir, parts.log)
    }

    /// The log's file name, which is text.
    pub(crate) fn log_name(&self) -> &str {
        name_of(self.parts().log).to_str().unwrap_or_default()
    }

    /// The file names of serial socket, API socket and log.
    pub(crate) fn names(&self) -> [&OsStr; 3] {
        let parts = self.parts();
        [parts.serial, parts.api.unwrap_or_default(), parts.log].map(name_of)
    }

    /// Whether there is an API socket.
    pub(crate) fn has_api(&self) -> bool {
        self.parts().api.is_some()
    }
}

fn name_of(path: &[u8]) -> &OsStr {
    Path::new(OsStr::from_bytes(path)).file_name().unwrap_or_default()
}

fn path(dir: &[u8], rest: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&[dir, rest].concat()))
}

fn common_len(most: usize, one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take(most).take_while(|(a, b)| a == b).count()
}

/// The last name of a directory whose text ends with a slash.
fn name_of_dir(dir: &[u8]) -> &[u8] {
    let dir = dir.strip_suffix(b"/").unwrap_or_default();
    dir.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn push_len(bytes: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
}

fn take_len(bytes: &mut &[u8]) -> usize {
    let mut len = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogSpec;
    use proptest::prelude::*;

    fn spec(id: &str, serial: &str, api: Option<&str>, log: &str) -> VmSpec {
        let mut spec = VmSpec::new(id, serial, LogSpec::new(log));
        spec.api = api.map(PathBuf::from);
        spec
    }

    fn assert_told_again(spec: &VmSpec) {
        let paths = VmPaths::of(spec);
        let told = [Some(paths.serial()), paths.api(), Some(paths.log())];
        let whole = [Some(spec.serial.clone()), spec.api.clone(), Some(spec.log.path.clone())];
        // As text: two paths are the same by their components already.
        let text =
            |paths: [Option<PathBuf>; 3]| paths.map(|path| path.map(PathBuf::into_os_string));
        assert_eq!((paths.id(), text(told)), (&*spec.id, text(whole)));
        let names = [Some(&spec.serial), spec.api.as_ref(), Some(&spec.log.path)];
        let names = names.map(|path| path.and_then(|path| path.file_name()).unwrap_or_default());
        assert_eq!(paths.names(), names);
    }

    #[test]
    fn an_instance_is_its_directory_and_three_bytes() {
        let dir = "/var/lib/hypeman/guests/k3v9x0q2m7t1c5z800000001";
        let spec = VmSpec::instance("k3v9x0q2m7t1c5z800000001", dir);
        assert_told_again(&spec);
        assert_eq!(VmPaths::of(&spec).0.len(), dir.len() + 3);
        assert_eq!(VmPaths::of_log(&spec.log.path).log(), spec.log.path);
        assert_eq!(VmPaths::of_log(&spec.log.path).log_name(), "app.log");
    }

    #[test]
    fn paths_that_have_nothing_in_common_are_told_again_too() {
        assert_told_again(&spec("a", "/run/a.sock", None, "/var/log/a.log"));
        assert_told_again(&spec("a", "a.sock", Some("b.sock"), "logs/app.log"));
        assert_told_again(&spec("a", "serial.sock", Some(""), "/x"));
        assert_told_again(&spec("b", "/a/b/", Some("/a/b/ch.sock"), "/a/b/c"));
        assert_told_again(&spec("b", "/a/b//serial.sock", Some("/a/b/ch.sock"), "/a/b/../c"));
        let long = format!("/{}/x", "l".repeat(70_000));
        assert_told_again(&spec("x", &long, Some(&long), &long));
    }

    proptest! {
        #[test]
        fn any_paths_are_told_again(
            id in "[a-c]{0,3}",
            paths in proptest::array::uniform3(
                "(/|[a-c./]{0,12}(serial.sock|ch.sock|logs/app.log)?)"
            ),
            has_api: bool,
        ) {
            let [serial, api, log] = &paths;
            assert_told_again(&spec(&id, serial, has_api.then_some(api), log));
        }
    }
}
