//! `seriald top` in a terminal.

use crate::api::Api;
use crate::program::wait_until;
use crate::screen::Screen;
use serde_json::json;

/// Many VMs, of which the later print more and lose less.
fn many() -> Api {
    Api::serve(|_, asked| {
        let vm = |n: u64| {
            json!({"id": format!("vm-{n:05}"), "state": "streaming", "read_bytes": asked * n,
                "log_counters": {"lost_bytes": 10_000 - n}})
        };
        (200, json!({"vms": (0..10_000).map(vm).collect::<Vec<_>>()}))
    })
}

/// The VM in the first line of the table.
fn first(seen: &str) -> String {
    let line = seen.lines().skip_while(|line| !line.starts_with("ID")).nth(1).unwrap_or_default();
    line.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn ten_thousand_vms_are_sorted_scrolled_and_left_by_keys() {
    let Some(screen) = Screen::bash() else { return };
    let api = many();
    screen.run("echo before");
    let path = api.path();
    screen.run_between_looks(&format!("seriald top --interval 0.5 --control {path}"));
    screen.wait_for_text("10000 VMs, 10000 streaming");
    screen.wait_for("those that print most", |seen| first(seen) == "vm-09999");
    assert_eq!(screen.variable("alternate_on"), "1");
    screen.type_text("l");
    screen.wait_for("those that lose most", |seen| first(seen) == "vm-00000");
    screen.press("NPage");
    screen.wait_for("the next page", |seen| first(seen) == "vm-00027");
    screen.press("Down");
    screen.wait_for("the next row", |seen| first(seen) == "vm-00028");
    screen.press("End");
    screen.wait_for("the end", |seen| {
        seen.trim_end().ends_with(|c: char| c.is_ascii_digit()) && seen.contains("vm-09999")
    });
    screen.type_text("ii");
    screen.wait_for("the names backwards", |seen| first(seen) == "vm-09999");
    screen.type_text("q");
    screen.assert_ended(0);
    assert!(screen.text().contains("before"), "the shell's screen is back");
}

#[test]
fn it_is_drawn_as_large_as_the_window_and_given_back_by_a_signal() {
    let Some(screen) = Screen::bash() else { return };
    let api = many();
    screen.run_between_looks(&format!("seriald top --sort id --control {}", api.path()));
    let last =
        |seen: &str| seen.lines().rfind(|line| !line.is_empty()).unwrap_or_default().to_owned();
    screen.wait_for("all lines", |seen| last(seen).starts_with("vm-00026 "));
    screen.resize(50, 10);
    screen.wait_for("fewer lines", |seen| last(seen).starts_with("vm-00006 "));
    screen.resize(120, 50);
    screen.wait_for("more lines", |seen| last(seen).starts_with("vm-00046 "));
    screen.signal("TERM");
    screen.assert_ended(143);
}

#[test]
fn a_seriald_that_does_not_answer_is_told_and_asked_again() {
    let Some(screen) = Screen::bash() else { return };
    let api = Api::serve(|_, asked| match asked {
        1..=3 => (503, json!({"error": {"code": "x", "message": "it is being upgraded"}})),
        _ => (200, json!({"vms": [{"id": "a", "state": format!("look-{asked}")}]})),
    });
    let path = api.path();
    screen.run_between_looks(&format!("seriald top --interval 0.3 --control {path}"));
    screen.wait_for_text("look-0");
    wait_until("it was asked", || api.asked().len() > 4);
    screen.wait_for("an answer", |seen| seen.contains("look-") && !seen.contains("look-0"));
    screen.press("C-c");
    screen.assert_ended(0);
}
