//! From a guest's bytes in a socket to the log: whole turns, with and without a descriptor store.
//!
//! A byte, a line, and a full socket of one-byte messages, as Cloud Hypervisor sends them; chunks of
//! 4 KiB, of one VM's budget for a turn, and of 1 MiB, which takes many turns. The guest's own
//! sends are not counted.

#[path = "support/mod.rs"]
mod support;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::Bench;

/// Messages, and the bytes of each.
const LOADS: [(usize, usize); 6] =
    [(1, 1), (81, 1), (278, 1), (1, 4 << 10), (1, 64 << 10), (1, 1 << 20)];

/// How long the loop takes for a load, which is sent as fast as the socket has room for it.
fn pumped(bench: &mut Bench, guest: &mut UnixStream, messages: usize, size: usize) -> Duration {
    let message = vec![b'x'; size];
    let whole = bench.reactor.stats().read_bytes + (messages * size) as u64;
    let (mut left, mut sent, mut took) = (messages, 0, Duration::ZERO);
    loop {
        while left > 0 {
            match guest.write(&message[sent..]) {
                Ok(n) if sent + n < size => sent += n,
                Ok(_) => (left, sent) = (left - 1, 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("the guest can't print: {error}"),
            }
        }
        took += bench.timed_turn();
        if bench.reactor.stats().read_bytes == whole {
            return took;
        }
    }
}

fn pump(c: &mut Criterion) {
    for (name, make) in [("plain", Bench::new as fn() -> Bench), ("store", Bench::with_store)] {
        let mut bench = make();
        let mut guest = bench.guests(1).pop().expect("one VM");
        let mut group = c.benchmark_group(format!("pump/{name}"));
        for (messages, size) in LOADS {
            group.throughput(Throughput::Bytes((messages * size) as u64));
            group.bench_function(BenchmarkId::new(format!("{size} B"), messages), |b| {
                b.iter_custom(|times| {
                    let one = |_| pumped(&mut bench, &mut guest, messages, size);
                    (0..times).map(one).sum::<Duration>()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pump);
criterion_main!(benches);
