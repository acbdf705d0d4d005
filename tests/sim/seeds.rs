//! Many seeds, and one replayed.
//!
//! **Invariant:** a seed that is red is printed with all that is needed to see it again.

use crate::dice::Dice;
use crate::faults;
use crate::run::{Broken, Report, run};
use crate::script::Script;
use crate::trace::Keep;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Seeds of one run of the test.
const SEEDS: u64 = 2000;
/// Lines of the trace that a red seed prints.
const LINES: usize = 80;

pub fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number is wanted")))
}

pub fn run_seed(seed: u64, keep: Keep) -> Result<Report, Broken> {
    let script = Script::draw(&mut Dice::new(seed));
    run(&script, seed, keep)
}

/// What is the same of a rule that two runs break: numbers aside.
fn kind_of(rule: &str) -> String {
    let words = rule.chars().filter(|c| !c.is_ascii_digit());
    words.take(24).collect()
}

/// A shorter script that breaks the same rule: without acts and faults that it does not need.
fn shorten(script: Script, seed: u64, rule: &str) -> Script {
    let breaks = |shorter: &Script| {
        run(shorter, seed, Keep::Nothing)
            .is_err_and(|broken| kind_of(&broken.rule) == kind_of(rule))
    };
    let mut script = script;
    for kind in faults::ALL {
        let mut fewer = script.clone();
        fewer.faults = script.faults.without(kind);
        if script.faults.chance(kind) > 0 && breaks(&fewer) {
            script = fewer;
        }
    }
    let mut chunk = script.acts.len();
    while chunk > 0 {
        let mut at = 0;
        while at < script.acts.len() {
            let mut fewer = script.clone();
            fewer.acts.drain(at..(at + chunk).min(script.acts.len()));
            match breaks(&fewer) {
                true => script = fewer,
                false => at += chunk,
            }
        }
        chunk /= 2;
    }
    script
}

/// The seed again, its script shortened, and the end of its trace.
fn describe(seed: u64, rule: &str, lines: usize) -> String {
    let script = shorten(Script::draw(&mut Dice::new(seed)), seed, rule);
    match run(&script, seed, Keep::All) {
        Ok(_) => format!("seed {seed} broke a rule: {rule}; run again it breaks none"),
        Err(broken) => {
            let all: Vec<&str> = broken.trace.lines().collect();
            let last = all[all.len().saturating_sub(lines)..].join("\n");
            format!(
                "{script:#?}\n{last}\nseed {seed}, shortened to {} acts, broke a rule: {}\n\
                 whole: {rule}\n\
                 again: SERIALD_SIM_SEED={seed} cargo test --test sim -- --nocapture one_seed",
                script.acts.len(),
                broken.rule
            )
        }
    }
}

#[test]
fn whatever_goes_wrong_every_byte_is_accounted_for() {
    let first = number("SERIALD_SIM_FIRST").unwrap_or(1);
    let count = number("SERIALD_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let (stop, red) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let total = Mutex::new(Report::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run_seed(seed, Keep::Nothing) {
                        Ok(report) => total.lock().expect("no panic").add(&report),
                        Err(broken) => {
                            red.lock().expect("no panic").push((seed, broken.rule));
                            stop.store(number("SERIALD_SIM_ALL").is_none(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let mut red = red.into_inner().expect("no panic");
    red.sort();
    let total = total.into_inner().expect("no panic");
    eprintln!("{count} seeds: {total:?}");
    for (seed, rule) in &red {
        eprintln!("red: seed {seed}: {rule}");
    }
    if let Some((seed, rule)) = red.first() {
        panic!("{}", describe(*seed, rule, LINES));
    }
    assert!(total.bytes > 0 && total.kills > 0 && total.faults > 0, "{total:?}");
}

#[test]
fn one_seed() {
    let Some(seed) = number("SERIALD_SIM_SEED") else { return };
    let script = Script::draw(&mut Dice::new(seed));
    eprintln!("{script:#?}");
    match run(&script, seed, Keep::All) {
        Ok(report) => eprintln!("seed {seed}: green, {report:?}"),
        Err(broken) => panic!("{}\nseed {seed} broke a rule: {}", broken.trace, broken.rule),
    }
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 1..30 {
        let one = run_seed(seed, Keep::Nothing).map_err(|broken| broken.rule);
        let other = run_seed(seed, Keep::All).map_err(|broken| broken.rule);
        assert_eq!(one, other, "seed {seed}");
    }
}

impl Report {
    fn add(&mut self, other: &Report) {
        self.turns += other.turns;
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.faults += other.faults;
        self.kills += other.kills;
    }
}
