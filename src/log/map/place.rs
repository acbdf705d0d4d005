//! Which file is which generation.
//!
//! Owns the rules. Inodes decide; numbers only where a record is missing, because outsiders shift
//! backups too, and an inode is given anew once its file is gone.
//! **Invariant:** pure; a file is at most one generation's.

use super::{Absent, Generation, Place};

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stood {
    /// Its inode.
    pub inode: u64,
    /// Its size.
    pub size: u64,
}

/// A backup, or what a command made of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its number; 0: the copy of a log that was truncated, and that is to become number 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// A command made it.
    pub packed: bool,
    /// The file.
    pub file: Stood,
}

/// The newest backup, by the records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest {
    /// Its inode, if there was one.
    pub inode: Option<u64>,
    /// Whether the records would tell of a newer one, but for the last rotation.
    pub is_certain: bool,
}

/// What was found beside a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The log's name.
    pub name: String,
    /// The log, where it is there.
    pub log: Option<Stood>,
    /// The backups, by their numbers, the lowest first.
    pub backups: Vec<Backup>,
}

/// Finds the files of generations. Adds those whose record is missing.
pub(super) fn place(
    mut complete: Vec<Generation>,
    current: Generation,
    newest: Newest,
    found: &Found,
) -> Vec<Generation> {
    let mut free = match_plain(&mut complete, &current, &found.backups);
    match_packed(&mut complete, &mut free, found);
    let newer = newer_than_recorded(&complete, &current, newest, &free, found);
    let goes_on = goes_on_at(&current, newest, &newer, found);
    let mut last = current;
    for backup in goes_on.map_or(&[][..], |at| &newer[at..]) {
        last.inode = Some(backup.file.inode);
        last.spans.write(backup.file.size.saturating_sub(last.spans.size()));
        last.place = Some(plain(backup));
        let next = Generation::begin(last.number + 1, last.spans.end(), None);
        complete.push(std::mem::replace(&mut last, next));
    }
    complete.extend(place_log(last, found));
    follow_packed(&mut complete, &free, found);
    complete
}

/// The generation that is still written to; the one before it too, where that was moved away and
/// no record says so yet.
fn place_log(mut last: Generation, found: &Found) -> Vec<Generation> {
    let Some(log) = found.log else { return vec![last] };
    let mut all = Vec::new();
    if last.inode.is_some_and(|inode| inode != log.inode) {
        let next = Generation::begin(last.number + 1, last.spans.end(), None);
        all.push(std::mem::replace(&mut last, next));
    }
    match log.size.checked_sub(last.spans.size()) {
        Some(more) => last.spans.write(more),
        None => last.spans.begin_anew(log.size),
    }
    last.inode = Some(log.inode);
    last.place = Some(Place::Plain { name: found.name.clone(), inode: log.inode });
    all.push(last);
    all
}

fn plain(backup: &Backup) -> Place {
    Place::Plain { name: backup.name.clone(), inode: backup.file.inode }
}

fn packed(backup: &Backup) -> Place {
    Place::Packed { name: backup.name.clone(), inode: backup.file.inode }
}

impl Generation {
    /// Whether it may be this file, which must have its size too: an inode is given anew. How one
    /// ended whose record is missing is not known.
    fn may_be(&self, file: Stood) -> bool {
        let size = self.spans.size();
        let fits = file.size == size || (self.gone == Absent::Unknown && file.size > size);
        // Its plain file went when a command had made another of it.
        self.inode == Some(file.inode) && fits && self.packed.is_none()
    }
}

/// Gives each generation its plain file. Returns the backups that are nobody's.
fn match_plain<'a>(
    complete: &mut [Generation],
    current: &Generation,
    backups: &'a [Backup],
) -> Vec<&'a Backup> {
    let mut pairs: Vec<(usize, &Backup)> = Vec::new();
    let mut free = Vec::new();
    for backup in backups {
        let is_free = |at: &usize| pairs.iter().all(|(taken, _)| taken != at);
        let is_it = |at: &usize| complete[*at].may_be(backup.file) && is_free(at);
        let best = (0..complete.len()).rev().find(is_it);
        // Whatever had the log's inode before is gone.
        let is_current = current.inode == Some(backup.file.inode);
        match best.filter(|_| !backup.packed && !is_current) {
            Some(at) => pairs.push((at, backup)),
            None => free.push(backup),
        }
    }
    // The newest backup can't be older than the others: its inode was another's before.
    let reused = |(at, backup): (usize, &Backup)| {
        let is_behind = |(other, one): &(usize, &Backup)| *other > at && one.number > backup.number;
        backup.number <= 1 && pairs.iter().any(is_behind)
    };
    for (at, backup) in pairs.iter().copied() {
        if reused((at, backup)) {
            free.insert(0, backup);
            continue;
        }
        complete[at].place = Some(plain(backup));
    }
    free
}

