//! `seriald attach` in a terminal.

use crate::api::Api;
use crate::console::{NASTY, SEEN, asking, echoing};
use crate::screen::{LOOK, Screen};

fn attach(screen: &Screen, api: &Api, options: &str) {
    screen.run_between_looks(&format!("seriald attach web-1 --control {} {options}", api.path()));
}

#[test]
fn keys_go_to_the_guest_ctrl_c_too_and_the_escape_leaves() {
    let Some(screen) = Screen::bash() else { return };
    let api = echoing(b"login: ");
    let title = screen.variable("pane_title");
    attach(&screen, &api, "");
    screen.wait_for_text("[seriald: attached to web-1; ~. leaves, ~? helps]");
    screen.wait_for_text("login:");
    assert_eq!(screen.variable("pane_title"), "seriald: web-1");
    screen.run("root");
    screen.wait_for_text("login: root");
    screen.press("C-c");
    screen.wait_for_text("^C");
    screen.type_text("a~.b");
    screen.wait_for_text("a~.b");
    screen.press("Enter");
    screen.type_text("~?");
    screen.wait_for_text("[seriald: at the beginning of a line: ~. leaves, ~? says this]");
    screen.type_text("~~x");
    screen.wait_for("one of two", |seen| seen.lines().any(|line| line == "~x"));
    screen.press("Enter");
    screen.type_text("~.");
    screen.wait_for_text("[seriald: left]");
    screen.assert_ended(0);
    assert_eq!(screen.variable("pane_title"), title);
}

#[test]
fn a_window_that_changes_its_size_changes_nothing_else() {
    let Some(screen) = Screen::bash() else { return };
    let api = echoing(b"$ ");
    attach(&screen, &api, "--escape ^]");
    screen.wait_for_text("^]. leaves");
    for (columns, lines) in [(60, 10), (120, 40), (100, 30)] {
        screen.resize(columns, lines);
        let text = format!("at-{columns}");
        screen.type_text(&text);
        screen.wait_for_text(&text);
    }
    screen.press("Enter");
    screen.press("C-]");
    screen.type_text(".");
    screen.assert_ended(0);
}

#[test]
fn a_signal_gives_the_terminal_back_whatever_the_guest_has_made_of_it() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let Some(screen) = Screen::bash() else { return };
        let api = echoing(b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b(0\x1b[31mguest");
        let title = screen.variable("pane_title");
        attach(&screen, &api, "");
        // In the other character set letters are lines.
        screen.wait_for("the guest", |_| screen.variable("alternate_on") == "1");
        screen.wait_for("its mouse", |_| screen.variable("mouse_any_flag") == "1");
        screen.signal(signal);
        screen.assert_ended(code);
        assert_eq!(screen.variable("pane_title"), title);
    }
}

#[test]
fn it_can_be_stopped_and_gone_on_with_as_any_job() {
    let Some(screen) = Screen::bash() else { return };
    let api = echoing(b"login: ");
    screen.run(&format!("{LOOK} >before; seriald attach web-1 --control {}", api.path()));
    screen.wait_for_text("login:");
    screen.press("Enter");
    screen.type_text("~");
    screen.press("C-z");
    screen.wait_for_text("Stopped");
    screen.run("echo a shell $((1 + 1))");
    screen.wait_for_text("a shell 2");
    screen.run(&format!("fg; echo code=$?.; {LOOK} >after"));
    screen.wait_for("the session", |_| screen.variable("pane_title") == "seriald: web-1");
    screen.run("again");
    screen.wait_for("an echo", |seen| seen.lines().any(|line| line == "again"));
    screen.type_text("~.");
    screen.assert_ended(0);
}

#[test]
fn a_spy_sees_text_and_nothing_else_happens_to_the_terminal() {
    let Some(screen) = Screen::bash() else { return };
    let api = echoing(NASTY);
    attach(&screen, &api, "--spy");
    screen.wait_for_text("[seriald: watching web-1");
    for line in SEEN {
        screen.wait_for_text(line);
    }
    assert_eq!(screen.variable("pane_title"), "seriald: web-1");
    assert_eq!(screen.variable("alternate_on"), "0");
    assert_eq!(screen.variable("cursor_flag"), "1");
    screen.type_text("x");
    screen.wait_for_text("[seriald: you only watch: keys go nowhere]");
    screen.press("C-c");
    screen.assert_ended(0);
}

#[test]
fn answers_that_a_guest_has_asked_the_terminal_for_are_not_left_to_the_shell() {
    let Some(screen) = Screen::bash() else { return };
    // It asks what the terminal is, and where its cursor, again and again.
    let api = asking(b"\x1b[c\x1b[6n\x1b[c\x1b[6n\x1b[c\x1b[6n\x1b[c\x1b[6n\x1b[c\x1b[6n");
    attach(&screen, &api, "");
    screen.wait_for_text("[seriald: attached to web-1");
    screen.wait_for_text("ANSWERED");
    screen.press("Enter");
    screen.type_text("~.");
    screen.assert_ended(0);
    let text = screen.text();
    let shell = text.split_once("[seriald: left]").expect("it was left").1;
    assert!(!shell.contains(";2c") && !shell.contains("R$") && !shell.contains("^["), "{shell}");
}
