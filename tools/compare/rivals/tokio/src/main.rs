//! A task per VM: read from its serial socket, write to its log.
//!
//! Its argument is a file with a line `socket TAB log` per VM. It runs until it is killed. The log
//! is written by the task itself, by a plain write(2): tokio::fs would hand each one to another
//! thread.

use std::fs::File;
use std::io::{self, Write};
use std::{env, fs, future};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Bytes that are read at once: what io::copy takes.
const BUFFER: usize = 8192;

#[tokio::main]
async fn main() -> io::Result<()> {
    let list = env::args_os().nth(1).ok_or_else(|| io::Error::other("no list is named"))?;
    for line in fs::read_to_string(list)?.lines() {
        let (socket, log) = line.split_once('\t').ok_or(io::ErrorKind::InvalidData)?;
        let log = File::options().append(true).create(true).open(log)?;
        let console = UnixStream::connect(socket).await?;
        tokio::spawn(async move {
            if let Err(error) = collect(console, log).await {
                eprintln!("{error}");
            }
        });
    }
    future::pending().await
}

async fn collect(mut console: UnixStream, mut log: File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match console.read(&mut buffer).await? {
            0 => return Ok(()),
            length => log.write_all(&buffer[..length])?,
        }
    }
}
