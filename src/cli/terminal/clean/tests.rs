//! What a guest may print, and what is seen of it.

use super::*;
use proptest::prelude::*;

/// Each is told by the terminal that it was the end of, or that it had obey.
const ATTACKS: [(&str, &[u8], &str); 19] = [
    ("CVE-2003-0063, the title is set and reported", b"a\x1b]0;;id\x07\x1b[21tb", "ab"),
    ("CVE-2003-0063, by 8-bit controls", b"a\x9d0;;id\x9c\x9b21tb", "ab"),
    ("CVE-2003-0063, by C1 in UTF-8", "a\u{9d}0;;id\u{9c}\u{9b}21tb".as_bytes(), "ab"),
    // Its newlines end it: what it would have typed is seen.
    ("CVE-2008-2383, DECRQSS", b"a\x1bP$q\nid\n\x1b\\b", "a\nid\nb"),
    ("CVE-2009-4487, a log clears the screen", b"GET \x1b[2J\x1b[H/ 200\n", "GET / 200\n"),
    ("CVE-2021-25743, kubectl", b"\x1b[31m\x1b[5moh\x1b[0m\x1b]2;pwned\x1b\\", "oh"),
    ("CVE-2021-33477, rxvt's graphics query", b"a\x1bGQ;b", "aQ;b"),
    ("CVE-2022-45063, OSC 50", b"a\x1b]50;i$(id)\x07\x1b]50;?\x07b", "ab"),
    ("CVE-2022-45872, DECRQSS in iTerm2", b"a\x1bP$q;id;\x1b\\b", "ab"),
    ("CVE-2023-46300, tmux integration", b"a\x1bP1000pb%exit\x1b\\c", "ac"),
    ("CVE-2023-46301, an upload", b"a\x1b]1337;RequestUpload=format=tgz\x07b", "ab"),
    ("CVE-2024-38396, the title is reported", b"a\x1b]2;id\x1b\\\x1b[20t\x1b[21tb", "ab"),
    ("the clipboard", b"a\x1b]52;c;aWQ=\x07b", "ab"),
    ("screen's and tmux's title", b"a\x1bkid\x1b\\b", "ab"),
    ("another character set", b"a\x1b(0\x0eb\x0f", "a\\x0eb\\x0f"),
    ("an answer in every terminal", b"a\x1b[c\x1b[>c\x1b[6n\x05\x1bZb", "a\\x05b"),
    ("SOS, PM and APC", b"a\x1bXid\x1b\\\x1b^id\x1b\\\x1b_Gid\x1b\\b", "ab"),
    ("the Linux console's palette, which has no end", b"a\x1b]P0ff00ffb\x1b]Rc", "abc"),
    ("a sequence within another", b"a\x1b[3\x1b]0;x\x1b[1mb\x1b\x1b[mc", "abc"),
];

#[test]
fn what_attacked_a_terminal_is_gone() {
    for (name, bytes, seen) in ATTACKS {
        assert_eq!(cleaned(bytes), seen, "{name}");
    }
}

#[test]
fn marks_without_end_are_no_letter_any_more() {
    // CVE-2021-27135.
    let zalgo = format!("e{}f", "\u{301}".repeat(100));
    let seen = cleaned(zalgo.as_bytes());
    assert_eq!(seen.matches('\u{301}').count(), usize::from(MARKS_MAX) * 14 + 2, "{seen}");
}

#[test]
fn text_stays_as_it_is() {
    for text in ["", "login: ", "a\tb\n\nc\n", "naïve Ελλάδα 日本語 ❤ e\u{301} a\u{308}\u{304}"]
    {
        assert_eq!(cleaned(text.as_bytes()), text);
    }
}

#[test]
fn nothing_is_written_over() {
    for (bytes, seen) in [
        (&b"a\r\nb\r\n"[..], "a\nb\n"),
        (b"a\r\r\nb\n\rc", "a\nb\nc"),
        (b"rm -rf /\rls      \n", "rm -rf /\nls      \n"),
        (b"10%\r\x1b[K20%\r", "10%\n20%\n"),
        (b"secret\x08\x08\x08\x08\x08\x08public", "secret\\x08\\x08\\x08\\x08\\x08\\x08public"),
        (b"a\x0bb\x0cc\x7f\0", "a\\x0bb\\x0cc\\x7f\\x00"),
        (b"a\x84b\x85c\x8dd", "a\\x84b\\x85c\\x8dd"),
        (b"\r\r\x1b[m\r\n", "\n"),
    ] {
        assert_eq!(cleaned(bytes), seen);
    }
}

