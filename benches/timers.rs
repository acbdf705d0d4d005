//! The order of deadlines: what a read does to its VM's, and what a timer that fires does, with few
//! or many VMs that have one.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use seriald::reactor::bench::Deadlines;

const MS: Duration = Duration::from_millis(1);

fn timers(c: &mut Criterion) {
    for vms in [1, 100, 10_000] {
        // Deadlines as they are in a fleet: one a millisecond.
        let armed = || {
            let mut deadlines = Deadlines::new(vms);
            for vm in 0..vms {
                deadlines.set(vm, Some(MS * (vm as u32 + 1)));
            }
            deadlines
        };
        let id = |what: &str| format!("timers/{what}/{vms}");

        let mut deadlines = armed();
        // A stride that is prime to the numbers of VMs: no order that a cache likes.
        let order: Vec<usize> = (0..vms).map(|n| n * 7_919 % vms).collect();
        let mut order = order.iter().copied().cycle();
        let mut next = || order.next().expect("without an end");
        let mut later = MS * 20_000;
        c.bench_function(&id("moved"), |b| {
            b.iter(|| {
                later += MS;
                deadlines.set(next(), Some(black_box(later)));
            });
        });
        let mut deadlines = armed();
        c.bench_function(&id("left as it is"), |b| {
            b.iter(|| {
                let vm = next();
                deadlines.set(vm, Some(black_box(MS * (vm as u32 + 1))));
            });
        });
        let mut deadlines = armed();
        let mut now = MS;
        c.bench_function(&id("fired"), |b| {
            b.iter(|| {
                let due = deadlines.due(now).expect("one a millisecond");
                now += MS;
                deadlines.set(due, Some(now + MS * (vms as u32 - 1)));
            });
        });
    }
}

criterion_group!(benches, timers);
criterion_main!(benches);
