//! The table of slots: from an event's token to its slot, one that is stale included, and a VM that
//! comes and goes.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use seriald::reactor::bench::Slots;

fn table(c: &mut Criterion) {
    for vms in [1, 100, 10_000] {
        let id = |what: &str| format!("table/{what}/{vms}");
        let mut slots = Slots::new(vms);
        let tokens = slots.tokens();
        // A stride that is prime to the numbers of VMs: no order that a cache likes.
        let order: Vec<usize> = (0..vms).map(|n| n * 7_919 % vms).collect();
        let mut order = order.iter().copied().cycle();
        let mut next = || order.next().expect("without an end");
        c.bench_function(&id("found by token"), |b| {
            b.iter(|| {
                assert!(slots.mark(black_box(tokens[next()])));
            });
        });
        c.bench_function(&id("one goes, one comes"), |b| {
            b.iter(|| slots.replace(black_box(next())));
        });
        slots.replace(0);
        c.bench_function(&id("stale token"), |b| {
            b.iter(|| assert!(!slots.mark(black_box(tokens[0]))));
        });
    }
}

criterion_group!(benches, table);
criterion_main!(benches);
