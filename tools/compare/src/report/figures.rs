//! What is read off a run, and its medians over the rounds.
//!
//! Owns nothing.
//! **Invariant:** runs under strace, and runs that lost bytes, are in no median; a ratio is of two
//! runs of the same round, so that what changes from round to round touches both.

use super::Results;
use crate::measure::spread::median;
use crate::run::Run;

/// Something that a run says. `None`: it doesn't.
pub type Figure = fn(&Run) -> Option<f64>;

const MB: f64 = 1e6;

fn per(value: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| value / of)
}

fn bytes(run: &Run) -> f64 {
    run.bytes as f64
}

/// The collector's processor time, in seconds per MB.
pub fn cpu_s_per_mb(run: &Run) -> Option<f64> {
    per(run.used.cpu_s, bytes(run) / MB)
}

/// What all guests print together, in MB/s.
pub fn guests_mb_per_s(run: &Run) -> Option<f64> {
    per(bytes(run) / MB, run.printing_s)
}

/// What reaches the logs, in MB/s, to the last byte.
pub fn logs_mb_per_s(run: &Run) -> Option<f64> {
    per(bytes(run) / MB, run.collecting_s)
}

/// The guests' own processor time, in seconds per MB.
pub fn guests_cpu_s_per_mb(run: &Run) -> Option<f64> {
    per(run.guests_cpu_s?, bytes(run) / MB)
}

/// Calls that read, per kB; the kernel does not count those of every kind.
pub fn reads_per_kb(run: &Run) -> Option<f64> {
    per(run.used.read_calls as f64, bytes(run) / 1e3).filter(|reads| *reads > 0.0)
}

/// Calls that write, per kB.
pub fn writes_per_kb(run: &Run) -> Option<f64> {
    per(run.used.write_calls as f64, bytes(run) / 1e3)
}

/// All context switches.
pub fn switches(run: &Run) -> Option<f64> {
    Some((run.used.voluntary_switches + run.used.involuntary_switches) as f64)
}

/// Context switches per kB.
pub fn switches_per_kb(run: &Run) -> Option<f64> {
    per(switches(run)?, bytes(run) / 1e3)
}

/// Half of the lines took at most so long, in ms.
pub fn p50_ms(run: &Run) -> Option<f64> {
    run.latency.map(|latency| latency.p50_ms)
}

/// 99 of 100 lines took at most so long, in ms.
pub fn p99_ms(run: &Run) -> Option<f64> {
    run.latency.map(|latency| latency.p99_ms)
}

/// The longest that a line took, in ms.
pub fn max_ms(run: &Run) -> Option<f64> {
    run.latency.map(|latency| latency.max_ms)
}

/// Of 1000 turns of seriald's so many took more than 2.5 ms.
pub fn long_turns_per_mille(run: &Run) -> Option<f64> {
    let told = run.told?;
    per(told.long_turns as f64 * 1e3, told.turns as f64)
}

/// The same as `p99_ms` before the flood began.
pub fn p99_ms_without_flood(run: &Run) -> Option<f64> {
    run.latency_without_flood.map(|latency| latency.p99_ms)
}

/// How much longer 99 of 100 lines may take with a flood beside them.
pub fn flood_factor(run: &Run) -> Option<f64> {
    per(p99_ms(run)?, p99_ms_without_flood(run)?)
}

/// Resident memory, in MB.
pub fn rss_mb(run: &Run) -> Option<f64> {
    Some(run.used.rss as f64 / MB)
}

/// Resident memory with one VM, in bytes.
pub fn rss_with_one_vm(run: &Run) -> Option<f64> {
    run.with_one_vm.map(|used| used.rss as f64)
}

/// The kernel's slabs, in kB per VM.
pub fn slab_kb_per_vm(run: &Run) -> Option<f64> {
    run.slab_per_vm.map(|bytes| bytes / 1e3)
}

/// Memory of no file per VM, over that of the same with one VM, in bytes.
pub fn heap_per_vm(run: &Run) -> Option<f64> {
    let one = run.with_one_vm?.rss_anon as f64;
    per(run.used.rss_anon as f64 - one, run.vms as f64 - 1.0)
}

/// The processor time of the whole run, in ms.
pub fn cpu_ms(run: &Run) -> Option<f64> {
    Some(run.used.cpu_s * 1e3)
}

