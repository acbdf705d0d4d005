//! What is shown and sent, by what comes and what is typed.

use super::*;
use proptest::prelude::*;
use seriald::control::frames::encode_notice;

fn session(mode: Mode, clean: bool) -> Session {
    let id = "web-1".to_owned();
    Session::new(Terms { id, mode, escape: Some(b'~'), is_shown: true, clean })
}

/// One that is connected, its greeting taken away.
fn attached(mode: Mode) -> Session {
    let mut session = session(mode, mode == Mode::Spy);
    session.connected(mode);
    let writes = mode != Mode::Spy;
    assert_eq!(session.came(&notice(&Notice::Attached { offset: 100, writes })), Ok(None));
    session.screen.clear();
    session
}

fn notice(notice: &Notice) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_notice(notice, &mut bytes);
    bytes
}

fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, payload, &mut bytes);
    bytes
}

fn shown(session: &mut Session) -> String {
    let shown = String::from_utf8(std::mem::take(&mut session.screen)).expect("text");
    // Where we begin a line it is at its beginning, whatever the guest has left.
    assert_eq!(
        shown.matches("\r[seriald").count() + shown.matches("\n[seriald").count(),
        shown.matches("[seriald").count()
    );
    shown.replace("\r[seriald", "[seriald")
}

#[test]
fn who_attaches_is_told_how_to_leave_and_that_nothing_is_cleaned() {
    let mut session = session(Mode::Attach, false);
    let writes = true;
    session.came(&notice(&Notice::Attached { offset: 0, writes })).expect("frames");
    assert_eq!(
        shown(&mut session),
        "[seriald: attached to web-1; ~. leaves, ~? helps]\r\n\
         [seriald: what the guest prints goes to this terminal as it is]\r\n"
    );
    session.connected(Mode::Attach);
    session.came(&notice(&Notice::Attached { offset: 9, writes })).expect("frames");
    let again = "[seriald: attached to web-1 again; ~. leaves, ~? helps]\r\n";
    assert_eq!(shown(&mut session), again);
}

#[test]
fn keys_are_sent_and_output_is_shown_as_it_came() {
    let mut session = attached(Mode::Attach);
    assert_eq!(session.typed(b"ls ~\r"), None);
    assert_eq!(session.unsent, frame(Kind::Input, b"ls ~\r"));
    session.came(&frame(Kind::Output, b"\x1b[31mls\r\n\xff")).expect("frames");
    assert_eq!(session.screen, b"\x1b[31mls\r\n\xff");
    assert_eq!(session.offset(), Some(110));
    assert_eq!(session.typed(b"~."), Some(Ask::Leave));
    session.piped(b"~.");
    assert!(
        session.unsent.ends_with(&frame(Kind::Input, b"~.")),
        "input of no terminal is all its"
    );
}

#[test]
fn keys_that_come_before_the_first_word_of_seriald_are_sent() {
    let mut session = session(Mode::Attach, false);
    session.connected(Mode::Attach);
    session.piped(b"uptime\n");
    assert_eq!(session.unsent, frame(Kind::Input, b"uptime\n"));
}

#[test]
fn what_we_say_stands_on_a_line_of_its_own() {
    let mut session = attached(Mode::Attach);
    session.came(&frame(Kind::Output, b"login: ")).expect("frames");
    session.came(&notice(&Notice::InputGoesOn)).expect("frames");
    session.came(&frame(Kind::Output, b"root\r\n")).expect("frames");
    session.came(&notice(&Notice::Connected)).expect("frames");
    assert_eq!(
        shown(&mut session),
        "login: \r\n[seriald: input is taken again]\r\nroot\r\n\
         [seriald: the VMM's console is connected]\r\n"
    );
    session.typed(b"\r~?");
    let help = shown(&mut session);
    assert!(
        help.lines().all(|line| line.starts_with("[seriald: ")) && help.contains("~f"),
        "{help}"
    );
}

#[test]
fn where_output_is_no_terminal_we_say_it_beside() {
    let mut session = session(Mode::Attach, false);
    session.terms.is_shown = false;
    session.came(&notice(&Notice::Attached { offset: 0, writes: true })).expect("frames");
    session.came(&frame(Kind::Output, b"x")).expect("frames");
    assert_eq!((session.screen.as_slice(), session.asides.len()), (&b"x"[..], 1));
}

