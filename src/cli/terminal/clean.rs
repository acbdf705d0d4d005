//! A guest's bytes as text that is safe on anybody's terminal.
//!
//! Owns what is removed (sequences), what is shown in place of a byte or a character, and how much
//! of an unfinished sequence is believed.
//! **Invariant:** pure, and never panics. What comes out has no ESC, no C1, no DEL, no C0 but
//! newline and tab, nothing that turns the direction of writing or takes no room on the screen but
//! a few marks on a letter; and it is the same however the bytes were cut into pieces. The state is
//! a few bytes.
//!
//! Sequences (CSI, OSC, DCS and their like) are removed as a whole: a guest that paints its boot in
//! colours stays readable. What is no sequence and no text is shown: `\x07`, `\xff`, `\u{202e}`. A
//! carriage return never leads back over what is there: it begins a line, unless it is at the
//! beginning of one or a newline follows.

use std::fmt::Write;
use unicode_width::UnicodeWidthChar;

/// Longest CSI or escape sequence that is removed, in characters: the longest of use are below 60.
/// What comes after that is text, so that no guest can hide more by not ending one.
const SEQUENCE_MAX: u32 = 256;
/// Longest string (OSC, DCS, ...) that is removed, in characters; a newline ends it too.
const STRING_MAX: u32 = 4096;
/// Marks on a letter in a row that are shown as such: no script needs more, and more than that have
/// been the end of terminals (CVE-2021-27135).
const MARKS_MAX: u8 = 6;
/// Digits of the Linux console's palette, which has no end.
const PALETTE_DIGITS: u8 = 7;

/// Between two characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Text.
    #[default]
    Text,
    /// Behind an ESC, and so many intermediate characters.
    Escape(u32),
    /// In a control sequence, behind so many characters.
    Control(u32),
    /// In a string, behind so many characters; whether a BEL ends it.
    Inside(u32, bool),
    /// In the Linux console's palette, so many digits before its end.
    Palette(u8),
}

/// Takes bytes, gives text.
#[derive(Clone, Debug, Default)]
pub struct Cleaner {
    state: State,
    /// The beginning of a character of several bytes.
    partial: [u8; 4],
    partial_len: usize,
    /// The last thing was a carriage return, behind text.
    returned: bool,
    /// Something stands on the line.
    in_line: bool,
    /// Marks in a row.
    marks: u8,
}

