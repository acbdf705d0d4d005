//! What the kernel writes into /proc, read.
//!
//! Owns nothing.
//! **Invariant:** the parsers are pure; a line that is missing is `None`, never 0.

use std::collections::BTreeMap;
use std::fs;

/// Of /proc/PID/status (a process, or a thread of it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Resident memory, in bytes.
    pub rss: u64,
    /// That part of it which belongs to no file: heap and stacks.
    pub rss_anon: u64,
    /// Times that it went to sleep by itself.
    pub voluntary_switches: u64,
    /// Times that the processor was taken from it.
    pub involuntary_switches: u64,
    /// Who traces it; 0: nobody.
    pub tracer: u64,
}

/// The number of a line `Name:   123 kB`, in what the line says.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads /proc/PID/status. A kernel thread, or a zombie, has no memory: that is `None`.
pub fn status(text: &str) -> Option<Status> {
    Some(Status {
        rss: number(text, "VmRSS")? * 1024,
        rss_anon: number(text, "RssAnon")? * 1024,
        voluntary_switches: number(text, "voluntary_ctxt_switches")?,
        involuntary_switches: number(text, "nonvoluntary_ctxt_switches")?,
        tracer: number(text, "TracerPid")?,
    })
}

/// Calls that read and that wrote, of /proc/PID/io. recvmsg(2), recvmmsg(2) and their like are not
/// in it.
pub fn calls(text: &str) -> Option<(u64, u64)> {
    Some((number(text, "syscr")?, number(text, "syscw")?))
}

/// The parent in /proc/PID/stat: field 4; field 2 is in brackets and may hold anything.
pub fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The kernel's own memory in slabs, of /proc/meminfo, in bytes.
pub fn slab(meminfo: &str) -> Option<u64> {
    Some(number(meminfo, "Slab")? * 1024)
}

/// The kernel's own memory in slabs, now.
pub fn slab_now() -> Option<u64> {
    slab(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// What all processors together have worked, and what they could have, since the boot, of
/// /proc/stat, in ticks. Time that a host took away is as if others had worked.
pub fn work(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user already.
    let ticks: Vec<u64> =
        line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, _, idle, iowait, ..] = ticks[..] else { return None };
    let all: u64 = ticks.iter().sum();
    Some((all - idle - iowait, all))
}

/// `roots` and all that descends from them, in `parents` (child to parent).
fn descendants(roots: &[i32], parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut family = roots.to_vec();
    let mut next = 0;
    while let Some(&head) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| **parent == head).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// `roots` and their descendants, as they are now.
pub fn family(roots: &[i32]) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents = pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent(&stat)?))
    });
    descendants(roots, &parents.collect())
}

/// Every thread of a process, as it is now.
pub fn threads(pid: i32) -> Vec<Status> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
    texts.filter_map(|text| status(&text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\ta: b\nTracerPid:\t7\nVmRSS:\t    2048 kB\nRssAnon:\t     512 kB\n\
        voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";

    #[test]
    fn a_status_is_read() {
        let expected = Status {
            rss: 2048 * 1024,
            rss_anon: 512 * 1024,
            voluntary_switches: 12,
            involuntary_switches: 3,
            tracer: 7,
        };
        assert_eq!(status(STATUS), Some(expected));
    }

    #[test]
    fn a_line_that_is_missing_is_not_taken_for_0() {
        assert_eq!(status(&STATUS.replace("RssAnon", "RssFile")), None);
        assert_eq!(calls("syscr: 4\n"), None);
        assert_eq!(slab("MemTotal: 4 kB\n"), None);
    }

    #[test]
    fn calls_and_slabs_are_read() {
        assert_eq!(calls("rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\n"), Some((3, 4)));
        assert_eq!(slab("MemFree: 9 kB\nSlab:     33 kB\nSReclaimable: 5 kB\n"), Some(33 * 1024));
    }

    #[test]
    fn idle_processors_do_no_work() {
        let stat = "cpu  10 1 20 500 40 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(work(stat), Some((40, 580)));
        assert_eq!(work("cpu  1 2 3\n"), None);
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (a) b) 9 (c) S 3 7 7 0 -1"), Some(3));
        assert_eq!(parent("7 (a"), None);
    }

    #[test]
    fn children_of_children_belong_to_a_family() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (9, 8)]);
        assert_eq!(descendants(&[2], &parents), [2, 3, 4]);
        assert_eq!(descendants(&[8, 2], &parents), [8, 2, 9, 3, 4]);
    }

    #[test]
    fn this_process_is_its_own_family_and_has_threads() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(family(&[own])[0], own);
        assert!(!threads(own).is_empty());
        assert!(slab_now().is_some());
    }
}
