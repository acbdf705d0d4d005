//! Changing a JSON text in place: finds the span of a value, replaces it, leaves every other byte.
//!
//! Owns nothing: [`Json`] borrows the text, [`Edits`] collects replacements until they are applied.
//! Reading a configuration into a tree and writing it again would lose key order, number spelling
//! and white space, and with them the proof that nothing else has changed.
//!
//! **Invariant:** an edited text differs from its source in the edited spans only. A key that
//! occurs twice in an object that is looked into is an error, because the two readers of such a
//! text need not agree which of the values counts.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// The value it is about, such as `serial.mode`; empty for the text as a whole.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for JsonError {}

/// One member of an object.
#[derive(Debug, Clone)]
pub struct Member<'t> {
    /// The key, its escapes resolved.
    pub key: String,
    /// The value, as it stands in the text.
    pub value: &'t RawValue,
    /// From the key's opening quote to the value's last byte.
    pub span: Range<usize>,
}

/// A JSON text whose values are looked at where they stand.
///
/// Every `value` and `member` that a method takes must come from this very text.
#[derive(Debug, Clone, Copy)]
pub struct Json<'t> {
    text: &'t str,
    root: &'t RawValue,
}

impl<'t> Json<'t> {
    /// Checks the whole text's syntax.
    ///
    /// # Errors
    /// [`JsonError`] with the place of the first syntax error.
    pub fn new(text: &'t str) -> Result<Self, JsonError> {
        let root = serde_json::from_str(text).map_err(|error| JsonError {
            line: error.line(),
            column: error.column(),
            at: String::new(),
            what: without_place(&error),
        })?;
        Ok(Self { text, root })
    }

    /// The outermost value.
    pub fn root(&self) -> &'t RawValue {
        self.root
    }

    /// The text itself.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Where a value stands, in bytes, without white space around it.
    pub fn span(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + value.get().len()
    }

    /// An object's members in their order. `at` names the object in errors.
    ///
    /// # Errors
    /// [`JsonError`] if the value is no object, or a key occurs twice or can't be decoded.
    pub fn members(&self, value: &'t RawValue, at: &str) -> Result<Vec<Member<'t>>, JsonError> {
        let Members(pairs) = self.typed(value, at, "an object")?;
        let mut seen = HashSet::new();
        let mut members = Vec::with_capacity(pairs.len());
        for (raw_key, value) in pairs {
            let key = self.string(raw_key, at)?;
            if !seen.insert(key.clone()) {
                return Err(self.error(raw_key, at, format!("the key \"{key}\" occurs twice")));
            }
            let span = self.span(raw_key).start..self.span(value).end;
            members.push(Member { key, value, span });
        }
        Ok(members)
    }

    /// An array's elements. `at` names the array in errors.
    ///
    /// # Errors
    /// [`JsonError`] if the value is no array.
    pub fn elements(&self, value: &'t RawValue, at: &str) -> Result<Vec<&'t RawValue>, JsonError> {
        self.typed(value, at, "an array")
    }

    /// A string, its escapes resolved. `at` names it in errors.
    ///
    /// # Errors
    /// [`JsonError`] if the value is no string, or has an escape that is no character.
    pub fn string(&self, value: &'t RawValue, at: &str) -> Result<String, JsonError> {
        self.typed(value, at, "a string")
    }

    /// An error about a value of this text.
    pub fn error(&self, value: &RawValue, at: &str, what: String) -> JsonError {
        let before = &self.text.as_bytes()[..self.span(value).start];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |lf| lf + 1);
        JsonError {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: before.len() - line_start + 1,
            at: at.to_owned(),
            what,
        }
    }

    fn typed<T: Deserialize<'t>>(
        &self,
        value: &'t RawValue,
        at: &str,
        wanted: &str,
    ) -> Result<T, JsonError> {
        serde_json::from_str(value.get()).map_err(|_| {
            let what = match kind(value) {
                // The syntax was checked: it is the one escape that is no character.
                found if found == wanted => "has half of a surrogate pair in it".to_owned(),
                found => format!("should be {wanted}, is {found}"),
            };
            self.error(value, at, what)
        })
    }
}

