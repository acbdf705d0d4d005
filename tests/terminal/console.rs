//! A console that echoes what is typed, in frames, and prints what a test asks it to.

use crate::api::Api;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A page of what a guest may do to a terminal: the title, its report, colours, the cursor, another
/// screen, the clipboard, the mouse, 8-bit and UTF-8 controls, what turns text.
pub const NASTY: &[u8] =
    b"begin \x1b]0;evil\x07\x1b]2;evil\x1b\\\x1b[21t\x1bkevil\x1b\\\x1b[31mred\x1b[0m \
    \x1b[2J\x1b[H\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b]52;c;aWQ=\x07\x1bP$q\"p\x1b\\\x9b2J\xc2\x9b2J\
    over\rwritten \xe2\x80\xaeturned\xe2\x80\xac \xffbyte\x07\x08 end\r\n";
/// What is to be seen of it.
pub const SEEN: [&str; 2] =
    ["begin red over", "written \\u{202e}turned\\u{202c} \\xffbyte\\x07\\x08 end"];

/// A frame.
pub fn frame(kind: char, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[kind as u8], &length[1..], payload].concat()
}

/// A frame that tells something.
pub fn notice(notice: &Value) -> Vec<u8> {
    frame('n', notice.to_string().as_bytes())
}

/// A console that prints this, and then what is typed: `^C` for Ctrl-C.
pub fn echoing(printed: &'static [u8]) -> Api {
    Api::serve_raw(move |stream, path, _| {
        let writes = !path.contains("mode=spy");
        // Others may be served meanwhile.
        thread::spawn(move || echo(stream, writes, printed));
    })
}

/// A console that prints this over and over, and says so once it was answered.
pub fn asking(printed: &'static [u8]) -> Api {
    Api::serve_raw(move |mut stream, _, _| {
        // So many bytes of answers have come; past the end of them it ends, too.
        let heard = Arc::new(AtomicUsize::new(0));
        let (mut answers, hears) = (stream.try_clone().expect("cloned"), Arc::clone(&heard));
        thread::spawn(move || {
            while let Ok(n @ 1..) = answers.read(&mut [0; 4096]) {
                hears.fetch_add(n, Ordering::Relaxed);
            }
            hears.store(usize::MAX, Ordering::Relaxed);
        });
        thread::spawn(move || {
            let mut sent = stream.write_all(&begun(true));
            while sent.is_ok() {
                let mark = match heard.load(Ordering::Relaxed) {
                    0..200 => "",
                    usize::MAX => break,
                    _ => "ANSWERED\r",
                };
                sent =
                    stream.write_all(&frame('o', &[mark.as_bytes(), &printed.repeat(20)].concat()));
                thread::sleep(Duration::from_millis(2));
            }
        });
    })
}

/// The connection is changed, and attached.
fn begun(writes: bool) -> Vec<u8> {
    let head = b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: seriald-frames\r\n\r\n";
    let attached = notice(&json!({"notice": "attached", "offset": 0, "writes": writes}));
    [&head[..], &attached].concat()
}

fn echo(mut stream: UnixStream, writes: bool, printed: &[u8]) -> Option<()> {
    stream.write_all(&[begun(writes), frame('o', printed)].concat()).ok()?;
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]);
        let mut input = vec![0; length as usize];
        stream.read_exact(&mut input).ok()?;
        let mut output = Vec::new();
        for byte in input {
            match byte {
                b'\r' => output.extend_from_slice(b"\r\n"),
                0..0x20 => output.extend_from_slice(&[b'^', byte + 0x40]),
                byte => output.push(byte),
            }
        }
        stream.write_all(&frame('o', &output)).ok()?;
    }
}
