//! The address for counters of the binary: where its configuration says, over reloads and upgrades.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::program::{upgrade, upgrade_amid};
use super::support::process::{Process, output};
use super::support::sockets::accept;
use super::support::wait::{PATIENCE, wait_until};

const SERIALD: &str = env!("CARGO_BIN_EXE_seriald");

/// A port that nobody has just now.
fn free_port() -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).expect("bound");
    listener.local_addr().expect("an address")
}

/// A configuration of one VM, `a`, and no control socket.
fn configure(dir: &TempDir, metrics: Value) {
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let vm = json!({"id": "a", "serial": path("a.sock"), "log": path("a.log")});
    let mut config = json!({"vms": [vm]});
    if !metrics.is_null() {
        config["metrics"] = metrics;
    }
    fs::write(dir.path().join("c.json"), config.to_string()).expect("written");
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new(SERIALD);
    command.arg("run").arg("--config").arg(dir.path().join("c.json"));
    command
}

fn start(dir: &TempDir) -> Process {
    Process::start("seriald", dir.path(), &mut command(dir))
}

fn wait_for(address: SocketAddr) {
    wait_until(PATIENCE, "the address", || Client::try_tcp(address).is_some());
}

/// The page, each time by a new connection.
fn page(address: SocketAddr) -> String {
    String::from_utf8(Client::tcp(address).get("/metrics").body).expect("UTF-8")
}

#[test]
fn a_port_that_another_has_ends_the_start_with_the_key_and_the_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind(free_port()).expect("bound");
    let address = taken.local_addr().expect("an address");
    configure(&dir, json!({"listen": address.port()}));
    let refused = output(command(&dir).env("RUST_LOG", "off"));
    let (port, said) = (address.port(), String::from_utf8_lossy(&refused.stderr));
    let expected = format!(
        "seriald: metrics.listen: cannot listen on {address}: Address already in use (os error \
         98): another process has that port (`ss -ltnp 'sport = :{port}'` names it); give another \
         one\n"
    );
    assert_eq!((said.as_ref(), refused.status.code()), (expected.as_str(), Some(1)));
    // What only looks binds nothing.
    let checked = output(command(&dir).arg("--check"));
    assert!(checked.status.success());
}

#[test]
fn a_reload_moves_the_address_and_says_whether_it_was_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (free_port(), free_port());
    configure(&dir, json!({"listen": one.to_string()}));
    let mut seriald = start(&dir);
    wait_for(one);
    assert!(!page(one).contains("seriald_vm_connected"));
    configure(&dir, json!({"listen": other.to_string(), "per_vm": true}));
    seriald.signal("HUP");
    wait_for(other);
    assert!(Client::try_tcp(one).is_none(), "the one before is closed");
    assert!(page(other).contains("seriald_vm_connected{vm=\"a\"} 0\n"));
    // One that can't be had is told: in the log, and to whoever scrapes what is there still.
    let taken = TcpListener::bind(one).expect("bound");
    configure(&dir, json!({"listen": one.to_string()}));
    seriald.signal("HUP");
    let failed = "seriald_config_last_reload_successful 0\n";
    wait_until(PATIENCE, "its failure", || page(other).contains(failed));
    assert!(seriald.output().contains("ERROR] metrics.listen: cannot listen on "));
    fs::write(dir.path().join("c.json"), "{").expect("written");
    seriald.signal("HUP");
    wait_until(PATIENCE, "a refusal", || seriald.output().contains("not reloaded"));
    assert!(page(other).contains(failed));
    drop(taken);
    configure(&dir, json!({"listen": other.to_string()}));
    seriald.signal("HUP");
    let well = "seriald_config_last_reload_successful 1\n";
    wait_until(PATIENCE, "all is well", || page(other).contains(well));
    configure(&dir, Value::Null);
    seriald.signal("HUP");
    wait_until(PATIENCE, "its end", || Client::try_tcp(other).is_none());
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn an_upgrade_refuses_no_scrape_and_counts_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = free_port();
    configure(&dir, json!({"listen": address.to_string()}));
    let mut seriald = start(&dir);
    wait_for(address);
    let started = |page: &str| {
        let line = page.lines().find(|line| line.starts_with("process_start_time_seconds "));
        let time = line.and_then(|line| line.rsplit(' ').next());
        time.and_then(|time| time.parse::<f64>().ok()).expect("a time")
    };
    let before = page(address);
    upgrade_amid(&seriald, 3, || drop(Client::tcp(address)));
    let after = page(address);
    // As the wall clock has it, which may be set a little.
    assert!((started(&after) - started(&before)).abs() < 1.0, "the process is the same one");
    let accepted = |page: &str| -> u64 {
        let value =
            page.lines().find_map(|line| line.strip_prefix("seriald_clients_accepted_total "));
        value.and_then(|value| value.parse().ok()).expect("a number")
    };
    assert!(accepted(&after) > accepted(&before));
    // A configuration without it takes it away with the next upgrade.
    configure(&dir, Value::Null);
    upgrade(&seriald);
    wait_until(PATIENCE, "its end", || Client::try_tcp(address).is_none());
    assert!(seriald.terminate_and_wait().success());
}

#[test]
fn a_log_that_cannot_be_written_lags_and_what_it_holds_and_loses_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = free_port();
    configure(&dir, json!({"listen": address.to_string(), "per_vm": true}));
    let path = dir.path().join("c.json");
    let text = fs::read_to_string(&path).expect("a configuration");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["log"] = json!({"hold_bytes": 8192, "on_overflow": "newest"});
    fs::write(&path, config.to_string()).expect("written");
    let listener = UnixListener::bind(dir.path().join("a.sock")).expect("a listener");
    let mut limited = Command::new("sh");
    // No file may have more than eight blocks of 512 bytes.
    limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh", SERIALD, "run", "--config"]).arg(&path);
    let mut seriald = Process::start("seriald", dir.path(), &mut limited);
    let mut console = accept(&listener);
    wait_for(address);
    console.write_all(&[b'x'; 20_000]).expect("sent");
    wait_until(PATIENCE, "all of it", || {
        page(address).contains("\nseriald_read_bytes_total 20000\n")
    });
    let mut text = String::new();
    // Within the turn in which the write failed no time has passed yet.
    wait_until(PATIENCE, "a lag", || {
        text = page(address);
        !text.contains("\nseriald_lag_seconds 0\n")
    });
    for line in [
        "seriald_written_bytes_total 4096",
        "seriald_held_bytes 8192",
        "seriald_vms_behind 1",
        "seriald_lost_bytes_total{cause=\"write_failed\"} 7712",
        "seriald_vm_held_bytes{vm=\"a\"} 8192",
        "seriald_vm_lost_bytes_total{vm=\"a\"} 7712",
        "seriald_vm_rate_limited_bytes_total{vm=\"a\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let is_above_zero = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<f64>().ok()).is_some_and(|value| value > 0.0)
    };
    for name in
        ["seriald_lag_seconds", "seriald_vm_lag_seconds{vm=\"a\"}", "seriald_write_failures_total"]
    {
        assert!(is_above_zero(name), "{name} in {text}");
    }
    assert!(seriald.terminate_and_wait().success());
}
