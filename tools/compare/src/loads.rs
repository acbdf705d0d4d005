//! What is asked of each collector.
//!
//! Owns nothing.
//! **Invariant:** a load is the same for all: it is chosen and scaled before anybody is started.

use crate::guests::drive::Pace;
use crate::guests::text::{BLOCK, LINE, Text};
use anyhow::{Result, bail};
use serde::Serialize;
use std::time::Duration;

/// Time between two rotations.
const ROTATION_EVERY: Duration = Duration::from_millis(100);
/// After its last byte a collector may have something to do for so long (a second look, a mark in
/// an account): that is not idleness yet.
const IDLE_AFTER: Duration = Duration::from_secs(6);
/// How far before its limit seriald cuts a log at a line's end: 4 KiB, a sixteenth of small ones.
const LINE_SLACK: u64 = 4096;
/// Descriptors that seriald sets aside for a VM: the most that anybody needs.
const DESCRIPTORS_PER_VM: u64 = 10;
/// Those that are needed whatever the number of VMs.
const DESCRIPTORS_BESIDE: u64 = 1000;

/// What the guests do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Each prints so many bytes, as fast as its socket takes them.
    FlatOut {
        /// What it prints.
        text: Text,
        /// How much.
        bytes_each: u64,
    },
    /// All print at a pace.
    Paced(Pace),
    /// They do so twice; the second time one of them floods.
    Flood(Pace),
    /// Each prints a line, as every guest does that boots; then nobody prints.
    Idle {
        /// How long after that line idleness begins.
        after: Duration,
        /// How long it is looked at.
        lasting: Duration,
    },
    /// All print at a pace, while some look at the first one's console.
    Viewed {
        /// The pace.
        pace: Pace,
        /// How many look; one of ten never reads.
        viewers: usize,
    },
    /// All print at a pace, while clients of the collector's API do their worst.
    Besieged {
        /// The pace.
        pace: Pace,
        /// How many at once.
        clients: usize,
    },
    /// All print at a pace, and one log after another reaches its limit.
    Rotation {
        /// How a log is rotated: seriald's word for it.
        mode: &'static str,
        /// The pace.
        pace: Pace,
        /// Bytes at which a log is rotated.
        max_bytes: u64,
    },
}

/// A load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The letter of its kind, and what tells it from others of that kind.
    pub name: String,
    /// How many VMs.
    pub vms: usize,
    /// What they do.
    pub work: Work,
}

/// How large the loads are.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    /// So much longer, or more.
    pub scale: f64,
    /// How fast a guest prints a line where a pace is kept, in kB/s; 0: as fast as sends go.
    pub guest_kbps: u32,
    /// Few VMs, and little of everything: a smoke test, whose numbers mean nothing.
    pub quick: bool,
}

/// A log that is to be rotated: so large it has to be at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefill {
    /// Whose.
    pub vm: usize,
    /// Bytes.
    pub bytes: u64,
}

impl Work {
    /// What the guests print.
    pub fn text(&self) -> Text {
        match self {
            Work::FlatOut { text, .. } => *text,
            _ => Text::Lines,
        }
    }

    /// Whether the collector's API is asked meanwhile.
    pub fn asks(&self) -> bool {
        matches!(self, Work::Viewed { .. } | Work::Besieged { .. })
    }
}

impl Load {
    /// What the load is, for people.
    pub fn about(&self) -> String {
        let vms = self.vms;
        match self.work {
            Work::FlatOut { text: Text::Lines, bytes_each } => {
                format!("{vms} VMs, byte by byte, flat out, {bytes_each} bytes each")
            }
            Work::FlatOut { text: Text::Blocks, bytes_each } => {
                format!("{vms} VMs, in chunks of 64 KiB, flat out, {bytes_each} bytes each")
            }
            Work::Paced(pace) => format!("{vms} VMs, {}", said(&pace)),
            Work::Flood(pace) => {
                format!("{vms} VMs, {}, then the same with one more that floods", said(&pace))
            }
            Work::Viewed { pace, viewers } => {
                format!("{vms} VMs, {}, looked at by {viewers}", said(&pace))
            }
            Work::Besieged { pace, clients } => {
                format!("{vms} VMs, {}, beside {clients} hostile clients", said(&pace))
            }
            Work::Idle { after, lasting } => format!(
                "{vms} VMs that print a line each, then nothing; from {} s after, for {} s",
                after.as_secs_f64(),
                lasting.as_secs_f64()
            ),
            Work::Rotation { mode, pace, max_bytes } => format!(
                "{vms} VMs, {}; every {} ms a log reaches {max_bytes} bytes: {mode}",
                said(&pace),
                ROTATION_EVERY.as_millis()
            ),
        }
    }

