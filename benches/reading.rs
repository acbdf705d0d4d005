//! What it costs to keep the read in flight for a successor: recvmmsg(2) into shared memory and a
//! copy, beside a plain read(2).
//!
//! A full socket of one-byte messages, as Cloud Hypervisor sends them, and one chunk of 4 KiB.

use std::hint::black_box;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use seriald::env::os::{OsEnv, OsStream};
use seriald::env::{Interest, Remains, Sockets};

const MESSAGES: usize = 278;

struct Pair {
    env: OsEnv,
    stream: OsStream,
    client: UnixStream,
    into: Vec<u8>,
    _dir: tempfile::TempDir,
}

fn pair() -> Pair {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a listener");
    let mut env = OsEnv::new().expect("a world");
    env.open_remains(None).expect("memory for a successor");
    let (stream, _) = env.connect(&path, None, 1, Interest::Read).expect("a stream");
    let (client, _) = listener.accept().expect("a client");
    Pair { env, stream, client, into: vec![0; 65536], _dir: dir }
}

fn bytewise(client: &mut UnixStream) {
    for _ in 0..MESSAGES {
        client.write_all(b"x").expect("room");
    }
}

fn chunk(client: &mut UnixStream) {
    client.write_all(&[b'x'; 4096]).expect("room");
}

fn reading(c: &mut Criterion) {
    for (load, send) in [("bytewise", bytewise as fn(&mut UnixStream)), ("chunk", chunk)] {
        let mut group = c.benchmark_group(load);
        let mut one = pair();
        group.bench_function("read", |b| {
            let Pair { env, stream, client, into, .. } = &mut one;
            let read = |()| black_box(env.read(stream, into).expect("bytes"));
            b.iter_batched(|| send(client), read, BatchSize::PerIteration);
        });
        let mut one = pair();
        group.bench_function("read for a successor", |b| {
            let Pair { env, stream, client, into, .. } = &mut one;
            let read = |()| {
                black_box(env.read_for_successor(stream, 7, into).expect("bytes"));
                env.landed();
            };
            b.iter_batched(|| send(client), read, BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(benches, reading);
criterion_main!(benches);
