//! What is read and written in text: Cloud Hypervisor's HTTP, its configurations, the events file,
//! the messages to a service manager, the echo of what was typed.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seriald::ch::api::Call;
use seriald::ch::http::{Fed, ResponseParser};
use seriald::ch::vm_config::with_serial_socket;
use seriald::control::echo::Echo;
use seriald::handover::notify::{Heard, Message, listen_names};
use seriald::log::record::{Generation, Record, What};

/// A configuration of the size that `vm.create` and a snapshot have.
fn config() -> String {
    let disk =
        |n| format!(r#"{{"path":"/var/lib/vms/a/disk{n}.raw","readonly":false,"id":"_d{n}"}}"#);
    let disks: Vec<String> = (0..8).map(disk).collect();
    let cpus = r#""cpus":{"boot_vcpus":2,"max_vcpus":2,"topology":null,"max_phys_bits":46}"#;
    let serial = r#""serial":{"file":"/var/lib/vms/a/app.log","mode":"File","iommu":false}"#;
    let payload = r#""payload":{"kernel":"/boot/vmlinux","cmdline":"console=ttyS0 root=/dev/vda"}"#;
    let disks = disks.join(",");
    format!(r#"{{{cpus},"memory":{{"size":268435456}},{payload},"disks":[{disks}],{serial}}}"#)
}

fn http(c: &mut Criterion) {
    let body = format!(r#"{{"config":{},"state":"Running","memory_actual_size":1}}"#, config());
    let info = format!("HTTP/1.1 200 \r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut group = c.benchmark_group("http");
    for (name, answer) in [("204", "HTTP/1.1 204 \r\nServer: X\r\n\r\n"), ("vm.info", &info)] {
        group.throughput(Throughput::Bytes(answer.len() as u64));
        group.bench_function(format!("answer {name}"), |b| {
            b.iter(|| {
                let fed = ResponseParser::new().feed(black_box(answer.as_bytes()));
                assert!(matches!(fed, Ok(Fed::Done { .. })));
            });
        });
    }
    group.bench_function("answer vm.info byte by byte", |b| {
        b.iter(|| {
            let mut parser = ResponseParser::new();
            let is_done = |byte| matches!(parser.feed(&[byte]), Ok(Fed::Done { .. }));
            assert!(info.bytes().any(is_done));
        });
    });
    group.bench_function("request", |b| {
        b.iter(|| black_box(Call::Info).request().encode().expect("it is short"));
    });
    group.finish();
}

fn configurations(c: &mut Criterion) {
    let config = config();
    let mut group = c.benchmark_group("configuration");
    group.throughput(Throughput::Bytes(config.len() as u64));
    group.bench_function("serial socket in place of a file", |b| {
        let socket = Path::new("/var/lib/vms/a/serial.sock");
        b.iter(|| with_serial_socket(black_box(&config), socket).expect("a configuration"));
    });
    group.finish();
}

fn events(c: &mut Criterion) {
    let at = |what| {
        let time = Duration::from_millis(1_795_523_696_789);
        Record { time, offset: 1 << 40, size: 1 << 20, what }
    };
    let (generation, start, end, bytes) = (3, 1 << 30, 1 << 40, 1 << 20);
    let (inode, next_inode) = (1_234_567, 1_234_568);
    let rotated = Generation { generation, start, end, bytes, inode, next_inode, newest: None };
    let mut group = c.benchmark_group("events file");
    for (name, record) in [("mark", at(What::Mark)), ("rotated", at(What::Rotated(rotated)))] {
        group.bench_function(format!("{name} written"), |b| b.iter(|| black_box(&record).encode()));
        let line = record.encode();
        group.bench_function(format!("{name} read"), |b| {
            b.iter(|| Record::decode(black_box(line.as_bytes())).expect("a record"));
        });
    }
    group.finish();
}

fn notify(c: &mut Criterion) {
    let mut group = c.benchmark_group("notify");
    let store = Message::Store("s9999".into());
    group.bench_function("descriptor to be kept", |b| b.iter(|| black_box(&store).to_string()));
    let datagram = store.to_string();
    group.bench_function("the same heard", |b| {
        b.iter(|| Heard::of(black_box(datagram.as_bytes())));
    });
    let names: Vec<String> = (0..10_000).map(|n| format!("s{n}")).collect();
    let names = names.join(":");
    group.bench_function("names of 10000 descriptors", |b| {
        b.iter(|| listen_names(Some("1"), Some("10000"), Some(black_box(&names)), 1));
    });
    group.finish();
}

/// Lines of 64 letters, none of which comes twice.
fn lines(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let letter = |n| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if n % 65 == 64 { b'\n' } else { b'a' + (state >> 40) as u8 % 26 }
    };
    (0..length).map(letter).collect()
}

fn echo(c: &mut Criterion) {
    let (typed, others) = (lines(1, 128 * 1024), lines(2, 128 * 1024));
    let sent = || {
        let mut echo = Echo::default();
        echo.on_sent(&typed);
        echo
    };
    let mut group = c.benchmark_group("echo of 128 KiB");
    group.throughput(Throughput::Bytes(typed.len() as u64));
    group.bench_function("sent", |b| b.iter(|| black_box(sent()).unproved()));
    group.bench_function("printed in step", |b| {
        b.iter_batched_ref(sent, |echo| echo.on_printed(black_box(&typed)), BatchSize::LargeInput);
    });
    group.bench_function("something else printed", |b| {
        let mut echo = sent();
        b.iter(|| assert_eq!(echo.on_printed(black_box(&others)), 0));
    });
    group.bench_function("printed while nothing is unproved", |b| {
        let mut echo = Echo::default();
        b.iter(|| assert_eq!(echo.on_printed(black_box(&others)), 0));
    });
    group.finish();
}

criterion_group!(benches, http, configurations, events, notify, echo);
criterion_main!(benches);
