//! What a collector's processes have used so far, summed.
//!
//! Owns nothing.
//! **Invariant:** a difference is of the same processes: those that the earlier account names.

use super::{clock, proc};
use serde::Serialize;
use std::fs;
use std::time::Duration;

/// Ticks per second in /proc/stat: 100 on every Linux of today's architectures.
const USER_HZ: f64 = 100.0;

/// An account of some processes, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pids: Vec<i32>,
    cpu: Duration,
    voluntary_switches: u64,
    involuntary_switches: u64,
    read_calls: u64,
    write_calls: u64,
    rss: u64,
    rss_anon: u64,
    /// What all processes have used, in ticks, and what the processors had to give.
    all: (u64, u64),
    /// What this process has used.
    own: Duration,
}

/// What they used between two moments, and their memory at the later one.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Used {
    /// Processes.
    pub processes: usize,
    /// User and system time, in seconds.
    pub cpu_s: f64,
    /// Times that a thread went to sleep by itself.
    pub voluntary_switches: u64,
    /// Times that a processor was taken from a thread.
    pub involuntary_switches: u64,
    /// read(2) and its like; recvmsg(2) and its like are not counted by the kernel.
    pub read_calls: u64,
    /// write(2) and its like.
    pub write_calls: u64,
    /// Resident memory, in bytes; pages that processes share are counted for each.
    pub rss: u64,
    /// The part of it that belongs to no file.
    pub rss_anon: u64,
    /// What neither they nor this process used: that part of all processors' time. Where it is
    /// more than a little, no time is to be trusted.
    pub others: f64,
}

impl Usage {
    /// Of these processes, now.
    pub fn of(pids: &[i32]) -> Usage {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let all = proc::work(&stat).unwrap_or_default();
        let own = clock::cpu_of_this_process();
        let mut sum = Usage { pids: pids.to_vec(), all, own, ..Usage::default() };
        for &pid in pids {
            let process = fs::read_to_string(format!("/proc/{pid}/status"));
            let process = process.ok().and_then(|text| proc::status(&text)).unwrap_or_default();
            let io = fs::read_to_string(format!("/proc/{pid}/io"));
            let (reads, writes) = io.ok().and_then(|text| proc::calls(&text)).unwrap_or_default();
            sum.cpu += clock::cpu_of(pid).unwrap_or_default();
            sum.read_calls += reads;
            sum.write_calls += writes;
            sum.rss += process.rss;
            sum.rss_anon += process.rss_anon;
            for thread in proc::threads(pid) {
                sum.voluntary_switches += thread.voluntary_switches;
                sum.involuntary_switches += thread.involuntary_switches;
            }
        }
        sum
    }

    /// What the same processes have used since.
    pub fn until_now(&self) -> Used {
        let now = Usage::of(&self.pids);
        Used {
            processes: self.pids.len(),
            cpu_s: now.cpu.saturating_sub(self.cpu).as_secs_f64(),
            voluntary_switches: now.voluntary_switches.saturating_sub(self.voluntary_switches),
            involuntary_switches: now
                .involuntary_switches
                .saturating_sub(self.involuntary_switches),
            read_calls: now.read_calls.saturating_sub(self.read_calls),
            write_calls: now.write_calls.saturating_sub(self.write_calls),
            rss: now.rss,
            rss_anon: now.rss_anon,
            others: now.others_since(self),
        }
    }

    fn others_since(&self, before: &Usage) -> f64 {
        let worked = self.all.0.saturating_sub(before.all.0) as f64;
        let possible = self.all.1.saturating_sub(before.all.1) as f64;
        let ours = (self.cpu + self.own).saturating_sub(before.cpu + before.own).as_secs_f64();
        ((worked - ours * USER_HZ) / possible.max(1.0)).max(0.0)
    }
}
