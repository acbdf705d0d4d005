//! One who looks at a console, and types into it. It knows nothing of the codec under test: it
//! reads frames by itself.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::client::{Answer, Client};
use super::support::sockets::accept;

/// What comes in a frame.
#[derive(Debug, PartialEq)]
pub enum Frame {
    Output(Vec<u8>),
    Notice(Value),
}

impl Frame {
    /// The word of a notice; empty for output.
    pub fn word(&self) -> &str {
        match self {
            Frame::Output(_) => "",
            Frame::Notice(notice) => notice["notice"].as_str().expect("a word"),
        }
    }
}

pub struct Viewer {
    pub client: Client,
}

impl Viewer {
    /// Asks for a console; what is answered if that is no console.
    pub fn ask(path: &Path, id: &str, query: &str, protocol: &str) -> Result<Viewer, Answer> {
        let mut client = Client::connect(path);
        let head = format!("GET /v1/vms/{id}/console?{query} HTTP/1.1\r\nHost: x\r\n");
        let upgrade = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        client.send((head + &upgrade).as_bytes());
        let answer = client.answer().expect("an answer");
        match answer.status {
            101 => {
                assert_eq!(answer.header("Upgrade"), Some(protocol));
                assert_eq!(answer.header("Connection"), Some("Upgrade"));
                Ok(Viewer { client })
            }
            _ => Err(answer),
        }
    }

    /// A console in frames, and the offset of its first byte.
    pub fn attach(path: &Path, id: &str, query: &str) -> (Viewer, u64) {
        let mut viewer = Viewer::ask(path, id, query, "seriald-frames")
            .unwrap_or_else(|answer| panic!("{answer:?}"));
        let Frame::Notice(first) = viewer.next().expect("a frame") else { panic!("output first") };
        assert_eq!(first["notice"], "attached");
        let offset = first["offset"].as_u64().expect("an offset");
        (viewer, offset)
    }

    /// The next frame; `None`: the stream ends.
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.client.try_take(4)?;
        let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        let payload = self.client.try_take(length).expect("a whole frame");
        Some(match head[0] {
            b'o' => Frame::Output(payload),
            b'n' => Frame::Notice(serde_json::from_slice(&payload).expect("JSON")),
            other => panic!("a frame of the kind {other}"),
        })
    }

    /// The next notice of this kind; output and other notices are passed over.
    pub fn notice(&mut self, word: &str) -> Value {
        loop {
            match self.next().unwrap_or_else(|| panic!("an end instead of {word}")) {
                Frame::Notice(notice) if notice["notice"] == word => return notice,
                _ => {}
            }
        }
    }

    /// Output until it ends so.
    pub fn output_to(&mut self, end: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !all.ends_with(end) {
            match self.next() {
                Some(Frame::Output(bytes)) => all.extend(bytes),
                Some(Frame::Notice(_)) => {}
                None => panic!("an end after {:?}", String::from_utf8_lossy(&all)),
            }
        }
        all
    }

    pub fn type_in(&mut self, bytes: &[u8]) {
        self.client.send(&frame(b'i', bytes));
    }
}

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[kind], &length[1..], payload].concat()
}

/// The byte that a [`Printer`] prints at an offset: one that was left out, or came twice, is
/// followed by others than these.
pub fn byte_at(offset: u64) -> u8 {
    let mixed = (offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // A line now and then.
    if mixed >> 58 == 0 { b'\n' } else { (mixed >> 32) as u8 }
}

pub fn bytes_from(offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(byte_at).collect()
}

/// A VMM whose guest prints, as fast as `may_print` lets it.
pub struct Printer {
    listener: UnixListener,
    pub printed: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Printer {
    /// One that listens, and prints nothing yet.
    pub fn at(serial: &Path) -> Printer {
        let listener = UnixListener::bind(serial).expect("a listener");
        let (printed, over) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        Printer { listener, printed, over, thread: None }
    }

    /// The console, once it is connected.
    pub fn console(&self) -> UnixStream {
        accept(&self.listener)
    }

    /// Prints pieces of these sizes, over and over, whenever `may_print` says so of what was
    /// printed so far, until it is told to stop.
    pub fn print(&mut self, sizes: Vec<usize>, may_print: impl Fn(u64) -> bool + Send + 'static) {
        let mut console = self.console();
        let (printed, over) = (self.printed.clone(), self.over.clone());
        let run = move || {
            let mut at = 0;
            for size in sizes.iter().cycle() {
                while !over.load(Ordering::Relaxed) && !may_print(at) {
                    thread::yield_now();
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
                console.write_all(&bytes_from(at, *size)).expect("sent");
                at += *size as u64;
                printed.store(at, Ordering::Relaxed);
            }
            // CH ends a connection so, and reads its end.
            console.shutdown(std::net::Shutdown::Write).expect("shut down");
            while !matches!(console.read(&mut [0; 4096]), Ok(0) | Err(_)) {}
        };
        self.thread = Some(thread::spawn(run));
    }

    /// Prints no more: how much it was.
    pub fn stop(&mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it printed");
        }
        self.printed.load(Ordering::Relaxed)
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Types until nothing more is taken for a while, at most `bytes`: how many were.
pub fn paste(stream: &mut UnixStream, bytes: usize) -> usize {
    stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).expect("set");
    let line = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    let mut taken = 0;
    while taken < bytes {
        match stream.write(line) {
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    taken
}
