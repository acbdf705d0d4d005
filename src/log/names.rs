//! The names of a log, its backups and what a rotation leaves in between.
//!
//! Owns the patterns.
//! **Invariant:** a name is recognised only if this file would have written it: `.01` is no backup.

use crate::config::is_valid_suffix;

/// Suffixes that a backup may have though no command is configured that gives it: an earlier one
/// did, or somebody by hand.
pub(super) const SUFFIXES: [&str; 5] = [".gz", ".zst", ".xz", ".bz2", ".lz4"];

/// What follows a log's name, for what is no backup. The first is made by a rotation, and so on;
/// `.new` is what replaces the file of the name before it.
const OTHERS: [&str; 8] =
    [".dropped", ".copying", ".copied", ".packing", ".events", ".events.new", ".boot", ".boot.new"];

/// The names beside one log, all made from the log's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'l> {
    /// The log's file name.
    pub log: &'l str,
}

impl Names<'_> {
    /// What a complete log is renamed to, if so many backups are kept.
    pub fn aside(&self, keep: u32) -> String {
        if keep == 0 { self.dropped() } else { self.backup(1) }
    }

    /// Backup number `k`: 1 is the newest.
    pub fn backup(&self, k: u32) -> String {
        format!("{}.{k}", self.log)
    }

    /// The same with a suffix, which may be empty.
    pub fn packed(&self, k: u32, suffix: &str) -> String {
        format!("{}.{k}{suffix}", self.log)
    }

    /// The oldest backup on its way out, shrunk step by step.
    pub fn dropped(&self) -> String {
        format!("{}.dropped", self.log)
    }

    /// A copy under way: the log still has every byte of it.
    pub fn copying(&self) -> String {
        format!("{}.copying", self.log)
    }

    /// A complete copy: whether the log still has its bytes is for its reader to find out.
    pub fn copied(&self) -> String {
        format!("{}.copied", self.log)
    }

    /// The beginnings of the last boots.
    pub fn boot(&self) -> String {
        format!("{}.boot", self.log)
    }

    /// The same on its way there.
    pub fn boot_new(&self) -> String {
        format!("{}.boot.new", self.log)
    }

    /// What a command makes of a backup, while it does: the backup still is there.
    pub fn packing(&self) -> String {
        format!("{}.packing", self.log)
    }

    /// What happened to the log, and where.
    pub fn events(&self) -> String {
        format!("{}.events", self.log)
    }

    /// The same, while it is written anew.
    pub fn events_new(&self) -> String {
        format!("{}.events.new", self.log)
    }

    /// The number of a backup's name, and its suffix: none, or any that is valid.
    pub fn backup_number<'n>(&self, name: &'n str) -> Option<(u32, &'n str)> {
        let rest = name.strip_prefix(self.log)?.strip_prefix('.')?;
        let (digits, suffix) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        let number: u32 = digits.parse().ok()?;
        let ours = number > 0 && self.packed(number, suffix) == name;
        (ours && (suffix.is_empty() || is_valid_suffix(suffix))).then_some((number, suffix))
    }
}

/// The log whose rotation may make, replace or remove this file name: `app.log` for `app.log.1` and
/// `app.log.1.zst`. `None`: no log's.
pub fn log_beside(name: &str) -> Option<&str> {
    let by_other = OTHERS.iter().find_map(|other| name.strip_suffix(other));
    let log = by_other.or_else(|| {
        let is_beside = |log: &&str| Names { log }.backup_number(name).is_some();
        // `.1`, or `.1` and one suffix.
        let (last, _) = name.rsplit_once('.')?;
        let before = last.rsplit_once('.').map(|(log, _)| log);
        [Some(last), before].into_iter().flatten().find(is_beside)
    });
    log.filter(|log| !log.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_a_rotation_makes_belongs_to_its_log() {
        for suffix in [
            ".1",
            ".12",
            ".1.zst",
            ".12.gz",
            ".1000.a1b2c3d4",
            ".dropped",
            ".copying",
            ".copied",
            ".packing",
            ".events",
            ".events.new",
            ".boot",
            ".boot.new",
        ] {
            let name = format!("app.log{suffix}");
            assert_eq!(log_beside(&name), Some("app.log"), "{name}");
        }
        for name in [
            "app.log",
            "app",
            "",
            ".1",
            ".1.zst",
            ".events",
            "app.log.0",
            "app.log.0.zst",
            "app.log.01.zst",
            "app.log.1.",
            "app.log.1.zst.gz",
            "app.log.new",
            "copied",
        ] {
            assert_eq!(log_beside(name), None, "{name}");
        }
    }

    #[test]
    fn a_backup_is_recognised_only_as_we_would_name_it() {
        let names = Names { log: "app.log" };
        assert_eq!(names.backup_number("app.log.1"), Some((1, "")));
        assert_eq!(names.backup_number("app.log.1000"), Some((1000, "")));
        assert_eq!(names.backup_number("app.log.1.zst"), Some((1, ".zst")));
        assert_eq!(names.backup_number("app.log.30.7z"), Some((30, ".7z")));
        for other in [
            "app.log",
            "app.log.",
            "app.log.0",
            "app.log.01",
            "app.log.+1",
            "app.log.-1",
            "app.log.1.",
            "app.log.01.zst",
            "app.log.1.2",
            "app.log.1.z-t",
            "app.log.1.zst.gz",
            "app.log.1.ninechars",
            "app.log.1 ",
            "xapp.log.1",
            "app.log.99999999999",
            "app.log.dropped",
        ] {
            assert_eq!(names.backup_number(other), None, "{other}");
        }
    }

    proptest! {
        /// A name is a backup's if and only if we would give it to that backup.
        #[test]
        fn any_name_is_recognised_as_we_would_give_it_or_not_at_all(
            log in "[a.1\u{e9}]{1,6}",
            name in fuzz::damaged_text(&["app.log.12", "app.log.1.zst", "a.events.new", ".1.2.3"]),
            number in 1..=u32::MAX,
            sign in proptest::sample::select(vec!["", "0", "+", "-", " "]),
            suffix in "(\\.[a-z0-9]{0,9})?",
        ) {
            let names = Names { log: "app.log" };
            if let Some((number, suffix)) = names.backup_number(&name) {
                prop_assert_eq!(names.packed(number, suffix), name.clone());
                prop_assert!(number > 0 && (suffix.is_empty() || is_valid_suffix(suffix)));
            }
            let other = format!("app.log.{sign}{number}{suffix}");
            if let Some((number, suffix)) = names.backup_number(&other) {
                prop_assert_eq!(names.packed(number, suffix), other.clone());
            }
            if let Some(log) = log_beside(&name) {
                prop_assert!(!log.is_empty() && name.starts_with(log) && name.len() > log.len());
            }
            let names = Names { log: &log };
            let given = names.packed(number, &suffix);
            let is_ours = suffix.is_empty() || is_valid_suffix(&suffix);
            let told = names.backup_number(&given);
            prop_assert_eq!(told, is_ours.then_some((number, &*suffix)));
        }
    }

    #[test]
    fn no_name_is_longer_than_a_file_system_takes() {
        let log = "x".repeat(crate::limits::LOG_NAME_MAX);
        let names = Names { log: &log };
        let longest = names.packed(crate::limits::KEEP_MAX, ".12345678");
        assert!(longest.len() <= 255);
        assert!(OTHERS.iter().all(|other| names.log.len() + other.len() <= 255));
    }
}
