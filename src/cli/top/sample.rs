//! How all VMs stood at one moment, and what has changed between two.
//!
//! Owns the reading of `GET /v1/vms`, the rates and the order.
//! **Invariant:** pure. A rate is told only of a VM that both samples have, whose counter has not
//! begun anew in between.

use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;

/// One VM, as far as it is shown.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Vm {
    pub id: String,
    pub state: String,
    pub pid: Option<u32>,
    pub read_bytes: u64,
    pub log_bytes: u64,
    pub held_bytes: u64,
    pub viewers: u64,
    log_counters: LogCounters,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct LogCounters {
    lost_bytes: u64,
    rotations: u64,
}

#[derive(Deserialize)]
struct List {
    vms: Vec<Vm>,
}

/// All VMs at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// On a clock that only goes forward.
    pub at: Duration,
    pub vms: Vec<Vm>,
}

impl Sample {
    /// Reads what `GET /v1/vms` gave.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(body: &[u8], at: Duration) -> Result<Sample, String> {
        let list: List = serde_json::from_slice(body)
            .map_err(|error| format!("the answer is no list of VMs: {error}"))?;
        Ok(Sample { at, vms: list.vms })
    }
}

/// One VM's line.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: String,
    pub state: String,
    pub pid: Option<u32>,
    /// Bytes a second that were read from its console; `None`: it is not known yet.
    pub rate: Option<u64>,
    pub read: u64,
    pub size: u64,
    pub held: u64,
    pub lost: u64,
    pub rotations: u64,
    pub viewers: u64,
}

/// By what rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// By name.
    Id,
    /// By state.
    State,
    /// By bytes a second, those that print most first.
    Rate,
    /// By bytes read.
    Read,
    /// By the size of the log's present generation.
    Size,
    /// By bytes that wait in memory, because the log can't be written.
    Held,
    /// By bytes lost.
    Lost,
    /// By rotations.
    Rotations,
    /// By viewers of the console.
    Viewers,
}

/// The sum of all VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub vms: usize,
    pub streaming: usize,
    pub rate: u64,
    pub held: u64,
    pub lost: u64,
}

/// What has changed from one sample to the next, a row for each VM of the later one.
pub fn rows(before: Option<&Sample>, now: &Sample) -> Vec<Row> {
    let earlier: HashMap<&str, u64> = match before {
        None => HashMap::new(),
        Some(before) => before.vms.iter().map(|vm| (&*vm.id, vm.read_bytes)).collect(),
    };
    let passed = before.and_then(|before| now.at.checked_sub(before.at));
    let passed = passed.map(|passed| passed.as_secs_f64()).filter(|passed| *passed > 0.0);
    let row = |vm: &Vm| {
        let more = earlier.get(&*vm.id).and_then(|earlier| vm.read_bytes.checked_sub(*earlier));
        let rate = more.zip(passed).map(|(more, passed)| (more as f64 / passed).round() as u64);
        Row {
            id: vm.id.clone(),
            state: vm.state.clone(),
            pid: vm.pid,
            rate,
            read: vm.read_bytes,
            size: vm.log_bytes,
            held: vm.held_bytes,
            lost: vm.log_counters.lost_bytes,
            rotations: vm.log_counters.rotations,
            viewers: vm.viewers,
        }
    };
    now.vms.iter().map(row).collect()
}

/// Brings the rows in order: numbers from the largest, words from A; among equals by name.
pub fn sort(rows: &mut [Row], by: Sort, reversed: bool) {
    let number = |row: &Row| match by {
        Sort::Id | Sort::State => 0,
        Sort::Rate => row.rate.map_or(0, |rate| rate.saturating_add(1)),
        Sort::Read => row.read,
        Sort::Size => row.size,
        Sort::Held => row.held,
        Sort::Lost => row.lost,
        Sort::Rotations => row.rotations,
        Sort::Viewers => row.viewers,
    };
    rows.sort_unstable_by(|one, other| {
        let order = match by {
            Sort::Id => one.id.cmp(&other.id),
            Sort::State => one.state.cmp(&other.state),
            _ => number(other).cmp(&number(one)),
        };
        let order = if reversed { order.reverse() } else { order };
        order.then_with(|| one.id.cmp(&other.id))
    });
}

/// All rows together.
pub fn sum(rows: &[Row]) -> Sum {
    rows.iter().fold(Sum::default(), |sum, row| Sum {
        vms: sum.vms + 1,
        streaming: sum.streaming + usize::from(row.state == "streaming"),
        rate: sum.rate.saturating_add(row.rate.unwrap_or(0)),
        held: sum.held.saturating_add(row.held),
        lost: sum.lost.saturating_add(row.lost),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(at: u64, vms: &[(&str, u64)]) -> Sample {
        let vm = |(id, read_bytes): &(&str, u64)| Vm {
            id: (*id).into(),
            read_bytes: *read_bytes,
            ..Vm::default()
        };
        Sample { at: Duration::from_secs(at), vms: vms.iter().map(vm).collect() }
    }

    #[test]
    fn a_rate_needs_two_samples_of_the_same_counter() {
        let before = sample(10, &[("a", 1000), ("anew", 5000), ("gone", 7)]);
        let now = sample(14, &[("a", 3000), ("anew", 20), ("new", 9)]);
        let rates: Vec<Option<u64>> =
            rows(Some(&before), &now).iter().map(|row| row.rate).collect();
        assert_eq!(rates, [Some(500), None, None]);
        assert!(rows(None, &now).iter().all(|row| row.rate.is_none()));
        // No time has passed.
        assert!(rows(Some(&now), &now).iter().all(|row| row.rate.is_none()));
    }

    #[test]
    fn rows_come_in_the_order_that_is_asked_for() {
        let before = sample(0, &[("a", 0), ("b", 0), ("c", 0)]);
        let mut rows =
            rows(Some(&before), &sample(1, &[("c", 5), ("new", 99), ("b", 9), ("a", 5)]));
        let mut ids = |by, reversed| {
            sort(&mut rows, by, reversed);
            rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(Sort::Id, false), ["a", "b", "c", "new"]);
        assert_eq!(ids(Sort::Id, true), ["new", "c", "b", "a"]);
        assert_eq!(ids(Sort::Rate, false), ["b", "a", "c", "new"]);
        assert_eq!(ids(Sort::Rate, true), ["new", "a", "c", "b"]);
        assert_eq!(ids(Sort::Read, false), ["new", "b", "a", "c"]);
        assert_eq!(ids(Sort::Lost, false), ["a", "b", "c", "new"]);
    }

    #[test]
    fn what_the_api_tells_is_read_and_anything_else_refused() {
        let vm = json!({"id": "a", "state": "streaming", "pid": 7, "read_bytes": 10,
            "log_bytes": 6, "held_bytes": 4, "viewers": 2, "serial": "/s",
            "log_counters": {"lost_bytes": 3, "rotations": 1, "written_bytes": 6}});
        let body = json!({"vms": [vm]}).to_string();
        let now = Sample::read(body.as_bytes(), Duration::ZERO).expect("a list");
        let row = rows(None, &now).remove(0);
        assert_eq!((row.pid, row.read, row.size, row.held), (Some(7), 10, 6, 4));
        assert_eq!((row.lost, row.rotations, row.viewers), (3, 1, 2));
        let sum = sum(&[row]);
        assert_eq!(sum, Sum { vms: 1, streaming: 1, rate: 0, held: 4, lost: 3 });
        assert!(Sample::read(b"{}", Duration::ZERO).is_err());
        assert!(Sample::read(b"[1", Duration::ZERO).is_err());
    }
}
