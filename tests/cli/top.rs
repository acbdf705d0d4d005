//! `seriald top` and `ls` where there is no terminal, of 10,000 VMs too.

use crate::api::Api;
use crate::program::ended;
use serde_json::{Value, json};

/// 10,000 VMs, of which each prints one byte a second more than the one before it.
fn ten_thousand(asked: u64) -> Value {
    let vm = |n: u64| {
        json!({"id": format!("vm-{n:05}"), "state": "streaming", "serial": "/s", "log": "/l",
            "pid": n, "read_bytes": asked * n * 1_000_000, "log_bytes": 7, "held_bytes": 0,
            "log_counters": {"lost_bytes": 10_000 - n, "rotations": 3}})
    };
    json!({"vms": (0..10_000).map(vm).collect::<Vec<_>>()})
}

/// What it prints.
fn printed(args: &[&str]) -> String {
    let ended = ended(args);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    ended.out
}

#[test]
fn ten_thousand_vms_are_one_table_sorted_as_asked() {
    let api = Api::serve(|_, asked| (200, ten_thousand(asked)));
    let top = |args: &[&str]| {
        let shown =
            printed(&[&["top", "--interval", "0.1", "--control", api.path()], args].concat());
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = top(&[]);
    assert_eq!(lines.len(), 10_001);
    assert!(
        lines[0].starts_with("ID        STATE") && lines[0].contains("BYTES/S"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("vm-09999  streaming") && lines[1].contains("GB"), "{}", lines[1]);
    assert!(lines[10_000].starts_with("vm-00000"), "{}", lines[10_000]);
    assert_eq!(api.asked(), ["/v1/vms", "/v1/vms"], "one look an interval");
    assert!(top(&["--once", "--sort", "lost"])[1].starts_with("vm-00000"));
    assert!(top(&["--sort", "id"])[1].starts_with("vm-00000"));
}

#[test]
fn ls_lists_ten_thousand_vms() {
    let api = Api::serve(|_, asked| (200, ten_thousand(asked)));
    assert_eq!(printed(&["ls", "--control", api.path()]).lines().count(), 10_001);
    let ids = printed(&["ls", "--ids", "--control", api.path()]);
    assert_eq!(ids.lines().nth(9_999), Some("vm-09999"));
    ended(&["ls", "--ids", "--json"]).has(2, "cannot be used with");
}

#[test]
fn what_is_no_list_is_told() {
    let api = Api::serve(|_, _| (200, json!({"vms": 7})));
    ended(&["top", "--control", api.path()]).has(1, "seriald: the answer is no list of VMs");
    let api = Api::serve(|_, _| (403, json!({"error": {"code": "x", "message": "not for you"}})));
    ended(&["top", "--control", api.path()]).is(1, "seriald: not for you");
    ended(&["top", "--interval", "0"]).has(2, "is not 0.1 to 86400 seconds");
    ended(&["top", "--sort", "colour"]).has(2, "possible values: id, state, rate");
}
