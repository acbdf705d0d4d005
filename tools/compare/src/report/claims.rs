//! What is claimed of seriald, and whether the numbers bear it out.
//!
//! Owns the list of claims.
//! **Invariant:** what was not measured is neither met nor missed, and says why.

use super::Results;
use super::figures::{self, Figure};
use serde::Serialize;

/// The most, or the least, that is allowed.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more.
    AtMost(f64),
    /// Not less.
    AtLeast(f64),
}

/// How a claim has done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The number is within its bound.
    Met,
    /// It is not.
    Missed,
    /// There is no number.
    NotMeasured(String),
}

/// A claim that was judged.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The load that it is about.
    pub load: &'static str,
    /// What the number is.
    pub what: String,
    /// The number.
    pub value: Option<f64>,
    /// Its bound.
    pub bound: Bound,
    /// The verdict.
    pub verdict: Verdict,
}

impl Bound {
    fn allows(self, value: f64) -> bool {
        match self {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        }
    }
}

fn judge(load: &'static str, what: &str, bound: Bound, value: Option<f64>, why: &str) -> Claim {
    let verdict = match value {
        None => Verdict::NotMeasured(why.to_string()),
        Some(value) if bound.allows(value) => Verdict::Met,
        Some(_) => Verdict::Missed,
    };
    Claim { load, what: what.to_string(), value, bound, verdict }
}

/// Judges every claim.
pub fn all(results: &Results) -> Vec<Claim> {
    if results.size.quick {
        return Vec::new();
    }
    let mut claims = Vec::new();
    claims.extend(loads_with_rivals(results));
    claims.extend(pace(results));
    claims.extend(idle(results));
    claims.extend(company(results));
    claims.sort_by_key(|claim| claim.load);
    claims.push(no_byte_is_lost(results));
    claims
}

/// Whether one was missed.
pub fn is_any_missed(claims: &[Claim]) -> bool {
    claims.iter().any(|claim| claim.verdict == Verdict::Missed)
}

/// What is claimed relative to a rival.
fn loads_with_rivals(results: &Results) -> Vec<Claim> {
    use Bound::{AtLeast, AtMost};
    let cpu: (Figure, &str) = (figures::cpu_s_per_mb, "CPU per MB");
    let speed: (Figure, &str) = (figures::guests_mb_per_s, "the guests' bytes/s");
    let logs: (Figure, &str) = (figures::logs_mb_per_s, "bytes/s into logs");
    let claims = [
        ("a-1000", cpu, "goroutines", AtMost(0.30)),
        ("a-1000", cpu, "conserver", AtMost(0.32)),
        ("a-1000", cpu, "loop", AtMost(0.60)),
        ("a-1000", cpu, "floor", AtMost(1.15)),
        ("a-1000", speed, "goroutines", AtLeast(1.25)),
        ("b", cpu, "goroutines", AtMost(0.30)),
        ("c-1", logs, "loop", AtLeast(0.95)),
        ("c-100", logs, "loop", AtLeast(0.95)),
    ];
    let judged = claims.map(|(load, (figure, what), rival, bound)| {
        let value = results.to_rival(load, rival, figure);
        let why = format!("no round with seriald and {rival}");
        judge(load, &format!("{what}, seriald / {rival}"), bound, value, &why)
    });
    judged.into()
}

/// Latency at a pace, and how near to its end the socket gets.
fn pace(results: &Results) -> [Claim; 2] {
    let p99 = results.median("b", "seriald", figures::p99_ms);
    let told = results.sound("b", "seriald").filter_map(|run| run.told);
    let (full, reads) = told
        .fold((0, 0), |(full, reads), told| (full + told.socket_full_reads, reads + told.reads));
    let full = (reads > 0).then(|| full as f64 / reads as f64 * 100.0);
    [
        judge("b", "p99 from send to log, ms", Bound::AtMost(2.0), p99, "b was not run"),
        judge("b", "reads that found the socket full, %", Bound::AtMost(0.1), full, "not told"),
    ]
}

/// What VMs cost that print nothing.
fn idle(results: &Results) -> [Claim; 4] {
    let median = |figure: Figure| results.median("d", "seriald", figure);
    let calls = results.traced_calls("d", "seriald");
    let base = median(figures::rss_with_one_vm).map(|bytes| bytes / f64::from(1 << 20));
    let none = Bound::AtMost(0.0);
    [
        judge("d", "context switches", none, median(figures::switches), "d was not run"),
        judge("d", "system calls, by strace", none, calls, "no run under strace"),
        judge(
            "d",
            "heap per VM, bytes",
            Bound::AtMost(512.0),
            median(figures::heap_per_vm),
            "d was not run",
        ),
        judge("d", "RSS with one VM, MiB", Bound::AtMost(6.0), base, "d was not run"),
    ]
}

