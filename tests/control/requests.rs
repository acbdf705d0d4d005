//! Requests about one VM, `a`, and what stands where its VMM would.
//!
//! **Invariant:** every answer is as it is described.

use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::schema::assert_described;
use super::served::Served;
use super::support::sockets::accept;
use super::support::vmm::Vmm;
use super::support::wait::{PATIENCE, wait_until};

pub fn words(vmm: &Vmm) -> Vec<String> {
    vmm.command.iter().map(|word| word.to_str().expect("UTF-8").to_owned()).collect()
}

/// The body that launches a VM in `home`.
pub fn launch(vmm: &Vmm, home: &Path, cmdline: &str) -> Value {
    fs::create_dir_all(home).expect("a directory");
    json!({"dir": home, "launch": {"vmm": words(vmm), "config": vmm.config(cmdline)}})
}

pub fn put(served: &Served, query: &str, body: &Value) -> Answer {
    let answer = served.client().ask("PUT", &format!("/v1/vms/a{query}"), &body.to_string());
    assert_described("PUT", "/v1/vms/{id}", &answer);
    answer
}

/// Asks, and does not wait for the answer.
pub fn begin(served: &Served, method: &str, path: &str, body: &Value) -> Client {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = served.client();
    client.send((head + &body).as_bytes());
    client
}

/// `shutdown?vmm=true`, say.
pub fn post(served: &Served, what: &str, body: &str) -> Answer {
    let answer = served.client().ask("POST", &format!("/v1/vms/a/{what}"), body);
    let (path, _) = what.split_once('?').unwrap_or((what, ""));
    assert_described("POST", &format!("/v1/vms/{{id}}/{path}"), &answer);
    answer
}

pub fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

pub fn told(served: &Served) -> Vec<Value> {
    served.client().get("/v1/events?vm=a").json_lines()
}

pub fn has_happened(served: &Served, event: &str) -> bool {
    told(served).iter().any(|told| told["event"] == event)
}

pub fn log_of(home: &Path) -> PathBuf {
    home.join("logs/app.log")
}

pub fn wait_for_output(home: &Path, bytes: usize) {
    wait_until(PATIENCE, "output", || {
        fs::metadata(log_of(home)).is_ok_and(|log| log.len() >= bytes as u64)
    });
}

/// A VM that is in charge, and what stands where its VMM's API would be.
pub struct Api(UnixListener);

impl Api {
    pub fn of(served: &Served) -> Api {
        let home = served.dir.path().join("a");
        fs::create_dir_all(&home).expect("a directory");
        let api = UnixListener::bind(home.join("ch.sock")).expect("bound");
        assert_eq!(put(served, "", &json!({"dir": home})).status, 201);
        Api(api)
    }

    /// What listens there.
    pub fn at(listener: UnixListener) -> Api {
        Api(listener)
    }

    /// Takes one request.
    pub fn asked(&self) -> (UnixStream, String) {
        let mut stream = accept(&self.0);
        let mut request = [0; 4096];
        let n = stream.read(&mut request).expect("a request");
        let text = String::from_utf8_lossy(&request[..n]);
        (stream, text.lines().next().expect("a line").to_owned())
    }
}

/// A launch of something that is no VMM.
pub fn impostor(served: &Served, vmm: Value) -> Value {
    let home = served.dir.path().join("a");
    fs::create_dir_all(&home).expect("a directory");
    json!({"dir": home, "launch": {"vmm": vmm, "config": {}, "launch_timeout_s": 1}})
}
