//! Directories that match a pattern, as they come and go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use seriald::reactor::Directory;
use seriald::{Config, DirPattern, Reactor};

use super::noting::{Noting, Pauses, noted_loop};
use super::support::wait::{PATIENCE, wait_until};
use super::watching::flood;

/// A loop, and the directories that it has told of.
struct Watcher {
    reactor: Reactor<Noting>,
    pauses: Rc<RefCell<Pauses>>,
    there: BTreeSet<PathBuf>,
}

impl Watcher {
    fn new() -> Self {
        let (reactor, pauses) = noted_loop(Config::default());
        Watcher { reactor, pauses, there: BTreeSet::new() }
    }

    fn watch(&mut self, pattern: &Path) {
        let pattern = DirPattern::parse(pattern.to_str().expect("UTF-8")).expect("a pattern");
        self.reactor.watch_pattern(pattern);
        self.take();
    }

    /// Takes what was told: nothing appears twice, and nothing goes that was not there.
    fn take(&mut self) {
        while let Some(directory) = self.reactor.next_directory() {
            match directory {
                Directory::Appeared(path) => assert!(self.there.insert(path.clone()), "{path:?}"),
                Directory::Gone(path) => assert!(self.there.remove(&path), "{path:?}"),
            }
        }
    }

    /// Turns until exactly these are there.
    #[track_caller]
    fn turn_until(&mut self, paths: &[&Path]) {
        let expected: BTreeSet<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        wait_until(PATIENCE, &format!("{expected:?}"), || {
            self.reactor.turn(Some(Duration::from_millis(5))).expect("a turn");
            self.take();
            self.there == expected
        });
    }
}

fn made(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).expect("made");
    path
}

#[test]
fn directories_are_found_at_once_and_told_as_they_come_and_go_without_a_timer() {
    let dir = tempfile::tempdir().expect("a directory");
    let top = dir.path();
    let a = made(top.join("a"));
    made(top.join(".hidden"));
    fs::write(top.join("file"), "").expect("a file");
    symlink(&a, top.join("link")).expect("a link");
    let mut watcher = Watcher::new();
    watcher.watch(&top.join("*"));
    assert_eq!(watcher.there, BTreeSet::from([a.clone()]), "before any turn");

    let b = made(top.join("b"));
    fs::write(top.join("file2"), "").expect("a file");
    symlink(&a, top.join("link2")).expect("a link");
    made(top.join(".hidden2"));
    watcher.turn_until(&[&a, &b]);
    let c = top.join("c");
    fs::rename(&b, &c).expect("moved");
    watcher.turn_until(&[&a, &c]);
    fs::remove_dir(&a).expect("removed");
    watcher.turn_until(&[&c]);
    fs::rename(top.join(".hidden"), &a).expect("moved");
    watcher.turn_until(&[&a, &c]);
    assert_eq!(watcher.reactor.next_wake(), None);
}

#[test]
fn a_directory_that_is_made_again_between_two_turns_has_gone_and_come() {
    let dir = tempfile::tempdir().expect("a directory");
    let a = made(dir.path().join("a"));
    let mut watcher = Watcher::new();
    watcher.watch(&dir.path().join("*"));
    fs::remove_dir(&a).expect("removed");
    fs::create_dir(&a).expect("made again");
    watcher.reactor.turn(None).expect("a turn that is woken");
    assert_eq!(watcher.reactor.next_directory(), Some(Directory::Gone(a.clone())));
    assert_eq!(watcher.reactor.next_directory(), Some(Directory::Appeared(a)));
}

#[test]
fn wildcards_at_any_level_and_a_way_that_is_not_there_yet() {
    let dir = tempfile::tempdir().expect("a directory");
    let top = dir.path();
    let mut watcher = Watcher::new();
    watcher.watch(&top.join("later/*/vms/vm-?"));
    let found = made(top.join("later/x/vms/vm-1"));
    made(top.join("later/x/vms/vm-10"));
    made(top.join("later/x/other/vm-2"));
    watcher.turn_until(&[&found]);
    let second = made(top.join("later/y/vms/vm-2"));
    watcher.turn_until(&[&found, &second]);
    fs::rename(top.join("later/x"), top.join("later/z")).expect("moved");
    watcher.turn_until(&[&top.join("later/z/vms/vm-1"), &second]);
    fs::remove_dir_all(top.join("later")).expect("removed");
    watcher.turn_until(&[]);
    let again = made(top.join("later/x/vms/vm-3"));
    watcher.turn_until(&[&again]);
}

#[test]
fn a_pattern_that_is_watched_no_more_lets_go_of_all_it_has_found_and_watched() {
    let dir = tempfile::tempdir().expect("a directory");
    let a = made(dir.path().join("a"));
    let mut watcher = Watcher::new();
    let pattern = dir.path().join("*");
    watcher.watch(&pattern);
    watcher.watch(&pattern);
    watcher.turn_until(&[&a]);
    let pattern = DirPattern::parse(pattern.to_str().expect("UTF-8")).expect("a pattern");
    watcher.reactor.unwatch_pattern(&pattern);
    watcher.turn_until(&[]);
    assert!(watcher.pauses.borrow().watches.is_empty());
    made(dir.path().join("b"));
    watcher.reactor.turn(Some(Duration::from_millis(20))).expect("a turn");
    assert_eq!(watcher.reactor.next_directory(), None);
}

#[test]
fn what_an_overflow_hides_is_found_by_a_scan() {
    let dir = tempfile::tempdir().expect("a directory");
    let top = dir.path();
    let (a, b) = (made(top.join("a")), top.join("b"));
    let mut watcher = Watcher::new();
    watcher.watch(&top.join("*"));
    flood(top);
    fs::remove_dir(&a).expect("removed");
    fs::create_dir(&b).expect("made");
    watcher.turn_until(&[&b]);
    fs::create_dir(&a).expect("made");
    watcher.turn_until(&[&a, &b]);
}

#[test]
fn below_a_directory_that_may_not_be_read_a_timer_runs_only_while_the_next_one_is_absent() {
    let dir = tempfile::tempdir().expect("a directory");
    let top = dir.path();
    let a = made(top.join("vms/a"));
    let mut watcher = Watcher::new();
    watcher.pauses.borrow_mut().unreadable = Some(top.to_owned());
    watcher.watch(&top.join("vms/*"));
    watcher.turn_until(&[&a]);
    assert_eq!(watcher.reactor.next_wake(), None);
    fs::remove_dir_all(top.join("vms")).expect("removed");
    watcher.turn_until(&[]);
    watcher.reactor.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(watcher.reactor.next_wake().is_some());
    let b = made(top.join("vms/b"));
    watcher.turn_until(&[&b]);
    assert_eq!(watcher.reactor.next_wake(), None);
}

#[test]
fn where_no_directory_can_be_watched_a_pattern_is_scanned_by_a_timer() {
    let dir = tempfile::tempdir().expect("a directory");
    let a = made(dir.path().join("a"));
    let mut watcher = Watcher::new();
    watcher.pauses.borrow_mut().watches_are_used_up = true;
    watcher.watch(&dir.path().join("*"));
    assert!(watcher.reactor.next_wake().is_some_and(|at| at <= seriald::limits::RESCAN_INTERVAL));
    watcher.turn_until(&[&a]);
    let b = made(dir.path().join("b"));
    watcher.turn_until(&[&a, &b]);
    fs::remove_dir(&a).expect("removed");
    watcher.turn_until(&[&b]);
}
