//! The one way in which a file beside a log is opened: ours alone, or not at all.
//!
//! Owns what makes a file ours. Whoever owns the directory may put anything at any name.
//! **Invariant:** what is refused was not changed, not read, and, but for a race, not even opened.

use super::Log;
use super::error::{Cause, LogError, Step};
use crate::config::LogSpec;
use crate::env::{Files, Open, Stat};
use std::io;
use std::path::Path;

/// Whose the files of a log are, and who else may read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rights {
    /// Its owner.
    pub uid: u32,
    /// Its group, if that is to be set.
    pub gid: Option<u32>,
    /// Its permission bits.
    pub mode: u32,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To append; it is made if there is none.
    Append,
    /// To be written from its beginning: there must be none yet.
    Make,
    /// The same, by appending alone.
    MakeToAppend,
    /// To be cut.
    Change,
    /// To be read.
    Read,
}

impl Rights {
    /// What a log is to have.
    pub(crate) fn of<F: Files>(env: &mut F, spec: &LogSpec) -> Result<Rights, LogError> {
        let fail = |step, cause| LogError { path: spec.path.clone(), step, cause };
        let uid = match &spec.owner {
            None => env.own_user(),
            Some(name) => match env.user_id(name) {
                Ok(Some(uid)) => uid,
                Ok(None) => return Err(fail(Step::SetOwner, Cause::NoUser(name.clone()))),
                Err(error) => return Err(fail(Step::SetOwner, Cause::Io(error))),
            },
        };
        let gid = match &spec.group {
            None => None,
            Some(name) => match env.group_id(name) {
                Ok(Some(gid)) => Some(gid),
                Ok(None) => return Err(fail(Step::SetGroup, Cause::NoGroup(name.clone()))),
                Err(error) => return Err(fail(Step::SetGroup, Cause::Io(error))),
            },
        };
        Ok(Rights { uid, gid, mode: spec.file_mode })
    }

    /// Why a file is not ours: the one check, of what a name or a descriptor stands for.
    pub(crate) fn check(&self, stat: &Stat) -> Result<(), Cause> {
        match stat {
            Stat { link: true, .. } => Err(Cause::Link),
            Stat { regular: false, .. } => Err(Cause::NotRegular),
            Stat { links: 0, .. } => Err(Cause::Io(io::ErrorKind::NotFound.into())),
            Stat { links: 2.., .. } => Err(Cause::Linked),
            Stat { uid, .. } if *uid != self.uid => {
                Err(Cause::Owner { is: *uid, wanted: self.uid })
            }
            _ => Ok(()),
        }
    }

    /// Gives mode and group to a file that was checked.
    pub(crate) fn set<F: Files>(&self, env: &mut F, file: &F::File) -> Result<(), (Step, Cause)> {
        env.set_mode(file, self.mode).map_err(|error| (Step::SetMode, Cause::Io(error)))?;
        match self.gid.map(|gid| env.set_group(file, gid)) {
            Some(Err(error)) => Err((Step::SetGroup, Cause::Io(error))),
            _ => Ok(()),
        }
    }
}

/// Opens the file `name` beside the log `log`, if it is ours. One that is made gets its rights.
pub(crate) fn open_ours<F: Files>(
    env: &mut F,
    dir: &F::Dir,
    log: &Path,
    name: &str,
    purpose: Purpose,
    rights: &Rights,
) -> Result<(F::File, Stat), LogError> {
    let fail = |(step, cause)| LogError { path: log.with_file_name(name), step, cause };
    open_or_make(env, dir, name, purpose, rights).map_err(fail)
}

