//! `seriald logs` in a terminal.

use crate::console::{NASTY, SEEN};
use crate::screen::Screen;
use std::fs;
use std::io::Write;

#[test]
fn a_page_of_escape_sequences_shows_text_and_nothing_else() {
    let Some(screen) = Screen::bash() else { return };
    fs::write(screen.path().join("a.log"), NASTY).expect("written");
    let title = screen.variable("pane_title");
    screen.run_between_looks("seriald logs --log a.log");
    screen.assert_ended(0);
    let seen = screen.text();
    for line in SEEN {
        assert!(seen.lines().any(|shown| shown == line), "{line:?} is no line of:\n{seen}");
    }
    // No answer of the terminal's was typed into the shell.
    assert!(!seen.contains("evil") && !seen.contains("aWQ"), "{seen}");
    assert_eq!(screen.variable("pane_title"), title);
    // Whoever asks for it gets it: this is what would have happened.
    screen.run("seriald logs --log a.log --raw");
    screen.wait_for("another title", |_| screen.variable("pane_title") == "evil");
}

#[test]
fn what_is_followed_is_shown_as_it_comes_until_ctrl_c() {
    let Some(screen) = Screen::bash() else { return };
    let log = screen.path().join("a.log");
    fs::write(&log, "one\ntwo\n").expect("written");
    screen.run("seriald logs --log a.log -f -n 1");
    screen.wait_for("the last line", |seen| seen.lines().any(|line| line == "two"));
    screen.resize(60, 20);
    let mut file = fs::OpenOptions::new().append(true).open(&log).expect("opened");
    file.write_all(b"three\r\nfo").expect("written");
    screen.wait_for("a part of a line", |seen| seen.lines().any(|line| line == "fo"));
    file.write_all(b"ur\r\n").expect("written");
    screen.wait_for("its rest", |seen| seen.lines().any(|line| line == "four"));
    screen.press("C-c");
    screen.wait_for_text("^C");
    screen.run("echo code=$?.");
    screen.wait_for_text("code=130.");
    assert!(!screen.text().lines().any(|line| line == "one"));
}