/// Whether the value is `null`, which CH v52 writes for what is absent.
pub fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// The member of that name, unless absent or null.
pub fn member<'m, 't>(members: &'m [Member<'t>], key: &str) -> Option<&'m Member<'t>> {
    members.iter().find(|member| member.key == key && !is_null(member.value))
}

/// What the value is, for a person.
pub fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// serde_json ends its words with the place, which we name ourselves.
fn without_place(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    words.strip_suffix(&place).unwrap_or(&words).to_owned()
}

struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Members(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The text as a JSON string, quotes included.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Replacements in a text, collected in any order. Two at one place are applied in the order in
/// which they came; spans must not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    /// No edits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `with` in the place of the span; an empty span is an insertion.
    pub fn replace(&mut self, span: Range<usize>, with: impl Into<String>) {
        self.0.push((span, with.into()));
    }

    /// Takes out the member at `index`, and the comma and white space that set it apart.
    pub fn remove_member(&mut self, members: &[Member<'_>], index: usize) {
        let span = &members[index].span;
        let span = match (members.get(index + 1), index.checked_sub(1)) {
            (Some(next), _) => span.start..next.span.start,
            (None, Some(before)) => members[before].span.end..span.end,
            (None, None) => span.clone(),
        };
        self.replace(span, "");
    }

    /// Adds members, written as `"key":value` with commas between, after the last one of `members`,
    /// or into the empty object that `object` is the span of.
    pub fn append(&mut self, object: Range<usize>, members: &[Member<'_>], added: &str) {
        match members.last() {
            Some(last) => self.replace(last.span.end..last.span.end, format!(",{added}")),
            None => self.replace(object.start + 1..object.start + 1, added),
        }
    }

    /// Edits of a string's *content* as edits of the text that holds the string as a JSON literal
    /// at `literal`: how a text inside a JSON string is changed without respelling the rest of it.
    pub fn lift(self, text: &str, literal: Range<usize>) -> Self {
        let raw = &text[literal.clone()];
        let place = |content_at| literal.start + raw_offset(raw, content_at);
        let lift_one = |(span, with): (Range<usize>, String)| {
            let with = quoted(&with);
            (place(span.start)..place(span.end), with[1..with.len() - 1].to_owned())
        };
        Self(self.0.into_iter().map(lift_one).collect())
    }

    /// Takes over another's edits.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The text with all edits made.
    pub fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|(span, _)| (span.start, span.end));
        let mut edited = String::with_capacity(text.len());
        let mut copied = 0;
        for (span, with) in &self.0 {
            debug_assert!(copied <= span.start, "overlapping edits");
            edited.push_str(&text[copied..span.start]);
            edited.push_str(with);
            copied = span.end;
        }
        edited.push_str(&text[copied..]);
        edited
    }
}

/// Where in a JSON string literal the byte `content_at` of its content is spelled. The literal is
/// valid, quotes included.
fn raw_offset(literal: &str, content_at: usize) -> usize {
    let bytes = literal.as_bytes();
    let (mut raw, mut content) = (1, 0);
    while content < content_at && raw + 1 < bytes.len() {
        let (raw_bytes, content_bytes) = match (bytes[raw], bytes[raw + 1]) {
            (b'\\', b'u') => {
                let unit = u32::from_str_radix(&literal[raw + 2..raw + 6], 16).unwrap_or_default();
                match unit {
                    0..0x80 => (6, 1),
                    0x80..0x800 => (6, 2),
                    // Half of a pair: the other half follows, and the two are one character.
                    0xd800..0xe000 => (12, 4),
                    _ => (6, 3),
                }
            }
            (b'\\', _) => (2, 1),
            _ => (1, 1),
        };
        raw += raw_bytes;
        content += content_bytes;
    }
    raw
}

#[cfg(test)]
mod tests;