#[test]
fn what_turns_or_hides_text_is_shown() {
    for (text, seen) in [
        ("/* \u{202e} } \u{2066}if */", "/* \\u{202e} } \\u{2066}if */"),
        ("pay\u{200b}pal\u{feff}\u{ad}", "pay\\u{200b}pal\\u{feff}\\u{ad}"),
        ("\u{e0041}\u{fe0f}\u{3164}\u{2028}", "\\u{e0041}\\u{fe0f}\\u{3164}\\u{2028}"),
        ("\n\u{301}", "\n\\u{301}"),
    ] {
        assert_eq!(cleaned(text.as_bytes()), seen);
    }
}

#[test]
fn bytes_that_are_no_character_are_shown() {
    for (bytes, seen) in [
        (&b"\xff\xfe"[..], "\\xff\\xfe"),
        (b"a\xc3", "a\\xc3"),
        (b"\xc3\xc3\xa9", "\\xc3é"),
        (b"\xe2\x82x\xe2\x82\xac", "\\xe2\\x82x€"),
        (b"\xc0\xaf\xed\xa0\x80", "\\xc0\\xaf\\xed\\xa0\\x80"),
        (b"\xf4\xbf\xbf\xbf", "\\xf4\\xbf\\xbf\\xbf"),
    ] {
        assert_eq!(cleaned(bytes), seen);
    }
}

#[test]
fn a_sequence_without_an_end_hides_no_line_and_no_more_than_a_little() {
    for begin in ["\x1b[", "\x1b]0;", "\x1bP", "\x1b(", "\x1b_", "\u{9b}", "\x1bk", "\x1b]P"] {
        assert_eq!(cleaned(format!("a{begin}\nb").as_bytes()), "a\nb", "{begin:?}");
        let long = begin.to_owned() + &";".repeat(10_000);
        let seen = cleaned(long.as_bytes());
        assert!(seen.len() >= 10_000 - STRING_MAX as usize - 4, "{begin:?}: {}", seen.len());
    }
    // A letter of two bytes in a title doesn't end it by its second, which is ST's.
    assert_eq!(cleaned("a\x1b]0;\u{5dc}x\x07b".as_bytes()), "ab");
}

fn is_safe(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        c => !c.is_control() && !deceives(c),
    }
}

/// Bytes that begin, end and break sequences, more often than chance has it.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        &b"\x1b"[..],
        b"[",
        b"]",
        b"P",
        b"k",
        b"\\",
        b"\x07",
        b"\r",
        b"\n",
        b"\t",
        b"m",
        b"0;",
        b"(",
        b"\x18",
        b"\x9b",
        b"\x9c",
        b"\x9d",
        b"\xc2\x9b",
        b"\xc2\x9c",
        b"\xe2\x80\xae",
        b"\xcc\x81",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98\x80",
        b"text",
    ];
    let part = prop_oneof![
        4 => prop::sample::select(parts.to_vec()).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn only_safe_text_comes_out(bytes in nasty()) {
        let seen = cleaned(&bytes);
        prop_assert!(seen.chars().all(is_safe), "{:?}", seen);
        // And it is its own cleaned form.
        prop_assert_eq!(cleaned(seen.as_bytes()), seen);
    }

    #[test]
    fn cutting_changes_nothing(bytes in nasty(), cut in any::<prop::sample::Index>()) {
        let whole = cleaned(&bytes);
        let (mut one, mut each) = (String::new(), String::new());
        let mut cleaner = Cleaner::default();
        bytes.iter().for_each(|byte| cleaner.clean(&[*byte], &mut each));
        cleaner.finish(&mut each);
        prop_assert_eq!(&each, &whole);
        let (before, after) = bytes.split_at(cut.index(bytes.len() + 1));
        let mut cleaner = Cleaner::default();
        cleaner.clean(before, &mut one);
        cleaner.clean(after, &mut one);
        cleaner.finish(&mut one);
        prop_assert_eq!(one, whole);
    }

    #[test]
    fn a_line_of_ascii_is_never_hidden_by_what_came_before(bytes in nasty()) {
        let seen = cleaned(&[&bytes, &b"\nERROR: it is on fire\n"[..]].concat());
        prop_assert!(seen.ends_with("\nERROR: it is on fire\n"), "{:?}", seen);
    }
}
