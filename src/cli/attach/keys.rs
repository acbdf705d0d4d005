//! What is typed at a console: keys for the guest, and a few for us.
//!
//! Owns the escape at the beginning of a line.
//! **Invariant:** pure. Each byte goes to the guest, in order, unless it is part of an escape; and
//! it is the same however the bytes were cut into pieces.

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

/// Tells keys and escapes apart.
#[derive(Clone, Debug)]
pub struct Keys {
    escape: Option<u8>,
    place: Place,
}

impl Keys {
    /// With this escape, or none.
    pub fn new(escape: Option<u8>) -> Keys {
        Keys { escape, place: Place::LineStart }
    }

    /// The escape as it is named.
    pub fn escape_name(&self) -> Option<String> {
        self.escape.map(name)
    }

    /// What these bytes ask for.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let (mut asked, mut keys) = (Vec::new(), Vec::new());
        for &byte in bytes {
            let escape = self.escape.filter(|_| self.place != Place::WithinLine);
            match (self.place, escape) {
                (Place::LineStart, Some(escape)) if byte == escape => {
                    self.place = Place::Escaped;
                    continue;
                }
                (Place::Escaped, Some(escape)) => {
                    let own = match byte {
                        b'.' => Some(Typed::Leave),
                        b'?' => Some(Typed::Help),
                        0x1a => Some(Typed::Suspend),
                        b'f' => Some(Typed::Force),
                        _ => None,
                    };
                    if let Some(own) = own {
                        asked.extend((!keys.is_empty()).then(|| Typed::Keys(keys.split_off(0))));
                        asked.push(own);
                        self.place = Place::LineStart;
                        continue;
                    }
                    // Twice is once for the guest; before anything else it was meant for it, too.
                    keys.push(escape);
                    if byte == escape {
                        self.place = Place::WithinLine;
                        continue;
                    }
                }
                _ => {}
            }
            keys.push(byte);
            let ends_line = matches!(byte, b'\r' | b'\n');
            self.place = if ends_line { Place::LineStart } else { Place::WithinLine };
        }
        asked.extend((!keys.is_empty()).then_some(Typed::Keys(keys)));
        asked
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

    proptest! {
        #[test]
        fn cutting_changes_nothing(
            bytes in prop::collection::vec(prop::sample::select(b"~.?x\r\n\x1a".to_vec()), 0..40),
        ) {
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
    }
}