fn open_or_make<F: Files>(
    env: &mut F,
    dir: &F::Dir,
    name: &str,
    purpose: Purpose,
    rights: &Rights,
) -> Result<(F::File, Stat), (Step, Cause)> {
    let how = match purpose {
        Purpose::Append => Open::Append,
        Purpose::Make => return make(env, dir, name, Open::New(rights.mode), rights),
        Purpose::MakeToAppend => {
            return make(env, dir, name, Open::NewToAppend(rights.mode), rights);
        }
        Purpose::Change => Open::Existing,
        Purpose::Read => Open::Read,
    };
    let is_there = look(env, dir, name, purpose, rights)?;
    if purpose == Purpose::Append && !is_there {
        match make(env, dir, name, Open::NewToAppend(rights.mode), rights) {
            // Somebody was faster, a logrotate perhaps: what he made is looked at.
            Err((_, Cause::Io(error))) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
    let file = env.open(dir, name, how).map_err(|error| (Step::Open, Cause::Io(error)))?;
    let stat = env.stat(&file).map_err(|error| (Step::Examine, Cause::Io(error)))?;
    rights.check(&stat).map_err(|cause| (Step::Open, cause))?;
    Ok((file, stat))
}

/// Looks before the open, as the open alone may do something to a device. `false`: nothing is
/// there.
fn look<F: Files>(
    env: &mut F,
    dir: &F::Dir,
    name: &str,
    purpose: Purpose,
    rights: &Rights,
) -> Result<bool, (Step, Cause)> {
    let stat = stat_if_there(env, dir, name).map_err(|error| (Step::Examine, Cause::Io(error)))?;
    let Some(stat) = stat else { return Ok(false) };
    match rights.check(&stat) {
        Ok(()) => Ok(true),
        // We made it and crashed before we gave it away: it is made anew, not given away, as
        // somebody may have moved another empty file of ours here.
        Err(Cause::Owner { is, .. })
            if purpose == Purpose::Append && stat.size == 0 && is == env.own_user() =>
        {
            let removed = env.unlink(dir, name);
            removed.map(|()| false).map_err(|error| (Step::Remove, Cause::Io(error)))
        }
        Err(cause) => Err((Step::Open, cause)),
    }
}

fn make<F: Files>(
    env: &mut F,
    dir: &F::Dir,
    name: &str,
    how: Open,
    rights: &Rights,
) -> Result<(F::File, Stat), (Step, Cause)> {
    let file = env.open(dir, name, how).map_err(|error| (Step::Create, Cause::Io(error)))?;
    let stat = env.stat(&file).map_err(|error| (Step::Examine, Cause::Io(error)))?;
    if stat.uid != rights.uid {
        env.set_owner(&file, rights.uid).map_err(|error| {
            let not_root = error.kind() == io::ErrorKind::PermissionDenied;
            (Step::SetOwner, if not_root { Cause::NotRoot } else { Cause::Io(error) })
        })?;
    }
    rights.set(env, &file)?;
    Ok((file, Stat { uid: rights.uid, ..stat }))
}

/// What a name stands for; `None`: it is free.
pub(super) fn stat_if_there<F: Files>(
    env: &mut F,
    dir: &F::Dir,
    name: &str,
) -> io::Result<Option<Stat>> {
    match env.stat_at(dir, name) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads `len` bytes from `position` on, or as many as there are up to the file's end.
pub(super) fn read_from<F: Files>(
    env: &mut F,
    file: &F::File,
    position: u64,
    len: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match env.read_at(file, position + done as u64, &mut bytes[done..])? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Writes all of `bytes`, or as many as it says.
pub(super) fn write_all<F: Files>(
    env: &mut F,
    file: &F::File,
    bytes: &[u8],
) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < bytes.len() {
        match env.write_beside(file, &bytes[done..]) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

impl<F: Files> Log<F> {
    /// Opens a file beside the log, if it is ours.
    pub(super) fn open_beside(
        &self,
        env: &mut F,
        name: &str,
        purpose: Purpose,
    ) -> Result<(F::File, Stat), LogError> {
        open_ours(env, &self.dir, &self.path(), name, purpose, &self.terms.rights)
    }

    /// Whether the name still stands for the file: whoever owns the directory may have swapped it.
    pub(super) fn is_still(&self, env: &mut F, name: &str, file: &F::File) -> bool {
        let (named, open) = (env.stat_at(&self.dir, name), env.stat(file));
        named.is_ok_and(|named| open.is_ok_and(|open| open.id == named.id))
    }

    /// Brings the oldest file out of the way, to be dropped step by step. Where the name for that
    /// is taken by a directory that is not empty it is removed at once.
    pub(super) fn put_away(&mut self, env: &mut F, name: &str) -> Result<(), LogError> {
        let dropped = self.names().dropped();
        match self.rename(env, name, &dropped) {
            Ok(()) => self.begin_drop(),
            Err(error) => {
                let in_the_way = env.stat_at(&self.dir, &dropped).is_ok_and(|stat| !stat.regular);
                if !in_the_way {
                    return Err(error);
                }
                self.remove(env, name)?;
            }
        }
        Ok(())
    }
}
