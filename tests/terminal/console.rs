//! A console that echoes what is typed, in frames, and prints what a test asks it to.

use crate::api::Api;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

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
        std::thread::spawn(move || echo(stream, writes, printed));
    })
}

fn echo(mut stream: UnixStream, writes: bool, printed: &[u8]) -> Option<()> {
    let head = b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: seriald-frames\r\n\r\n";
    let attached = notice(&json!({"notice": "attached", "offset": 0, "writes": writes}));
    stream.write_all(&[&head[..], &attached, &frame('o', printed)].concat()).ok()?;
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