impl Cleaner {
    /// Adds to `text` what is to be shown of these bytes.
    pub fn clean(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.take_byte(byte, text);
        }
    }

    /// Adds what was kept back for more to come. The next byte is the first of something new.
    pub fn finish(&mut self, text: &mut String) {
        self.give_up_partial(text);
        self.state = State::Text;
        if std::mem::take(&mut self.returned) {
            self.newline(text);
        }
    }

    fn take_byte(&mut self, byte: u8, text: &mut String) {
        if self.partial_len == 0 && byte.is_ascii() {
            return self.take(char::from(byte), text);
        }
        self.partial[self.partial_len] = byte;
        self.partial_len += 1;
        match str::from_utf8(&self.partial[..self.partial_len]) {
            Ok(whole) => {
                let c = whole.chars().next().unwrap_or_default();
                self.partial_len = 0;
                self.take(c, text);
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                // What stood before can't go on with this byte, which may begin another.
                self.partial_len -= 1;
                let alone = self.partial_len == 0;
                self.give_up_partial(text);
                if alone { self.take_odd(byte, text) } else { self.take_byte(byte, text) }
            }
        }
    }

    /// The beginning of a character that does not go on.
    fn give_up_partial(&mut self, text: &mut String) {
        let (partial, len) = (self.partial, std::mem::take(&mut self.partial_len));
        for &byte in &partial[..len] {
            self.take_odd(byte, text);
        }
    }

    /// A byte that is part of no character. A terminal that expects another encoding takes some of
    /// them for controls, so they are taken for such here too.
    fn take_odd(&mut self, byte: u8, text: &mut String) {
        match byte {
            0x80..=0x9f => self.take(char::from(byte), text),
            _ if self.swallows() => {}
            _ => self.show_byte(byte, text),
        }
    }

    /// Counts one more character of a string; whether it is one's.
    fn swallows(&mut self) -> bool {
        match &mut self.state {
            State::Inside(n, _) if *n < STRING_MAX => *n += 1,
            state => *state = State::Text,
        }
        self.state != State::Text
    }

    fn take(&mut self, c: char, text: &mut String) {
        match (self.state, c) {
            (State::Text, _) => return self.take_text(c, text),
            // These two end any sequence, and are nothing else (ECMA-48).
            (_, '\x18' | '\x1a') => return self.state = State::Text,
            // And so does whatever begins another.
            (_, '\n' | '\r' | '\x1b' | '\u{80}'..='\u{9f}') => {}
            (State::Escape(0), _) if self.begins(c) => return,
            (State::Escape(n), ' '..='/') if n < SEQUENCE_MAX => {
                return self.state = State::Escape(n + 1);
            }
            (State::Escape(_), '0'..='~') => return self.state = State::Text,
            (State::Control(n), ' '..='?') if n < SEQUENCE_MAX => {
                return self.state = State::Control(n + 1);
            }
            (State::Control(_), '@'..='~') => return self.state = State::Text,
            (State::Inside(0, true), 'P') => return self.state = State::Palette(PALETTE_DIGITS),
            (State::Inside(_, true), '\x07') | (State::Inside(0, true), 'R') => {
                return self.state = State::Text;
            }
            (State::Inside(..), _) if self.swallows() => return,
            (State::Palette(n), c) if c.is_ascii_hexdigit() => {
                return self.state = if n > 1 { State::Palette(n - 1) } else { State::Text };
            }
            _ => {}
        }
        self.state = State::Text;
        self.take_text(c, text);
    }

    /// Whether what follows an ESC begins something longer.
    fn begins(&mut self, c: char) -> bool {
        self.state = match c {
            '[' => State::Control(0),
            ']' => State::Inside(0, true),
            // DCS, SOS, PM, APC, and the title of screen and tmux.
            'P' | 'X' | '^' | '_' | 'k' => State::Inside(0, false),
            _ => return false,
        };
        true
    }

    fn take_text(&mut self, c: char, text: &mut String) {
        match c {
            '\n' => {
                self.returned = false;
                self.newline(text);
            }
            '\r' => self.returned = self.in_line,
            '\x1b' => self.state = State::Escape(0),
            // C1 is ESC and a letter in one.
            '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => {
                let letter = char::from(c as u8 - 0x40);
                self.begins(letter);
            }
            // The end of a string that was none.
            '\u{9c}' => {}
            '\t' => self.show(c, text),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' => self.show_byte(c as u8, text),
            c if c.is_ascii() => self.show(c, text),
            c if deceives(c) => self.show_code(c, text),
            c if c.width() == Some(0) => {
                if self.marks < MARKS_MAX && self.in_line && !self.returned {
                    self.marks += 1;
                    text.push(c);
                } else {
                    self.show_code(c, text);
                }
            }
            c => self.show(c, text),
        }
    }

    fn newline(&mut self, text: &mut String) {
        text.push('\n');
        (self.in_line, self.marks) = (false, 0);
    }

    /// Makes room for something that is seen.
    fn step(&mut self, text: &mut String) {
        if std::mem::take(&mut self.returned) {
            self.newline(text);
        }
        (self.in_line, self.marks) = (true, 0);
    }

    fn show(&mut self, c: char, text: &mut String) {
        self.step(text);
        text.push(c);
    }

    fn show_byte(&mut self, byte: u8, text: &mut String) {
        self.step(text);
        let _ = write!(text, "\\x{byte:02x}");
    }

    fn show_code(&mut self, c: char, text: &mut String) {
        self.step(text);
        let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
    }
}

/// Format characters, fillers and separators: what is not seen, or makes other text be seen
/// elsewhere or otherwise.
fn deceives(c: char) -> bool {
    matches!(u32::from(c),
        // Soft hyphen, joiners and fillers that look like nothing.
        0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x3164
        // Zero width, direction, embedding, isolates, line and paragraph separators, invisible
        // operators.
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        // Variation selectors, the byte order mark, another filler, annotations.
        | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb
        // Format controls of hieroglyphs, shorthand and music; tags.
        | 0x13430..=0x1345f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

/// All of it at once.
#[cfg(test)]
fn cleaned(bytes: &[u8]) -> String {
    let (mut cleaner, mut text) = (Cleaner::default(), String::new());
    cleaner.clean(bytes, &mut text);
    cleaner.finish(&mut text);
    text
}

#[cfg(test)]
mod tests;
