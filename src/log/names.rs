//! The names of a log, its backups and what a rotation leaves in between.
//!
//! Owns the patterns.
//! **Invariant:** a name is recognised only if this file would have written it: `.01` is no backup.

/// The names beside one log, all made from the log's own.
#[derive(Debug)]
pub(super) struct Names {
    /// The log's file name.
    pub log: String,
}

impl Names {
    /// Backup number `k`: 1 is the newest.
    pub fn backup(&self, k: u32) -> String {
        format!("{}.{k}", self.log)
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

    /// What happened to the log, and where.
    pub fn events(&self) -> String {
        format!("{}.events", self.log)
    }

    /// The same, while it is written anew.
    pub fn events_new(&self) -> String {
        format!("{}.events.new", self.log)
    }

    /// The number of a backup's name.
    pub fn backup_number(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(&self.log)?.strip_prefix('.')?;
        let number: u32 = digits.parse().ok()?;
        (number > 0 && self.backup(number) == name).then_some(number)
    }
}

/// The log whose rotation may make, replace or remove this file name: `app.log` for `app.log.1`.
/// `None`: no log's.
pub fn log_beside(name: &str) -> Option<&str> {
    let (log, suffix) = name.rsplit_once('.')?;
    let names = Names { log: log.to_string() };
    let others = [names.dropped(), names.copying(), names.copied()];
    let ours = names.backup_number(name).is_some() || others.iter().any(|other| other == name);
    (ours && !suffix.is_empty() && !log.is_empty()).then_some(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_rotation_makes_belongs_to_its_log() {
        for name in ["app.log.1", "app.log.12", "app.log.dropped", "app.log.copying"] {
            assert_eq!(log_beside(name), Some("app.log"), "{name}");
        }
        for name in ["app.log", "app", ".1", "app.log.0", "app.log.1.zst", "copied"] {
            assert_eq!(log_beside(name), None, "{name}");
        }
    }

    #[test]
    fn a_backup_is_recognised_only_as_we_would_name_it() {
        let names = Names { log: "app.log".into() };
        assert_eq!(names.backup_number("app.log.1"), Some(1));
        assert_eq!(names.backup_number("app.log.1000"), Some(1000));
        for other in [
            "app.log",
            "app.log.",
            "app.log.0",
            "app.log.01",
            "app.log.+1",
            "app.log.-1",
            "app.log.1.zst",
            "app.log.1 ",
            "xapp.log.1",
            "app.log.99999999999",
            "app.log.dropped",
        ] {
            assert_eq!(names.backup_number(other), None, "{other}");
        }
    }
}
