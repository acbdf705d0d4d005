//! The terminal's tables: one a load, then the claims.
//!
//! Owns nothing.
//! **Invariant:** a collector that lost bytes, or failed, is named as such right under its table.

use super::Results;
use super::claims::{Bound, Claim, Verdict};
use super::figures::{self, Figure};
use crate::measure::siege::Besieged;
use std::fmt::Write;

/// A column: its head, and its cell for a collector.
struct Column {
    head: &'static str,
    cell: fn(&Results, &str, &str) -> Option<f64>,
}

/// A column with the medians of a figure.
macro_rules! median {
    ($head:literal, $figure:path) => {
        Column { head: $head, cell: |results, load, name| results.median(load, name, $figure) }
    };
}

/// A column with seriald's figure as a part of this one's.
macro_rules! ratio {
    ($head:literal, $figure:path) => {
        Column { head: $head, cell: |results, load, name| results.to_rival(load, name, $figure) }
    };
}

const PRINTING: [Column; 13] = [
    median!("CPU s/MB", figures::cpu_s_per_mb),
    ratio!("ratio", figures::cpu_s_per_mb),
    median!("guests MB/s", figures::guests_mb_per_s),
    ratio!("ratio", figures::guests_mb_per_s),
    median!("their CPU", figures::guests_cpu_s_per_mb),
    median!("p50 ms", figures::p50_ms),
    median!("p99 ms", figures::p99_ms),
    Column { head: "max ms", cell: |results, load, name| longest(results, load, name) },
    median!("reads/kB", figures::reads_per_kb),
    median!("writes/kB", figures::writes_per_kb),
    median!("switch/kB", figures::switches_per_kb),
    median!("RSS MB", figures::rss_mb),
    median!("slab kB/VM", figures::slab_kb_per_vm),
];

const IDLE: [Column; 7] = [
    median!("switches", figures::switches),
    Column { head: "calls", cell: |results, load, name| results.traced_calls(load, name) },
    median!("CPU ms", figures::cpu_ms),
    median!("heap B/VM", figures::heap_per_vm),
    Column { head: "RSS MB, 1 VM", cell: |results, load, name| base_mb(results, load, name) },
    median!("RSS MB", figures::rss_mb),
    median!("slab kB/VM", figures::slab_kb_per_vm),
];

fn longest(results: &Results, load: &str, name: &str) -> Option<f64> {
    results.largest(load, name, figures::max_ms)
}

fn base_mb(results: &Results, load: &str, name: &str) -> Option<f64> {
    results.median(load, name, figures::rss_with_one_vm).map(|bytes| bytes / 1e6)
}

/// What others may use of the processors, before that is told.
const OTHERS_MAX: f64 = 0.05;
/// System calls that are named.
const CALLS_SHOWN: usize = 5;

/// A number with three digits that say something.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 99.95 || large == 0.0 => 0,
        middle if middle >= 9.995 => 1,
        small if small >= 0.9995 => 2,
        tiny if tiny >= 0.09995 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// All of it.
pub fn tables(results: &Results, claims: &[Claim], machine: &str) -> String {
    let mut text = format!("{machine}\n");
    for contender in &results.contenders {
        let _ = writeln!(text, "  {:<11} {}", contender.name, contender.version);
    }
    for load in &results.loads {
        let _ = writeln!(text, "\n{}: {}", load.name, load.about);
        let is_idle = results.runs.iter().all(|run| run.load != load.name || run.bytes == 0);
        text += &table(results, &load.name, if is_idle { &IDLE } else { &PRINTING });
        text += &remarks(results, &load.name);
    }
    text += "\nratio: seriald's as a part of that one's, the median of the rounds\n";
    let others = results.runs.iter().map(|run| run.used.others).fold(0.0, f64::max);
    if others > OTHERS_MAX {
        let percent = others * 100.0;
        let _ = writeln!(
            text,
            "DON'T TRUST THE TIMES: others used up to {percent:.0} % of all processors' time"
        );
    }
    for out in &results.left_out {
        let _ = writeln!(text, "left out: {}: {}", out.what, out.why);
    }
    if results.size.quick {
        text += "no claim is judged in a smoke test\n";
    }
    text + &verdicts(claims)
}

fn table(results: &Results, load: &str, columns: &[Column]) -> String {
    let mut text = format!("  {:<11}", "");
    for column in columns {
        let _ = write!(text, " {:>width$}", column.head, width = column.head.len().max(6));
    }
    text.push('\n');
    for contender in &results.contenders {
        if results.sound(load, contender.name).next().is_none() {
            continue;
        }
        let _ = write!(text, "  {:<11}", contender.name);
        for column in columns {
            let value = (column.cell)(results, load, contender.name);
            let value = value.map_or("-".to_string(), short);
            let _ = write!(text, " {value:>width$}", width = column.head.len().max(6));
        }
        text.push('\n');
    }
    text
}

