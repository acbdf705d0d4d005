//! Calls that fail while the collector starts, over logs that a predecessor has left: each kind of
//! call, at points from the first one that is ours to the last console that is connected.
//!
//! **Invariant:** a start that can't be says why, once, and touches nothing; any other serves every
//! VM that it has not complained of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::scene::{FOR_EVER, MORE, SERIALD, Scene, offset_of};
use super::streaming::with_each;
use super::support::process::{child_of, signal};
use super::support::strace::Tracer;
use super::support::wait::{PATIENCE, wait_for, wait_until};

/// At so many points, about, a kind of call fails.
const POINTS: usize = 6;

/// Counts of calls: those before the first that is ours, and those up to the last console.
type Counts = BTreeMap<String, (usize, usize)>;

/// Runs a start in which nothing fails, and counts its calls.
fn count_calls(scene: &mut Scene, strace: &Path) -> Counts {
    let words = ["-s", "200", "-e", "trace=all"].map(str::to_owned);
    let mut tracer = start(scene, strace, "counting", &words);
    let connected = |tracer: &Tracer| tracer.process.output().matches(": connected").count();
    wait_until(PATIENCE, "all consoles", || connected(&tracer) == scene.fleet.homes.len());
    let child = child_of(tracer.process.id()).expect("the collector");
    signal(child, "TERM");
    assert_eq!(tracer.process.wait_for_exit().code(), Some(0));
    let calls = tracer.calls();
    let lines: Vec<&str> = calls.lines().collect();
    // The loader and the runtime have theirs before.
    let first = lines.iter().position(|line| line.contains("seriald.json\", O_")).expect("ours");
    let last = lines.iter().rposition(|line| line.contains(": connected")).expect("a console");
    let mut counts = Counts::new();
    for (at, line) in lines.iter().enumerate().take(last + 1) {
        let Some((call, _)) = line.split_once('(') else { continue };
        let count = counts.entry(call.to_owned()).or_default();
        count.0 += usize::from(at < first);
        count.1 += 1;
    }
    counts
}

fn start(scene: &Scene, strace: &Path, name: &str, words: &[String]) -> Tracer {
    let file = scene.file.display().to_string();
    let command = [SERIALD, "run", "--config", &file].map(str::to_owned);
    Tracer::run(strace, scene.dir.path(), name, &[words, &command].concat())
}

/// One start with one call that fails.
fn start_with(scene: &mut Scene, strace: &Path, call: &str, error: &str, at: usize) {
    let what = format!("{call} number {at} says {error}");
    let inject = format!("inject={call}:error={error}:when={at}");
    let words = ["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject];
    let before = scene.offsets();
    let mut tracer = start(scene, strace, &format!("{call}-{at}"), &words);
    let homes = &scene.fleet.homes;
    let ended = wait_for(PATIENCE, &what, || {
        if !tracer.process.is_running() {
            return Some(true);
        }
        let said = tracer.process.output();
        let served = |(home, before): (&PathBuf, &usize)| {
            let name = home.file_name().expect("a name").to_string_lossy();
            let refused = |line: &str| line.starts_with("seriald: VM") && line.contains(&*name);
            said.lines().any(refused) || offset_of(home) > before + MORE
        };
        (tracer.injected() > 0 && homes.iter().zip(&before).all(served)).then_some(false)
    });
    if !ended {
        let child = child_of(tracer.process.id()).expect("the collector");
        signal(child, "TERM");
    }
    let status = tracer.process.wait_for_exit();
    let said = tracer.process.output();
    assert_eq!(status.code(), Some(i32::from(ended)), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert_eq!(tracer.injected(), 1, "{what}");
    if ended {
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("seriald: "), "{what}: {said}");
        assert!(said.contains("(os error "), "{what}: {said}");
    }
}

/// Every start of the sweep is followed by the next; the last one has nothing that fails.
fn sweep(calls: &[(&str, &str)]) {
    with_each(|strace, version| {
        let mut scene = Scene::begin(strace, version, FOR_EVER, json!({}));
        scene.stop();
        let counts = count_calls(&mut scene, strace);
        for (call, error) in calls {
            let (before, all) = counts.get(*call).copied().unwrap_or_default();
            assert!(all > before, "{call} is not called at the start: {counts:?}");
            let step = (all - before).div_ceil(POINTS);
            // Not the same points with both.
            let first = before + 1 + if version == "v53" { step / 2 } else { 0 };
            for at in (first..=all).step_by(step) {
                start_with(&mut scene, strace, call, error, at);
            }
        }
        scene.start_again();
        for outcome in scene.end() {
            assert_eq!(outcome.account.of_kind("lost").next(), None);
        }
    });
}

#[test]
fn a_start_without_descriptors_or_memory_harms_nothing() {
    sweep(&[
        ("epoll_create1", "EMFILE"),
        ("eventfd2", "ENFILE"),
        ("socketpair", "EMFILE"),
        ("signalfd4", "ENOMEM"),
        ("prlimit64", "EPERM"),
        ("epoll_ctl", "ENOMEM"),
        ("socket", "EMFILE"),
        ("connect", "ENOMEM"),
        ("pidfd_open", "EMFILE"),
        ("openat", "EMFILE"),
        ("getsockopt", "ENOBUFS"),
        ("inotify_init1", "EMFILE"),
        ("inotify_add_watch", "ENOSPC"),
    ]);
}

#[test]
fn a_start_over_a_disk_that_fails_harms_nothing() {
    sweep(&[
        ("openat", "EIO"),
        ("read", "EIO"),
        ("pread64", "EIO"),
        ("write", "ENOSPC"),
        ("newfstatat", "EIO"),
        ("statx", "EIO"),
        ("unlinkat", "EIO"),
        ("fchmod", "EIO"),
        ("flock", "ENOLCK"),
    ]);
}

#[test]
fn a_start_that_signals_interrupt_goes_on() {
    sweep(&[
        ("openat", "EINTR"),
        ("read", "EINTR"),
        ("write", "EINTR"),
        ("connect", "EINTR"),
        ("flock", "EINTR"),
        ("fchmod", "EINTR"),
        ("sendto", "EINTR"),
        ("epoll_wait", "EINTR"),
    ]);
}
