//! What a turn costs with few or many VMs that are silent: one in which a single byte of another VM
//! is read, and one in which nothing is ready.
//!
//! Ten thousand VMs take 100,140 descriptors (`ulimit -n`); with fewer there are fewer VMs, and the
//! benchmark's name says how many.

#[path = "support/mod.rs"]
mod support;

use std::io::Write;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use support::Bench;

fn turn(c: &mut Criterion) {
    for idle in [1, 100, 10_000] {
        let mut bench = Bench::new();
        let mut guests = bench.guests(idle + 1);
        let mut ready = guests.pop().expect("one more");
        let idle = guests.len();
        c.bench_function(&format!("turn/one ready/{idle} idle"), |b| {
            b.iter_custom(|times| {
                let one = |_| {
                    ready.write_all(b"x").expect("room");
                    bench.timed_turn()
                };
                (0..times).map(one).sum::<Duration>()
            });
        });
        c.bench_function(&format!("turn/none ready/{idle} idle"), |b| {
            b.iter(|| bench.reactor.turn(Some(Duration::ZERO)).expect("a turn"));
        });
        // The streams end first: their VMs are then left at once.
        drop((guests, ready));
    }
}

criterion_group!(benches, turn);
criterion_main!(benches);