impl Results {
    /// The runs that count, of a collector under a load.
    pub fn sound<'a>(&'a self, load: &'a str, collector: &'a str) -> impl Iterator<Item = &'a Run> {
        let of = move |run: &&Run| run.load == load && run.collector == collector;
        self.runs.iter().filter(of).filter(|run| run.round > 0 && run.fault.is_none())
    }

    /// The median over the rounds.
    pub fn median(&self, load: &str, collector: &str, figure: Figure) -> Option<f64> {
        median(&self.sound(load, collector).filter_map(figure).collect::<Vec<_>>())
    }

    /// The largest of all rounds.
    pub fn largest(&self, load: &str, collector: &str, figure: Figure) -> Option<f64> {
        self.sound(load, collector).filter_map(figure).reduce(f64::max)
    }

    /// The run under strace.
    pub fn traced(&self, load: &str, collector: &str) -> Option<&Run> {
        let mut runs = self.runs.iter().filter(|run| run.round == 0 && run.fault.is_none());
        runs.find(|run| run.load == load && run.collector == collector)
    }

    /// System calls under strace.
    pub fn traced_calls(&self, load: &str, collector: &str) -> Option<f64> {
        let calls = self.traced(load, collector)?.calls.as_ref()?;
        Some(calls.values().sum::<u64>() as f64)
    }

    /// The median of the ratios of two figures, each pair from the same round.
    pub fn ratio(&self, of: (&str, &str), to: (&str, &str), figure: Figure) -> Option<f64> {
        let ratio = |run: &Run| {
            let other = self.sound(to.0, to.1).find(|other| other.round == run.round)?;
            per(figure(run)?, figure(other)?)
        };
        median(&self.sound(of.0, of.1).filter_map(ratio).collect::<Vec<_>>())
    }

    /// The median of how much more one figure is than another, each pair from the same round.
    pub fn added(&self, of: (&str, &str), to: (&str, &str), figure: Figure) -> Option<f64> {
        let added = |run: &Run| {
            let other = self.sound(to.0, to.1).find(|other| other.round == run.round)?;
            Some(figure(run)? - figure(other)?)
        };
        median(&self.sound(of.0, of.1).filter_map(added).collect::<Vec<_>>())
    }

    /// seriald's figure as a part of a rival's, under the same load.
    pub fn to_rival(&self, load: &str, rival: &str, figure: Figure) -> Option<f64> {
        self.ratio((load, "seriald"), (load, rival), figure)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{results, run};
    use super::*;

    #[test]
    fn what_comes_on_top_is_of_runs_of_the_same_round() {
        let runs =
            [(1, 1.0, 1.5), (2, 10.0, 10.75), (3, 3.0, 3.25)].map(|(round, before, with)| {
                [run("seriald", "h-0", round, before), run("seriald", "h-1000", round, with)]
            });
        let results = results(runs.concat());
        let cpu: Figure = cpu_s_per_mb;
        assert_eq!(results.added(("h-1000", "seriald"), ("h-0", "seriald"), cpu), Some(0.5));
        assert_eq!(results.added(("h-1000", "seriald"), ("b", "seriald"), cpu), None);
    }

    #[test]
    fn a_ratio_is_of_runs_of_the_same_round() {
        // From the second round on everything takes ten times as long.
        let runs =
            [(1, 1.0, 2.0), (2, 10.0, 20.0), (3, 10.0, 40.0)].map(|(round, ours, theirs)| {
                [run("seriald", "b", round, ours), run("loop", "b", round, theirs)]
            });
        let results = results(runs.concat());
        assert_eq!(results.to_rival("b", "loop", cpu_s_per_mb), Some(0.5));
        assert_eq!(results.median("b", "loop", cpu_s_per_mb), Some(20.0));
    }

    #[test]
    fn a_run_that_lost_bytes_and_one_under_strace_count_for_nothing() {
        let lost = Run { fault: Some("gone".into()), ..run("loop", "b", 2, 100.0) };
        let traced = run("loop", "b", 0, 50.0);
        let results = results(vec![run("loop", "b", 1, 2.0), lost, traced]);
        assert_eq!(results.median("b", "loop", cpu_s_per_mb), Some(2.0));
        assert_eq!(results.largest("b", "loop", cpu_s_per_mb), Some(2.0));
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        let results = results(vec![run("seriald", "b", 1, 1.0)]);
        assert_eq!(results.to_rival("b", "loop", cpu_s_per_mb), None);
        assert_eq!(results.median("b", "seriald", p99_ms), None);
        assert_eq!(results.traced_calls("d", "seriald"), None);
        let nothing = Run { bytes: 0, ..run("seriald", "d", 1, 1.0) };
        assert_eq!(cpu_s_per_mb(&nothing), None);
    }

    #[test]
    fn heap_is_what_each_further_vm_adds() {
        let mut idle = Run { vms: 11, ..run("seriald", "d", 1, 0.0) };
        idle.used.rss_anon = 9000;
        idle.with_one_vm = Some(crate::measure::usage::Used { rss_anon: 4000, ..idle.used });
        assert_eq!(heap_per_vm(&idle), Some(500.0));
    }
}
