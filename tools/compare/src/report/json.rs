//! Every number, for programs.
//!
//! Owns nothing.

use super::claims::Claim;
use super::{Results, figures};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

/// The machine that all this is true of.
#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    memory: String,
}

#[derive(Serialize)]
struct Medians {
    load: String,
    collector: &'static str,
    medians: BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
struct Document<'a> {
    unix_time: u64,
    machine: Machine,
    #[serde(flatten)]
    results: &'a Results,
    medians: Vec<Medians>,
    claims: &'a [Claim],
}

/// What is in the medians, by the name it has there.
const FIGURES: [(&str, figures::Figure); 15] = [
    ("cpu_s_per_mb", figures::cpu_s_per_mb),
    ("guests_mb_per_s", figures::guests_mb_per_s),
    ("logs_mb_per_s", figures::logs_mb_per_s),
    ("guests_cpu_s_per_mb", figures::guests_cpu_s_per_mb),
    ("reads_per_kb", figures::reads_per_kb),
    ("writes_per_kb", figures::writes_per_kb),
    ("switches_per_kb", figures::switches_per_kb),
    ("p50_ms", figures::p50_ms),
    ("p99_ms", figures::p99_ms),
    ("max_ms", figures::max_ms),
    ("p99_ms_without_flood", figures::p99_ms_without_flood),
    ("rss_mb", figures::rss_mb),
    ("slab_kb_per_vm", figures::slab_kb_per_vm),
    ("heap_per_vm", figures::heap_per_vm),
    ("switches", figures::switches),
];

fn first_line(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once(':').map_or(line, |(_, rest)| rest).trim().to_string()
}

fn machine() -> Machine {
    Machine {
        kernel: first_line("/proc/sys/kernel/osrelease", ""),
        processor: first_line("/proc/cpuinfo", "model name"),
        processors: thread::available_parallelism().map_or(0, usize::from),
        memory: first_line("/proc/meminfo", "MemTotal"),
    }
}

/// A line about the machine, for people.
pub fn machine_line() -> String {
    let Machine { kernel, processor, processors, memory } = machine();
    format!("{processors} x {processor}, {memory}, Linux {kernel}")
}

/// The document.
///
/// # Errors
/// None that is known of.
pub fn document(results: &Results, claims: &[Claim]) -> Result<String> {
    let pairs = results.loads.iter().flat_map(|load| {
        results.contenders.iter().map(move |contender| (load.name.clone(), contender.name))
    });
    let medians = pairs.filter_map(|(load, collector)| {
        let medians: BTreeMap<_, _> = FIGURES
            .iter()
            .filter_map(|(name, figure)| Some((*name, results.median(&load, collector, *figure)?)))
            .collect();
        (!medians.is_empty()).then_some(Medians { load, collector, medians })
    });
    let document = Document {
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        machine: machine(),
        results,
        medians: medians.collect(),
        claims,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{results, run};
    use super::*;
    use crate::report::claims;

    #[test]
    fn runs_medians_and_claims_are_in_the_document() {
        let results = results(vec![run("seriald", "b", 1, 0.5), run("seriald", "b", 2, 0.7)]);
        let text = document(&results, &claims::all(&results)).expect("a document");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["runs"].as_array().map(Vec::len), Some(2));
        let median = document["medians"][0]["medians"]["cpu_s_per_mb"].as_f64();
        assert!(median.is_some_and(|median| (median - 0.6).abs() < 1e-9), "{median:?}");
        let claim = &document["claims"][0];
        assert_eq!(claim["bound"]["at_most"], 0.3);
        assert!(claim["verdict"]["not_measured"].is_string());
        assert!(document["machine"]["processors"].as_u64() > Some(0));
    }
}