#[test]
fn a_spy_is_told_that_keys_go_nowhere_and_sees_text_alone() {
    let mut spy = attached(Mode::Spy);
    assert_eq!((spy.typed(b"a"), spy.typed(b"b")), (None, None));
    assert_eq!(shown(&mut spy), "[seriald: you only watch: keys go nowhere]\r\n");
    assert!(spy.unsent.is_empty());
    spy.came(&frame(Kind::Output, b"\x1b]0;evil\x07a\r\nb\x9b2J")).expect("frames");
    assert_eq!(shown(&mut spy), "a\r\nb");
    assert_eq!(spy.typed(b"\x03"), Some(Ask::Leave));
}

#[test]
fn a_writer_who_is_forced_out_goes_on_watching_and_may_force_himself() {
    let mut session = attached(Mode::Attach);
    session.came(&notice(&Notice::Spy { why: SpyReason::Forced })).expect("frames");
    let writer = Some(Writer { uid: 0, pid: Some(7) });
    session.came(&notice(&Notice::Writer { writer })).expect("frames");
    let told = shown(&mut session);
    assert!(told.contains("by force") && told.contains("user 0 (process 7) types"), "{told}");
    // Ctrl-C was meant for the guest.
    assert_eq!(session.typed(b"\x03"), None);
    assert!(session.unsent.is_empty());
    assert_eq!(session.typed(b"~f"), None, "within a line it is no escape");
    assert_eq!(session.typed(b"\r~f"), Some(Ask::Force));
    // Cut off, he comes back as he was.
    session.disconnected();
    assert_eq!(session.mode_again(), Mode::Spy);
}

#[test]
fn the_ends_are_told_apart() {
    let over = |told: &Notice| attached(Mode::Attach).came(&notice(told)).expect("frames");
    assert_eq!(over(&Notice::ConsoleGone), Some(Over::Gone));
    assert_eq!(over(&Notice::Lagged { offset: 1 }), Some(Over::Lagged));
    assert_eq!(over(&Notice::Disconnected), None);
    assert!(attached(Mode::Attach).came(b"n\0\0\x01?").is_err());
}

#[test]
fn keys_that_nobody_takes_are_bounded() {
    let mut session = attached(Mode::Attach);
    for _ in 0..1000 {
        session.typed(&[b'x'; 1024]);
    }
    assert!(session.unsent.len() <= UNSENT_MAX + 2048, "{}", session.unsent.len());
    assert_eq!(shown(&mut session).matches("dropped").count(), 1);
    // What was typed for a connection that is lost is not for the next.
    session.disconnected();
    assert!(session.unsent.is_empty());
    assert_eq!(session.mode_again(), Mode::Attach);
}

#[test]
fn a_reason_of_seriald_changes_no_terminal() {
    let mut session = attached(Mode::Attach);
    let why = "\x1b[2J\u{202e}".to_owned();
    session.came(&notice(&Notice::Missing { offset: 100, bytes: 5, why })).expect("frames");
    let said = shown(&mut session);
    assert!(said.trim_end().chars().all(|c| c.is_ascii() && !c.is_control()), "{said:?}");
    assert_eq!(session.offset(), Some(105));
}

proptest! {
    #[test]
    fn cutting_changes_nothing(
        parts in prop::collection::vec("[a\r\n\x1b\\[m]{1,9}", 1..6),
        spy in any::<bool>(),
    ) {
        let mode = if spy { Mode::Spy } else { Mode::Attach };
        let told = notice(&Notice::Disconnected);
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|part| [frame(Kind::Output, part.as_bytes()), told.clone()].concat())
            .collect();
        let (mut whole, mut each) = (attached(mode), attached(mode));
        prop_assert_eq!(whole.came(&bytes), Ok(None));
        for byte in &bytes {
            prop_assert_eq!(each.came(&[*byte]), Ok(None));
        }
        prop_assert_eq!(each.screen, whole.screen);
    }
}
