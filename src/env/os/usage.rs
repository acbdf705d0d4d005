//! What this process takes of the host, as the kernel tells of it.
//!
//! Owns nothing.
//! **Invariant:** a few calls, however many descriptors are open: no directory is walked.

use super::cvt;
use crate::env::Usage;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Fields of /proc/self/stat behind the program's name, of which the 20th is the start, in clock
/// ticks since boot: the 22nd of all (proc_pid_stat(5)).
const START_BEHIND_NAME: usize = 19;

/// What it takes now. `started` is asked for once: a wall clock that is set must not move it.
pub(super) fn usage(started: &mut Option<Duration>) -> Option<Usage> {
    let start = match *started {
        Some(started) => started,
        None => start().ok()?,
    };
    *started = Some(start);
    // Linux 6.2 and later: the size of this directory is how many there are in it.
    let descriptors = std::fs::metadata("/proc/self/fd").ok().map(|seen| seen.len());
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(Usage {
        descriptors: descriptors.filter(|open| *open > 0),
        resident_bytes: pages * system_value(libc::_SC_PAGESIZE).ok()?,
        cpu: clock(libc::CLOCK_PROCESS_CPUTIME_ID).ok()?,
        started: start,
    })
}

/// When this process was started, by the wall clock.
fn start() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name may have anything in it, a parenthesis too.
    let ticks = stat.rsplit_once(") ").and_then(|(_, fields)| {
        let field = fields.split(' ').nth(START_BEHIND_NAME)?;
        field.parse::<u64>().ok()
    });
    let ticks = ticks.ok_or(io::ErrorKind::InvalidData)?;
    let a_second = system_value(libc::_SC_CLK_TCK)?.max(1);
    let after_boot = Duration::from_millis(ticks * 1000 / a_second);
    let age = clock(libc::CLOCK_BOOTTIME)?.saturating_sub(after_boot);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(wall.saturating_sub(age))
}

fn clock(which: libc::clockid_t) -> io::Result<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    cvt(unsafe { libc::clock_gettime(which, &mut now) })?;
    Ok(Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32))
}

fn system_value(which: libc::c_int) -> io::Result<u64> {
    // SAFETY: sysconf(3) takes no pointer.
    let value = unsafe { libc::sysconf(which) };
    u64::try_from(value).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_as_the_kernel_has_it() {
        let mut started = None;
        let before = usage(&mut started).expect("it is told");
        let open: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null")).collect();
        let after = usage(&mut started).expect("it is told");
        // Other tests open and close at the same time, a hundred of them do not.
        if let (Some(few), Some(many)) = (before.descriptors, after.descriptors) {
            assert!(many >= few + 50, "{few}, then {many}");
        }
        drop(open);
        assert!(after.resident_bytes > 100_000, "{}", after.resident_bytes);
        assert!(after.cpu >= before.cpu && after.cpu > Duration::ZERO);
        assert_eq!(after.started, before.started);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let age = wall.checked_sub(after.started).expect("in the past");
        assert!(age < Duration::from_secs(3600), "a test began {age:?} ago");
    }
}
