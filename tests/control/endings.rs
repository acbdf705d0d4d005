//! The last bytes of a VM that goes, or of a seriald that ends, to those who read.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use seriald::VmId;
use seriald::limits::CONTROL_FAREWELL;

use super::deadlines::Stopped;
use super::noting::settle;
use super::support::embedded::spec;
use super::viewer::bytes_from;

/// More than a ring and two sockets hold.
const MUCH: usize = 2 << 20;

/// A VM whose log is rotated all the time, in a loop that turns when the test says so.
struct Scene {
    stopped: Stopped,
    vm: VmId,
    console: UnixStream,
    printed: u64,
}

impl Scene {
    fn new() -> Scene {
        let mut stopped = Stopped::new();
        let mut spec = spec("a", &stopped.dir.path().join("a"), 64 * 1024);
        fs::create_dir(stopped.dir.path().join("a")).expect("made");
        spec.log.root = None;
        let listener = UnixListener::bind(&spec.serial).expect("bound");
        let vm = stopped.reactor.adopt(spec).expect("adopted");
        settle(&mut stopped.reactor);
        let (console, _) = listener.accept().expect("a client");
        settle(&mut stopped.reactor);
        Scene { stopped, vm, console, printed: 0 }
    }

    fn print(&mut self, bytes: usize) {
        for _ in 0..bytes.div_ceil(16_384) {
            let piece = bytes_from(self.printed, 16_384);
            self.console.write_all(&piece).expect("sent");
            self.printed += piece.len() as u64;
            settle(&mut self.stopped.reactor);
        }
    }

    /// Asks for something, and does not read what comes.
    fn ask(&mut self, request: &str) -> Reader {
        let mut stream = UnixStream::connect(&self.stopped.path).expect("connected");
        stream.write_all(request.as_bytes()).expect("sent");
        stream.set_nonblocking(true).expect("set");
        settle(&mut self.stopped.reactor);
        Reader { stream, taken: Vec::new(), has_ended: false }
    }