    /// The logs that have to be filled before, so that one is rotated after another.
    pub fn prefills(&self) -> Vec<Prefill> {
        let Work::Rotation { pace, max_bytes, .. } = self.work else { return Vec::new() };
        let vms = self.vms as u64;
        let step = (f64::from(pace.lines_per_s) * ROTATION_EVERY.as_secs_f64()) as u64;
        let lines = (f64::from(pace.lines_per_s) * pace.lasting.as_secs_f64()) as u64;
        let soft = max_bytes - LINE_SLACK.min(max_bytes / 16);
        // The line that fills a log; each time around the VMs it is the next one's turn.
        let filling = (0..).map(|turn| turn * step + turn * step / vms);
        let filling = filling.take_while(|line| *line < lines);
        let prefill = |line: u64| {
            let printed = (line / vms + 1) * LINE as u64;
            // With that line the log ends half a line above the limit, before it half a line below.
            Prefill { vm: (line % vms) as usize, bytes: soft - printed + LINE as u64 / 2 }
        };
        filling.map(prefill).collect()
    }

    /// Bytes on the disk at most, a collector's own notes included.
    pub fn disk_bytes(&self) -> u64 {
        let paced = |pace: &Pace| {
            let lines = f64::from(pace.lines_per_s) * pace.lasting.as_secs_f64();
            // A flood is no faster than 4 MB/s: a send(2) per byte.
            (lines * LINE as f64 + 4e6 * pace.lasting.as_secs_f64()) as u64
        };
        let own = self.vms as u64 * 8192;
        own + match &self.work {
            Work::FlatOut { bytes_each, .. } => bytes_each * self.vms as u64,
            Work::Paced(pace) | Work::Viewed { pace, .. } | Work::Besieged { pace, .. } => {
                paced(pace)
            }
            Work::Flood(pace) => 2 * paced(pace),
            Work::Idle { .. } => 0,
            Work::Rotation { pace, max_bytes, .. } => {
                let copies = 2 * max_bytes * self.prefills().len() as u64;
                paced(pace) + copies
            }
        }
    }

    /// Descriptors that one process needs at most: seriald sets ten aside for a VM.
    pub fn descriptors(&self) -> u64 {
        self.vms as u64 * DESCRIPTORS_PER_VM + DESCRIPTORS_BESIDE
    }

    /// The same load with as many VMs as so many descriptors are enough for, where their number
    /// says little: VMs that are idle.
    ///
    /// # Errors
    /// Where they are not enough.
    pub fn within(mut self, descriptors: u64) -> Result<Load> {
        let needed = self.descriptors();
        if descriptors < needed {
            let room = descriptors.saturating_sub(DESCRIPTORS_BESIDE) / DESCRIPTORS_PER_VM;
            if !matches!(self.work, Work::Idle { .. }) || room < 2 {
                bail!("{needed} descriptors are needed, and {descriptors} allowed (ulimit -n)");
            }
            self.vms = usize::try_from(room)?;
        }
        Ok(self)
    }
}

fn said(pace: &Pace) -> String {
    let seconds = pace.lasting.as_secs_f64();
    format!("byte by byte, {} lines/s in total, for {seconds} s", pace.lines_per_s)
}

/// Every load, in order.
pub fn all(size: Size) -> Vec<Load> {
    let quick = size.quick;
    let amount = |full: f64, smoke: f64| if quick { smoke } else { full * size.scale };
    let number = |full: usize, smoke: usize| if quick { smoke } else { full };
    let mut loads = Vec::new();
    let mut add = |name: String, vms: usize, work: Work| loads.push(Load { name, vms, work });

    let lines = amount(50_000.0, 1000.0);
    let flat_out: &[usize] = if quick { &[1, 16] } else { &[1, 100, 1000] };
    for &vms in flat_out {
        let bytes_each = (lines / vms as f64).ceil() as u64 * LINE as u64;
        add(format!("a-{vms}"), vms, Work::FlatOut { text: Text::Lines, bytes_each });
    }
    let vms = number(1000, 16);
    let lines_per_s = vms as u32 * number(2, 20) as u32;
    let lasting = Duration::from_secs_f64(amount(5.0, 0.3));
    let per_byte = Duration::from_secs(1).checked_div(size.guest_kbps * 1000).unwrap_or_default();
    let pace = Pace { lines_per_s, per_byte, lasting, flood: false };
    add("b".into(), vms, Work::Paced(pace));
    let blocks = amount(16_384.0, 64.0);
    for vms in [1, number(100, 4)] {
        let bytes_each = (blocks / vms as f64).ceil() as u64 * BLOCK as u64;
        add(format!("c-{vms}"), vms, Work::FlatOut { text: Text::Blocks, bytes_each });
    }
    let lasting = Duration::from_secs_f64(amount(30.0, 0.3));
    let after = if quick { Duration::from_millis(100) } else { IDLE_AFTER };
    add("d".into(), number(10_000, 16), Work::Idle { after, lasting });
    add("e".into(), vms + 1, Work::Flood(pace));
    let max_bytes = if quick { 1 << 20 } else { 8 << 20 };
    for mode in ["rename", "copytruncate"] {
        add(format!("f-{mode}"), vms, Work::Rotation { mode, pace, max_bytes });
    }
    // One guest that prints line upon line: its own speed is what it is to keep.
    let lines_per_s = size.guest_kbps.clamp(1, 1000) * 1000 / LINE as u32 * 9 / 10;
    let alone = Pace { lines_per_s, ..pace };
    for viewers in [0, number(100, 10)] {
        add(format!("g-{viewers}"), 1, Work::Viewed { pace: alone, viewers });
    }
    // Half of what b's guests take of a processor: hostile clients need theirs.
    let vms = number(100, 4);
    let slow = Pace { lines_per_s: pace.lines_per_s / 2, ..pace };
    for clients in [0, number(1000, 20)] {
        add(format!("h-{clients}"), vms, Work::Besieged { pace: slow, clients });
    }
    loads
}