/// What a VM feels of others: of one that floods, of rotations.
fn company(results: &Results) -> Vec<Claim> {
    let flood = results.median("e", "seriald", figures::flood_factor);
    let what = "p99 with the flood / without";
    let mut claims = vec![judge("e", what, Bound::AtMost(2.0), flood, "e was not run")];
    for load in ["f-rename", "f-copytruncate"] {
        let p99 = results.ratio((load, "seriald"), ("b", "seriald"), figures::p99_ms);
        let why = format!("no round with b and {load}");
        claims.push(judge(load, "p99 / that of b", Bound::AtMost(2.0), p99, &why));
        let turns = results.sound(load, "seriald").filter_map(|run| run.told);
        let longest = turns.map(|told| told.turn_us_max as f64 / 1e3).reduce(f64::max);
        claims.push(judge(load, "longest turn, ms", Bound::AtMost(5.0), longest, "not told"));
    }
    let viewed = results.ratio(("g-100", "seriald"), ("g-0", "seriald"), figures::guests_mb_per_s);
    let what = "the guest's bytes/s, with 100 viewers / with none";
    claims.push(judge("g-100", what, Bound::AtLeast(0.98), viewed, "no round with g-0 and g-100"));
    claims.extend(siege(results));
    claims
}

/// What a thousand hostile clients cost a VM.
fn siege(results: &Results) -> [Claim; 2] {
    let why = "no round with h-0 and h-1000";
    let p99 = results.added(("h-1000", "seriald"), ("h-0", "seriald"), figures::p99_ms);
    let long = results.median("h-1000", "seriald", figures::long_turns_per_mille);
    let what = "p99 with hostile clients, above that without, ms";
    [
        // A byte waits for what the turn under way does for clients, and for its own turn's.
        judge("h-1000", what, Bound::AtMost(1.0), p99, why),
        judge("h-1000", "turns above 2.5 ms, of 1000", Bound::AtMost(1.0), long, why),
    ]
}

fn no_byte_is_lost(results: &Results) -> Claim {
    let mut ours = results.runs.iter().filter(|run| run.collector == "seriald").peekable();
    let ran = ours.peek().is_some();
    let faults = ours.filter(|run| run.fault.is_some()).count() as f64;
    let what = "runs of seriald that failed or lost bytes";
    judge("all", what, Bound::AtMost(0.0), ran.then_some(faults), "seriald was not run")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{results, run};
    use super::*;
    use crate::collectors::seriald::Told;
    use crate::run::Run;

    fn verdict<'a>(claims: &'a [Claim], load: &str, what: &str) -> &'a Verdict {
        let claim = claims.iter().find(|claim| claim.load == load && claim.what.contains(what));
        &claim.expect("the claim").verdict
    }

    #[test]
    fn a_bound_itself_is_allowed() {
        assert!(Bound::AtMost(0.3).allows(0.3) && !Bound::AtMost(0.3).allows(0.301));
        assert!(Bound::AtLeast(1.25).allows(1.25) && !Bound::AtLeast(1.25).allows(1.24));
    }

    #[test]
    fn claims_are_met_missed_or_not_measured() {
        let runs = vec![
            run("seriald", "a-1000", 1, 0.29),
            run("goroutines", "a-1000", 1, 1.0),
            run("floor", "a-1000", 1, 0.2),
        ];
        let claims = all(&results(runs));
        assert_eq!(verdict(&claims, "a-1000", "CPU per MB, seriald / goroutines"), &Verdict::Met);
        assert_eq!(verdict(&claims, "a-1000", "CPU per MB, seriald / floor"), &Verdict::Missed);
        let conserver = verdict(&claims, "a-1000", "CPU per MB, seriald / conserver");
        assert!(matches!(conserver, Verdict::NotMeasured(why) if why.contains("conserver")));
        assert!(is_any_missed(&claims));
    }

    #[test]
    fn what_nobody_measured_is_not_missed() {
        let claims = all(&results(Vec::new()));
        assert!(claims.iter().all(|claim| matches!(claim.verdict, Verdict::NotMeasured(_))));
        assert!(!is_any_missed(&claims));
    }

    #[test]
    fn full_sockets_are_counted_over_all_rounds() {
        let told = |reads, full| Some(Told { reads, socket_full_reads: full, ..Told::default() });
        let one = Run { told: told(1000, 2), ..run("seriald", "b", 1, 1.0) };
        let other = Run { told: told(9000, 3), ..run("seriald", "b", 2, 1.0) };
        let claims = all(&results(vec![one.clone(), other]));
        assert_eq!(verdict(&claims, "b", "full"), &Verdict::Met);
        assert_eq!(verdict(&all(&results(vec![one])), "b", "full"), &Verdict::Missed);
    }

    #[test]
    fn the_longest_turn_is_that_of_all_rounds() {
        let round = |round, turn_us_max| Run {
            told: Some(Told { turn_us_max, reads: 1, rotations: 1, ..Told::default() }),
            ..run("seriald", "f-rename", round, 1.0)
        };
        let claims = all(&results(vec![round(1, 300), round(2, 5001), round(3, 400)]));
        assert_eq!(verdict(&claims, "f-rename", "longest turn"), &Verdict::Missed);
    }

    #[test]
    fn a_wrong_log_is_a_claim_missed() {
        let lost = Run { fault: Some("gone".into()), ..run("seriald", "b", 1, 1.0) };
        assert_eq!(verdict(&all(&results(vec![lost])), "all", "failed"), &Verdict::Missed);
    }

    #[test]
    fn a_smoke_test_proves_nothing() {
        let mut quick = results(vec![run("seriald", "b", 1, 1.0)]);
        quick.size.quick = true;
        assert!(all(&quick).is_empty());
    }
}
