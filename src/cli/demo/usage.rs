//! What this process has used, as the kernel counts it.
//!
//! Owns nothing.
//! **Invariant:** children are not in it: a VMM's time is not ours.

use std::fs;
use std::time::Duration;

/// Ticks per second in /proc/PID/stat: USER_HZ, 100 on every Linux of today's architectures.
const USER_HZ: u64 = 100;

/// CPU time and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time so far.
    pub cpu: Duration,
    /// The most memory that was resident at once, in bytes.
    pub resident_max: u64,
}

impl Usage {
    /// Of this process, now.
    pub fn of_self() -> Usage {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Usage { cpu: cpu(&stat), resident_max: resident_max(&status) }
    }
}

/// Fields 14 and 15, counted from 1; the second is in brackets and may hold anything.
fn cpu(stat: &str) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / USER_HZ)
}

fn resident_max(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "7 (a) b) R 1 1 1 0 -1 4194560 100 0 0 0 150 25 3 4 20 0 1 0 5 6 7";
        assert_eq!(cpu(stat), Duration::from_millis(1750));
        assert_eq!(resident_max("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), 2048 * 1024);
        assert!(Usage::of_self().resident_max > 0);
    }
}