/// Those of `loads` that are asked for, by name or by letter; none asked for: all.
///
/// # Errors
/// A name that is none.
pub fn choose(loads: Vec<Load>, asked: &[String]) -> Result<Vec<Load>> {
    let is_asked = |load: &Load, name: &String| {
        load.name == *name || load.name.split('-').next() == Some(name.as_str())
    };
    if let Some(unknown) = asked.iter().find(|name| !loads.iter().any(|load| is_asked(load, name)))
    {
        let names: Vec<_> = loads.iter().map(|load| load.name.as_str()).collect();
        bail!(
            "--load: there is no load {unknown:?}: it is a letter, or one of {}",
            names.join(", ")
        );
    }
    let chosen = |load: &Load| asked.is_empty() || asked.iter().any(|name| is_asked(load, name));
    Ok(loads.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const FULL: Size = Size { scale: 1.0, guest_kbps: 300, quick: false };

    fn named(name: &str) -> Load {
        let loads = choose(all(FULL), &[name.to_string()]).expect("a load");
        loads.into_iter().next().expect("one")
    }

    #[test]
    fn a_letter_stands_for_all_loads_of_its_kind() {
        let names = |asked: &[&str]| -> Vec<String> {
            let asked: Vec<_> = asked.iter().map(ToString::to_string).collect();
            let chosen = choose(all(FULL), &asked).expect("loads");
            chosen.into_iter().map(|load| load.name).collect()
        };
        assert_eq!(names(&["a"]), ["a-1", "a-100", "a-1000"]);
        assert_eq!(names(&["d", "c-1"]), ["c-1", "d"]);
        assert_eq!(names(&[]).len(), 14);
    }

    #[test]
    fn a_load_that_is_none_is_refused_with_those_that_are() {
        let error = choose(all(FULL), &["a".into(), "x".into()]).expect_err("no load").to_string();
        assert!(error.contains("\"x\"") && error.contains("f-rename"), "{error}");
    }

    #[test]
    fn a_log_is_filled_every_100_ms_and_none_twice() {
        for (load, expected) in
            [(named("f-rename"), 50), (all(Size { quick: true, ..FULL })[7].clone(), 3)]
        {
            let prefills = load.prefills();
            let vms: BTreeSet<_> = prefills.iter().map(|prefill| prefill.vm).collect();
            assert_eq!((prefills.len(), vms.len()), (expected, expected), "{}", load.name);
        }
    }

    #[test]
    fn a_prefilled_log_reaches_the_limit_with_the_line_that_was_meant() {
        let load = named("f-copytruncate");
        let Work::Rotation { max_bytes, .. } = load.work else { panic!("no rotation") };
        let soft = max_bytes - LINE_SLACK;
        for (number, prefill) in load.prefills().iter().enumerate() {
            // 200 lines, a fifth of a turn over the VMs, are printed in 100 ms.
            let lines = number as u64 / 5 + 1;
            assert!(prefill.bytes + (lines - 1) * 81 < soft, "too early: {prefill:?}");
            assert!(prefill.bytes + lines * 81 >= soft, "too late: {prefill:?}");
        }
    }

    #[test]
    fn idle_vms_are_as_many_as_there_are_descriptors_for_and_others_all_or_none() {
        assert_eq!(named("d").within(20_000).expect("fewer").vms, 1900);
        assert_eq!(named("d").within(101_000).expect("all").vms, 10_000);
        assert_eq!(named("b").within(11_000).expect("all").vms, 1000);
        let error = named("b").within(10_999).expect_err("too few").to_string();
        assert!(error.contains("ulimit"), "{error}");
    }

    #[test]
    fn a_scale_makes_loads_longer_but_no_more_vms() {
        let large = all(Size { scale: 2.0, ..FULL });
        for (load, twice) in all(FULL).iter().zip(&large) {
            assert_eq!(load.vms, twice.vms);
        }
        let bytes = |load: &Load| match load.work {
            Work::FlatOut { bytes_each, .. } => bytes_each,
            _ => 0,
        };
        assert_eq!(bytes(&all(FULL)[0]) * 2, bytes(&large[0]));
    }
}
