//! Clocks, and short naps.
//!
//! Owns nothing.

use nix::sys::prctl;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::thread;
use std::time::{Duration, Instant};

/// What a process has used of the processors so far, threads that ended included, to the
/// nanosecond; its children not. `None`: there is no such process.
pub fn cpu_of(pid: i32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    clock_gettime(clock).ok().map(Duration::from)
}

/// What the calling thread has used so far.
pub fn cpu_of_this_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// What this process has used so far.
pub fn cpu_of_this_process() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// From here on this thread's naps end when they should: by default the kernel may add 50 us.
/// A child would inherit that: only for threads that start none.
pub fn sharpen_naps() {
    // Where it is refused the naps are longer, and the resolution that much coarser.
    let _ = prctl::set_timerslack(1);
}

/// Sleeps until `when`; not at all if that has passed.
pub fn sleep_until(when: Instant) {
    let rest = when.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        thread::sleep(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_holds_that_of_its_threads() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let before = cpu_of(own).expect("this process");
        let used = thread::spawn(|| {
            while cpu_of_this_thread() < Duration::from_millis(20) {}
            cpu_of_this_thread()
        });
        let used = used.join().expect("a thread's end");
        assert!(cpu_of(own).expect("this process") - before >= used);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_time() {
        // The kernel gives no number above 4194304.
        assert_eq!(cpu_of(4_194_305), None);
    }
}
