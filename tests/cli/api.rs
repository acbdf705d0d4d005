//! A server that stands where seriald's API would be, for answers that a real one gives seldom.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

/// It serves until the test ends.
pub struct Api {
    path: String,
    _dir: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// Answers each request by its path and how many came before it.
    pub fn serve(answer: impl Fn(&str, u64) -> (u16, Value) + Send + 'static) -> Api {
        Api::serve_raw(move |mut stream, path, before| {
            let (status, body) = answer(path, before);
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            // Whoever has asked may be gone.
            let _ =
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        })
    }

    /// The same, but what is sent is up to the test.
    pub fn serve_raw(serve: impl Fn(UnixStream, &str, u64) + Send + 'static) -> Api {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.sock").to_str().expect("UTF-8").to_owned();
        let listener = UnixListener::bind(&path).expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a client");
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                let lines = lines.by_ref().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let Some(first) = head.first() else { continue };
                let asked_for = first.split(' ').nth(1).expect("a path").to_owned();
                let before = {
                    let mut asked = all.lock().expect("unpoisoned");
                    asked.push(asked_for.clone());
                    asked.len() as u64 - 1
                };
                serve(stream, &asked_for, before);
            }
        });
        Api { path, _dir: dir, asked }
    }

    /// Where it listens.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}