/// Gives each generation that has none the file that a command made of it. One that is newer than
/// an older backup by its number has an inode that was another's before.
fn match_packed(complete: &mut [Generation], free: &mut Vec<&Backup>, found: &Found) {
    // From the oldest on.
    free.reverse();
    free.retain(|backup| {
        let same = |one: &Generation| one.place.is_none() && one.packed == Some(backup.file);
        let best = complete.iter().rposition(same).filter(|_| backup.packed);
        let is_behind = |one: &Generation| number_of(one, found) > Some(backup.number);
        let is_first = |at: &usize| !complete[at + 1..].iter().any(is_behind);
        let at = best.filter(is_first);
        at.map(|at| complete[at].place = Some(packed(backup))).is_none()
    });
    free.reverse();
}

/// The same by its number, where no record of that is there yet: it follows a generation that was
/// found. `all`: the log too.
fn follow_packed(all: &mut [Generation], free: &[&Backup], found: &Found) {
    for backup in free.iter().filter(|backup| backup.packed) {
        let Some(newer) = backup.number.checked_sub(1) else { continue };
        let next = all.iter().position(|one| number_of(one, found) == Some(newer));
        // Newer than number 1 is the log, unless a copy is on its way.
        let is_log = newer == 0 && found.backups.iter().all(|one| one.number > 0);
        let next = next.or(all.len().checked_sub(1).filter(|_| is_log));
        let Some(at) = next.and_then(|next| next.checked_sub(1)) else { continue };
        // One that was moved away may be no backup at all.
        if all[at].place.is_none() && all[at].gone == Absent::Removed {
            all[at].place = Some(packed(backup));
        }
    }
}

/// The number of the backup that a generation was found to be.
fn number_of(generation: &Generation, found: &Found) -> Option<u32> {
    let (Place::Plain { name: own, .. } | Place::Packed { name: own, .. }) =
        generation.place.as_ref()?;
    found.backups.iter().find(|backup| backup.name == *own).map(|backup| backup.number)
}

/// The backups that are newer than all that is recorded, the oldest of them first.
fn newer_than_recorded<'a>(
    complete: &[Generation],
    current: &Generation,
    newest: Newest,
    free: &[&'a Backup],
    found: &Found,
) -> Vec<&'a Backup> {
    let number = complete.last().and_then(|newest| number_of(newest, found));
    // Where the newest recorded one is gone, so is what is older, but for what was the log since.
    let own = free.iter().find(|backup| current.inode == Some(backup.file.inode));
    let border = number.unwrap_or(own.map_or(2, |own| own.number + 1));
    let mut newer: Vec<&Backup> = Vec::new();
    for backup in free.iter().filter(|backup| !backup.packed && backup.number < border) {
        let follows = newer.last().is_none_or(|last| backup.number == last.number + 1);
        if Some(backup.file.inode) == newest.inode
            || !follows
            || (newer.is_empty() && backup.number > 1)
        {
            break;
        }
        newer.push(backup);
    }
    newer.reverse();
    newer
}

/// Which of the `newer` backups the current generation has become, if it is no longer the log.
fn goes_on_at(
    current: &Generation,
    newest: Newest,
    newer: &[&Backup],
    found: &Found,
) -> Option<usize> {
    // One that has less than was recorded is another file, or was cut: nobody knows where.
    let own = |backup: &&Backup| {
        current.inode == Some(backup.file.inode) && backup.file.size >= current.spans.size()
    };
    if let Some(at) = newer.iter().position(own) {
        return Some(at);
    }
    let (first, last) = (newer.first()?, newer.last()?);
    let was_copied = match (current.inode, found.log) {
        // Somebody moved it, but not to be a backup.
        (Some(inode), Some(log)) if log.inode != inode => false,
        // The log is the same file, whatever was copied: it is known by its size, and the copy
        // by being new.
        (Some(_), Some(log)) => {
            let is_new = newest.is_certain || last.number == 0;
            log.size < last.file.size && (is_new || log.size < current.spans.size())
        }
        _ => true,
    };
    // Whoever cut the log may have made a copy that is not ours.
    let is_whole = first.file.size >= current.spans.size();
    (was_copied && is_whole && !current.spans.was_cut()).then_some(0)
}

/// Without records: the backups up to the first that was packed, and the log, the oldest at 0.
pub(super) fn place_unrecorded(found: &Found) -> Vec<Generation> {
    let plain_ones = found.backups.iter().take_while(|backup| !backup.packed);
    let mut files: Vec<(String, Stood)> =
        plain_ones.map(|backup| (backup.name.clone(), backup.file)).collect();
    files.reverse();
    files.extend(found.log.map(|log| (found.name.clone(), log)));
    let mut all: Vec<Generation> = Vec::new();
    for (number, (name, file)) in (1..).zip(files) {
        let start = all.last().map_or(0, |last| last.spans.end());
        let mut one = Generation::begin(number, start, Some(file.inode));
        one.spans.write(file.size);
        one.place = Some(Place::Plain { name, inode: file.inode });
        all.push(one);
    }
    all
}