    fn follow(&mut self, query: &str) -> Reader {
        self.ask(&format!("GET /v1/vms/a/log?follow{query} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn view(&mut self, query: &str) -> Reader {
        self.ask(&format!(
            "GET /v1/vms/a/console?mode=spy{query} HTTP/1.1\r\nHost: x\r\n\
             Connection: upgrade\r\nUpgrade: seriald-frames\r\n\r\n"
        ))
    }

    /// Has the VM released, and its end read.
    fn release(&mut self) {
        assert!(self.stopped.reactor.release(self.vm));
        self.console.shutdown(std::net::Shutdown::Write).expect("shut down");
        settle(&mut self.stopped.reactor);
        assert!(self.stopped.reactor.status(self.vm).is_none(), "it is gone");
    }

    /// Those of its files that are open.
    fn open_files(&self) -> Vec<PathBuf> {
        let home = self.stopped.dir.path().join("a");
        let open = fs::read_dir("/proc/self/fd").expect("/proc");
        let files = open.filter_map(|number| fs::read_link(number.ok()?.path()).ok());
        files.filter(|file| file.starts_with(&home)).collect()
    }

    /// Turns while a client reads, until nothing more comes.
    fn read(&mut self, reader: &mut Reader) {
        loop {
            let before = reader.taken.len();
            reader.take();
            settle(&mut self.stopped.reactor);
            reader.take();
            if reader.taken.len() == before {
                return;
            }
        }
    }
}

struct Reader {
    stream: UnixStream,
    taken: Vec<u8>,
    has_ended: bool,
}

impl Reader {
    /// Takes what there is.
    fn take(&mut self) {
        let mut piece = [0; 65_536];
        while !self.has_ended {
            match self.stream.read(&mut piece) {
                Ok(0) => self.has_ended = true,
                Ok(n) => self.taken.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn body(&self) -> &[u8] {
        let end = self.taken.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
        &self.taken[end + 4..]
    }

    /// The chunks of a body, and whether it has its last one.
    fn chunks(&self) -> (Vec<u8>, bool) {
        let (mut all, mut rest) = (Vec::new(), self.body());
        while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
            let size = std::str::from_utf8(&rest[..end]).expect("digits");
            let size = usize::from_str_radix(size, 16).expect("a size");
            if size == 0 {
                return (all, true);
            }
            all.extend_from_slice(&rest[end + 2..][..size]);
            rest = &rest[end + 2 + size + 2..];
        }
        (all, false)
    }

    /// The output in the frames of a console, and the words of its notices.
    fn frames(&self) -> (Vec<u8>, Vec<String>) {
        let (mut output, mut words, mut rest) = (Vec::new(), Vec::new(), self.body());
        while let [kind, a, b, c, more @ ..] = rest {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            let (payload, after) = more.split_at(length);
            match kind {
                b'o' => output.extend_from_slice(payload),
                _ => {
                    let notice: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
                    words.push(notice["notice"].as_str().expect("a word").to_owned());
                }
            }
            rest = after;
        }
        (output, words)
    }
}

#[test]
fn a_viewer_in_the_history_has_the_last_byte_of_a_vm_that_goes() {
    let mut scene = Scene::new();
    scene.print(MUCH);
    let mut viewer = scene.view(&format!("&history={MUCH}"));
    scene.print(MUCH);
    scene.release();
    scene.read(&mut viewer);
    let (output, words) = viewer.frames();
    assert!(output == bytes_from(0, 2 * MUCH), "{} bytes", output.len());
    assert_eq!((words.last().map(String::as_str), viewer.has_ended), (Some("console_gone"), true));
    assert!(!words.contains(&"missing".to_owned()), "{words:?}");
}

#[test]
fn one_who_fell_behind_a_log_has_the_last_byte_of_a_vm_that_goes() {
    let mut scene = Scene::new();
    let mut follower = scene.follow("");
    scene.print(16_384);
    // It has come up to what is printed, and then reads nothing for a while.
    scene.read(&mut follower);
    let mut others = [scene.follow("&offset=0"), scene.follow("&format=records&tail=1")];
    scene.read(&mut others[0]);
    scene.read(&mut others[1]);
    scene.print(MUCH);
    scene.release();
    assert_ne!(scene.open_files(), [] as [PathBuf; 0], "what they are yet to read");
    scene.read(&mut follower);
    let (bytes, is_whole) = follower.chunks();
    assert!(bytes == bytes_from(0, 16_384 + MUCH), "{} bytes", bytes.len());
    assert!(is_whole && !follower.has_ended, "the connection goes on");
    for other in &mut others {
        scene.read(other);
        assert!(other.chunks().1);
    }
    assert!(others[0].chunks().0 == bytes);
    assert_eq!(scene.open_files(), [] as [PathBuf; 0], "it goes with the last who reads");
}

#[test]
fn an_answer_that_lacks_what_went_with_the_vm_has_no_end_and_records_say_so() {
    let mut scene = Scene::new();
    let mut readers = [scene.follow(""), scene.follow("&format=records")];
    let mut viewer = scene.view("&offset=0");
    scene.print(MUCH);
    // Whoever removes a VM removes its directory.
    fs::remove_dir_all(scene.stopped.dir.path().join("a")).expect("removed");
    scene.release();
    for reader in &mut readers {
        scene.read(reader);
    }
    let (bytes, is_whole) = readers[0].chunks();
    assert!(bytes.len() < MUCH && bytes_from(0, MUCH).ends_with(&bytes[bytes.len() - 1000..]));
    assert!(!is_whole && readers[0].has_ended, "bytes are missing, and nothing tells it");
    let (records, is_whole) = readers[1].chunks();
    assert!(String::from_utf8_lossy(&records).contains(",\"why\":\"gone\"}\n"));
    assert!(is_whole, "it was told");
    scene.read(&mut viewer);
    let words = viewer.frames().1;
    assert!(words.last().is_some_and(|last| last == "lagged"), "{words:?}");
}

#[test]
fn a_seriald_that_ends_gives_the_last_byte_to_those_who_read_and_no_end() {
    let mut scene = Scene::new();
    let mut follower = scene.follow("");
    let mut viewer = scene.view("");
    scene.print(16_384);
    scene.read(&mut follower);
    scene.read(&mut viewer);
    scene.print(240_000);
    scene.stopped.reactor.stop();
    scene.console.shutdown(std::net::Shutdown::Write).expect("shut down");
    settle(&mut scene.stopped.reactor);
    assert!(scene.stopped.reactor.is_empty() && !scene.stopped.reactor.is_stopped());
    scene.read(&mut follower);
    let all = bytes_from(0, scene.printed as usize);
    let (bytes, is_whole) = follower.chunks();
    assert!(bytes == all, "{} bytes", bytes.len());
    // Whoever asks its successor goes on behind the last byte.
    assert!(!is_whole && follower.has_ended);
    assert!(!scene.stopped.reactor.is_stopped(), "another reads yet");
    loop {
        let before = viewer.taken.len();
        viewer.take();
        let _ = scene.stopped.reactor.turn(Some(Duration::ZERO));
        if viewer.taken.len() == before {
            break;
        }
    }
    let (output, words) = viewer.frames();
    assert!(output == all && !words.contains(&"console_gone".to_owned()), "{words:?}");
    assert!(viewer.has_ended && scene.stopped.reactor.is_stopped());
}

#[test]
fn a_seriald_that_ends_waits_no_longer_than_that_for_those_who_do_not_read() {
    let mut scene = Scene::new();
    let _deaf = scene.follow("");
    scene.print(MUCH);
    scene.stopped.reactor.stop();
    scene.console.shutdown(std::net::Shutdown::Write).expect("shut down");
    settle(&mut scene.stopped.reactor);
    scene.stopped.pass(CONTROL_FAREWELL / 2);
    assert!(!scene.stopped.reactor.is_stopped());
    assert_eq!(scene.stopped.reactor.next_wake(), Some(CONTROL_FAREWELL / 2));
    scene.stopped.tick(CONTROL_FAREWELL / 2);
    scene.stopped.reactor.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(scene.stopped.reactor.is_stopped());
}

#[test]
fn a_seriald_that_ends_gives_other_answers_the_same_time() {
    let mut scene = Scene::new();
    let mut asker = scene.ask(&"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50));
    scene.stopped.reactor.stop();
    scene.console.shutdown(std::net::Shutdown::Write).expect("shut down");
    settle(&mut scene.stopped.reactor);
    assert!(scene.stopped.reactor.is_empty() && !scene.stopped.reactor.is_stopped());
    asker.take();
    assert!(asker.taken.starts_with(b"HTTP/1.1 200 "));
    scene.stopped.tick(CONTROL_FAREWELL);
    scene.stopped.reactor.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(scene.stopped.reactor.is_stopped());
}
