//! What is typed at a console: keys for the guest, and a few for us.
//!
//! Owns the escape at the beginning of a line.
//! **Invariant:** pure. Each byte goes to the guest, in order, unless it is part of an escape; and
//! it is the same however the bytes were cut into pieces. What a terminal answers goes there, too,
//! but is nothing that was typed: a guest that asks it without end keeps nobody from leaving.

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// This is for the guest.
    Keys(Vec<u8>),
    /// Leave the console.
    Leave,
    /// Say what can be typed.
    Help,
    /// Stop, as a job of the shell's.
    Suspend,
    /// Type in place of another.
    Force,
}

/// Longest sequence that may be a terminal's answer.
const ANSWER_MAX: usize = 256;
const ESC: u8 = 0x1b;

/// Where the last byte has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An escape may begin here.
    LineStart,
    /// It has begun.
    Escaped,
    /// Neither.
    WithinLine,
}

/// In a sequence of the terminal's: a key, or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    /// Behind an ESC.
    Begun,
    /// A control sequence.
    Control,
    /// A string.
    Within,
    /// Behind an ESC in a string.
    Ending,
}

/// What a byte makes of a sequence.
enum Next {
    GoesOn(Sequence),
    /// It was an answer.
    Answer,
    /// It was a key, this byte its last one.
    Key,
    /// It was none, and this byte is no part of it.
    None,
}

impl Sequence {
    fn next(self, byte: u8) -> Next {
        match (self, byte) {
            (Sequence::Begun, b'[') => Next::GoesOn(Sequence::Control),
            (Sequence::Begun, b']' | b'P' | b'_' | b'^' | b'X') => Next::GoesOn(Sequence::Within),
            (Sequence::Begun, 0x20..=0x7e) => Next::Key,
            (Sequence::Control, 0x20..=0x3f) => Next::GoesOn(Sequence::Control),
            // What it is, where its cursor is, how it is, its window, its modes.
            (Sequence::Control, b'c' | b'R' | b'n' | b't' | b'y') => Next::Answer,
            (Sequence::Control, 0x40..=0x7e) => Next::Key,
            (Sequence::Within, 0x07) | (Sequence::Ending, b'\\') => Next::Answer,
            (Sequence::Within, ESC) => Next::GoesOn(Sequence::Ending),
            (Sequence::Within, 0x20..=0xff) => Next::GoesOn(Sequence::Within),
            _ => Next::None,
        }
    }
}

/// Tells keys and escapes apart.
#[derive(Clone, Debug)]
pub struct Keys {
    escape: Option<u8>,
    place: Place,
    /// And how long it is.
    sequence: Option<(Sequence, usize)>,
    /// A sequence that came behind the beginning of an escape.
    held: Vec<u8>,
}

impl Keys {
    /// With this escape, or none.
    pub fn new(escape: Option<u8>) -> Keys {
        Keys { escape, place: Place::LineStart, sequence: None, held: Vec::new() }
    }

    /// The escape as it is named.
    pub fn escape_name(&self) -> Option<String> {
        self.escape.map(name)
    }

    /// What these bytes ask for.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let (mut asked, mut keys) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if self.take_sequence(byte, &mut keys) {
                continue;
            }
            if let Some(own) = self.take_byte(byte, &mut keys) {
                asked.extend((!keys.is_empty()).then(|| Typed::Keys(std::mem::take(&mut keys))));
                asked.push(own);
            }
        }
        asked.extend((!keys.is_empty()).then_some(Typed::Keys(keys)));
        asked
    }

    /// Whether the byte is part of a sequence.
    fn take_sequence(&mut self, byte: u8, keys: &mut Vec<u8>) -> bool {
        let next = match self.sequence {
            None if byte == ESC && self.escape != Some(ESC) => Next::GoesOn(Sequence::Begun),
            None => return false,
            Some((_, ANSWER_MAX..)) => Next::None,
            Some((sequence, _)) => sequence.next(byte),
        };
        let length = self.sequence.take().map_or(0, |(_, length)| length);
        let is_escaped = self.place == Place::Escaped;
        match next {
            Next::GoesOn(sequence) => self.sequence = Some((sequence, length + 1)),
            Next::Answer => {}
            Next::Key | Next::None => self.give_up_escape(keys),
        }
        if matches!(next, Next::None) {
            return false;
        }
        // Whether the escape comes before it is not known yet.
        match is_escaped && self.place == Place::Escaped {
            true => self.held.push(byte),
            false => keys.push(byte),
        }
        if self.sequence.is_none() {
            keys.append(&mut self.held);
        }
        true
    }

    /// What began at the line's beginning was no escape, or is none any more.
    fn give_up_escape(&mut self, keys: &mut Vec<u8>) {
        if self.place == Place::Escaped {
            keys.extend(self.escape);
            keys.append(&mut self.held);
        }
        self.place = Place::WithinLine;
    }

    /// What a byte asks for that is part of no sequence.
    fn take_byte(&mut self, byte: u8, keys: &mut Vec<u8>) -> Option<Typed> {
        let is_escape = self.escape == Some(byte);
        match self.place {
            Place::LineStart if is_escape => {
                self.place = Place::Escaped;
                return None;
            }
            Place::Escaped => {
                let own = match byte {
                    b'.' => Some(Typed::Leave),
                    b'?' => Some(Typed::Help),
                    b'f' => Some(Typed::Force),
                    0x1a => Some(Typed::Suspend),
                    _ => None,
                };
                if own.is_some() {
                    self.place = Place::LineStart;
                    return own;
                }
                // Twice is once for the guest; before anything else it was meant for it, too.
                self.give_up_escape(keys);
                if is_escape {
                    return None;
                }
            }
            _ => {}
        }
        keys.push(byte);
        let ends_line = matches!(byte, b'\r' | b'\n');
        self.place = if ends_line { Place::LineStart } else { Place::WithinLine };
        None
    }
}