/// What no column holds.
fn remarks(results: &Results, load: &str) -> String {
    let mut text = String::new();
    for contender in &results.contenders {
        let name = contender.name;
        let median = |figure: Figure| results.median(load, name, figure);
        if let Some(before) = median(figures::p99_ms_without_flood) {
            let _ = writeln!(text, "  {name}: p99 before the flood {} ms", short(before));
        }
        let told: Vec<_> = results.sound(load, name).filter_map(|run| run.told).collect();
        if let Some(turn) = told.iter().map(|told| told.turn_us_max).max() {
            let (reads, full) = told.iter().fold((0, 0), |(reads, full), told| {
                (reads + told.reads, full + told.socket_full_reads)
            });
            let _ = writeln!(
                text,
                "  {name}: longest turn {} ms; {full} of {reads} reads found the socket full",
                short(turn as f64 / 1e3)
            );
        }
        text += &besieged(results, load, name);
        text += &traced(results, load, name);
        let rotations: usize = results.sound(load, name).map(|run| run.rotations).sum();
        if rotations > 0 {
            let _ = writeln!(text, "  {name}: {rotations} logs rotated");
        }
    }
    let wrong = |run: &&crate::run::Run| run.load == load && run.fault.is_some();
    for run in results.runs.iter().filter(wrong) {
        let fault = run.fault.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  FAILED: {}, round {}: {fault}", run.collector, run.round);
    }
    text
}

/// What hostile clients did, and what became of the one that had requests.
fn besieged(results: &Results, load: &str, name: &str) -> String {
    let all: Vec<_> = results.sound(load, name).filter_map(|run| run.besieged).collect();
    if all.is_empty() {
        return String::new();
    }
    let sum = |figure: fn(&Besieged) -> u64| all.iter().map(figure).sum::<u64>();
    let (came, served) = (sum(|all| all.came), sum(|all| all.served));
    let asked = served + sum(|all| all.turned_away);
    let told = results.sound(load, name).filter_map(|run| run.told);
    let (turns, long) =
        told.fold((0, 0), |(turns, long), told| (turns + told.turns, long + told.long_turns));
    format!(
        "  {name}: {came} hostile connections; of {asked} requests {served} were served; {long} of \
         {turns} turns above 2.5 ms\n"
    )
}

/// The most frequent system calls under strace, where guests print.
fn traced(results: &Results, load: &str, name: &str) -> String {
    let Some(run) = results.traced(load, name).filter(|run| run.bytes > 0) else {
        return String::new();
    };
    let mut calls: Vec<_> = run.calls.iter().flatten().collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kilobytes = run.bytes as f64 / 1e3;
    let shown = calls.iter().take(CALLS_SHOWN);
    let shown = shown.map(|(call, count)| format!("{call} {}", short(**count as f64 / kilobytes)));
    let all = calls.iter().map(|(_, count)| **count).sum::<u64>() as f64 / kilobytes;
    let shown = shown.collect::<Vec<_>>().join(", ");
    format!("  {name}: {} system calls per kB under strace: {shown}\n", short(all))
}

fn verdicts(claims: &[Claim]) -> String {
    let mut text = String::new();
    for claim in claims {
        let (word, why) = match &claim.verdict {
            Verdict::Met => ("met", ""),
            Verdict::Missed => ("MISSED", ""),
            Verdict::NotMeasured(why) => ("not measured", why.as_str()),
        };
        let bound = match claim.bound {
            Bound::AtMost(most) => format!("at most {most}"),
            Bound::AtLeast(least) => format!("at least {least}"),
        };
        let value = claim.value.map_or("-".to_string(), short);
        let _ = writeln!(
            text,
            "{word:<13} {:<15} {:<46} {value:>7}  {bound}  {why}",
            claim.load, claim.what
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{results, run};
    use super::*;
    use crate::report::claims;
    use crate::run::Run;

    #[test]
    fn numbers_are_short() {
        let shorts = [0.0, 0.01234, 0.1234, 1.234, 12.34, 123.4, 1234.5].map(short);
        assert_eq!(shorts, ["0", "0.0123", "0.123", "1.23", "12.3", "123", "1234"]);
    }

    #[test]
    fn a_collector_that_lost_bytes_is_told_loudly() {
        let lost = Run { fault: Some("vm-0003: 7 bytes lost".into()), ..run("loop", "b", 1, 1.0) };
        let results = results(vec![run("seriald", "b", 1, 0.5), lost]);
        let text = tables(&results, &claims::all(&results), "a machine");
        assert!(text.contains("FAILED: loop, round 1: vm-0003: 7 bytes lost"), "{text}");
    }

    #[test]
    fn a_busy_machine_is_told() {
        let shown = |others| {
            let mut busy = run("seriald", "b", 1, 0.5);
            busy.used.others = others;
            tables(&results(vec![run("loop", "b", 1, 0.5), busy]), &[], "a machine")
        };
        assert!(!shown(0.04).contains("TRUST"));
        assert!(shown(0.37).contains("37 %"), "{}", shown(0.37));
    }

    #[test]
    fn ratios_medians_and_claims_are_shown() {
        let runs = vec![run("seriald", "b", 1, 0.5), run("loop", "b", 1, 2.0)];
        let results = results(runs);
        let text = tables(&results, &claims::all(&results), "a machine");
        let row = text.lines().find(|line| line.starts_with("  loop   ")).expect("a row");
        let row = text.lines().filter(|line| line.starts_with("  loop   ")).nth(1).unwrap_or(row);
        assert!(row.contains("2.00") && row.contains("0.250"), "{row}");
        assert!(text.contains("not measured  a-1000"), "{text}");
    }
}