/// The name of a key: `~`, or `^]` with the control key.
pub fn name(key: u8) -> String {
    match key {
        0x7f => "^?".into(),
        0..=0x1f => format!("^{}", char::from(key + 0x40)),
        _ => char::from(key).to_string(),
    }
}

/// The key of that name; `none`: there is to be no escape.
pub fn parse(text: &str) -> Result<Option<u8>, String> {
    match text.as_bytes() {
        b"none" => Ok(None),
        [key @ 0x21..=0x7e] => Ok(Some(*key)),
        b"^?" => Ok(Some(0x7f)),
        [b'^', key] if matches!(key.to_ascii_uppercase(), b'@'..=b'_') => {
            Ok(Some(key.to_ascii_uppercase() - 0x40))
        }
        _ => Err("is neither one key, as ~ or ^], nor none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(bytes: &[u8]) -> Vec<Typed> {
        Keys::new(Some(b'~')).take(bytes)
    }

    fn keys(bytes: &[u8]) -> Typed {
        Typed::Keys(bytes.to_vec())
    }

    #[test]
    fn an_escape_is_one_at_the_beginning_of_a_line_alone() {
        assert_eq!(typed(b"~."), [Typed::Leave]);
        assert_eq!(typed(b"ls\r~."), [keys(b"ls\r"), Typed::Leave]);
        assert_eq!(typed(b"ls ~."), [keys(b"ls ~.")]);
        assert_eq!(
            typed(b"~?~\x1ax\n~?"),
            [Typed::Help, Typed::Suspend, keys(b"x\n"), Typed::Help]
        );
    }

    #[test]
    fn an_escape_that_is_none_goes_to_the_guest() {
        assert_eq!(typed(b"~~."), [keys(b"~.")]);
        assert_eq!(typed(b"~/bin\r~\r~."), [keys(b"~/bin\r~\r"), Typed::Leave]);
        assert_eq!(typed(b"~"), []);
        assert_eq!(Keys::new(None).take(b"~.\r~."), [keys(b"~.\r~.")]);
        assert_eq!(Keys::new(Some(0x1d)).take(b"~.\r\x1d."), [keys(b"~.\r"), Typed::Leave]);
    }

    #[test]
    fn what_the_terminal_answers_is_sent_and_keeps_nobody_from_leaving() {
        let answers: [&[u8]; 5] = [
            b"\x1b[?1;2c",
            b"\x1b[12;1R",
            b"\x1b]11;rgb:0/0/0\x07",
            b"\x1bP1$r0m\x1b\\",
            b"\x1b[0n",
        ];
        for answer in answers {
            let before = [answer, b"~", answer, answer, b"."].concat();
            let sent = keys(&answer.repeat(3));
            assert_eq!(typed(&before), [sent, Typed::Leave], "{answer:?}");
            // Within a line it stays one.
            let within = [b"x", answer, b"~."].concat();
            assert_eq!(typed(&within), [keys(&within)]);
        }
        // A key is something typed, and stays behind what was typed before it.
        for key in [&b"\x1b[A"[..], b"\x1bOA", b"\x1bx", b"\x1b[3~"] {
            for bytes in [[key, b"~."].concat(), [b"~", key, b"~."].concat()] {
                assert_eq!(typed(&bytes), [keys(&bytes)], "{key:?}");
            }
        }
        // A string without an end ends with the line.
        assert_eq!(typed(b"\x1b]x\r~."), [keys(b"\x1b]x\r"), Typed::Leave]);
        let long = [b"\x1b]", &[b'x'; 300][..], b"\r~."].concat();
        assert_eq!(typed(&long).last(), Some(&Typed::Leave));
        // The key itself is sent at once.
        assert_eq!(typed(b"\x1b"), [keys(b"\x1b")]);
    }

    #[test]
    fn an_escape_has_a_name() {
        for (text, key) in [("~", b'~'), ("^]", 0x1d), ("^a", 1), ("^A", 1), ("^?", 0x7f)] {
            assert_eq!(parse(text), Ok(Some(key)), "{text}");
            assert_eq!(parse(&name(key)), Ok(Some(key)), "{text}");
        }
        assert_eq!(parse("none"), Ok(None));
        for wrong in ["", "ab", "^", " ", "é", "^1", "\n"] {
            assert_eq!(parse(wrong).is_ok(), wrong == "^", "{wrong:?}");
        }
    }

    /// Bytes that are something here.
    fn some() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"~.?x\r\n\x1a\x1b[c]\\".to_vec());
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(bytes in some()) {
            let whole = typed(&bytes);
            let mut keys = Keys::new(Some(b'~'));
            let mut pieces: Vec<Typed> = Vec::new();
            for typed in bytes.iter().flat_map(|byte| keys.take(&[*byte])) {
                match (pieces.last_mut(), typed) {
                    (Some(Typed::Keys(before)), Typed::Keys(more)) => before.extend(more),
                    (_, typed) => pieces.push(typed),
                }
            }
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn without_an_escape_all_is_sent(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let sent = Keys::new(None).take(&bytes);
            let expected = if bytes.is_empty() { vec![] } else { vec![keys(&bytes)] };
            prop_assert_eq!(sent, expected);
        }
    }
}
