//! A JSON file that a person wrote, read so that every complaint names the place.
//!
//! Owns the file's text; a [`Node`] is a slice of it, so its line and column are where it lies.
//! **Invariant:** knows no key: which ones there may be, the caller says.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes: a VM takes some 200, so this is room for 100,000.
const FILE_MAX: u64 = 32 * 1024 * 1024;

const HALF_PAIR: &str = "has half of a surrogate pair in it";

/// What is wrong in a file, and where.
#[derive(Debug)]
pub struct FileError {
    place: String,
    what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for FileError {}

/// A file's text, with its name for the messages.
pub struct JsonFile {
    name: String,
    text: String,
}

impl JsonFile {
    /// Reads the file whole.
    ///
    /// # Errors
    /// It can't be read, is too long, or is not UTF-8.
    pub fn read(path: &Path) -> Result<JsonFile, FileError> {
        let name = path.display().to_string();
        let wrong = |what: String| FileError { place: name.clone(), what };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
            .map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(wrong(format!("is longer than {FILE_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            wrong(format!("byte {} is not UTF-8, which JSON must be", e.utf8_error().valid_up_to()))
        })?;
        Ok(JsonFile { name, text })
    }

    /// A text that lies in no file, with a name for the messages.
    pub fn of(name: &str, text: &str) -> JsonFile {
        JsonFile { name: name.into(), text: text.into() }
    }

    /// The value that the file holds.
    pub fn root(&self) -> Result<Node<'_>, FileError> {
        if self.text.trim().is_empty() {
            return Err(FileError { place: self.name.clone(), what: "is empty".into() });
        }
        let raw: &RawValue = serde_json::from_str(&self.text).map_err(|e| {
            let message = e.to_string();
            let what = message.split(" at line ").next().unwrap_or(&message);
            let place = format!("{}:{}:{}", self.name, e.line(), e.column());
            FileError { place, what: format!("not JSON: {what}") }
        })?;
        Ok(Node { file: self, path: String::new(), raw: raw.get() })
    }

    /// `name:line:column` of a slice of the text.
    fn place(&self, slice: &str) -> String {
        let offset = (slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
        format!("{}:{line}:{column}", self.name)
    }
}

/// One value in the file.
#[derive(Clone)]
pub struct Node<'f> {
    file: &'f JsonFile,
    /// Its way from the root, as `vms[1].log`; empty for the root.
    path: String,
    raw: &'f str,
}

impl<'f> Node<'f> {
    /// An error at this value.
    pub fn wrong(&self, what: impl fmt::Display) -> FileError {
        self.wrong_at(self.raw, what)
    }

    fn wrong_at(&self, slice: &str, what: impl fmt::Display) -> FileError {
        let place = self.file.place(slice);
        let place = if self.path.is_empty() { place } else { format!("{place}: {}", self.path) };
        FileError { place, what: what.to_string() }
    }

    /// Its way from the root, as `vms[1].log`.
    pub fn name(&self) -> &str {
        &self.path
    }

    /// The value as it stands in the file.
    pub fn text(&self) -> &'f str {
        self.raw
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.raw == "null"
    }

    /// Whether it is a string.
    pub fn is_string(&self) -> bool {
        self.raw.starts_with('"')
    }

    fn parse<T: Deserialize<'f>>(&self, wanted: &str) -> Result<T, FileError> {
        serde_json::from_str(self.raw).map_err(|_| match kind(self.raw) {
            // The syntax was checked: it is the one escape that is no character.
            found if found == wanted => self.wrong(HALF_PAIR),
            found => self.wrong(format!("must be {wanted}, is {found}")),
        })
    }

    /// A string.
    pub fn string(&self) -> Result<String, FileError> {
        self.parse("a string")
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, FileError> {
        self.parse("a boolean")
    }

    /// The value of one of these words; of two as a rule, or three.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, FileError> {
        let text = self.string()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.wrong(format!("{text:?} is neither {}", words.join(" nor ")))
        })
    }

    /// A path: a string that is not empty and holds no NUL.
    pub fn path(&self) -> Result<PathBuf, FileError> {
        let text = self.string()?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.wrong(format!("{text:?} is no path")));
        }
        Ok(text.into())
    }

    /// A whole number within a range.
    pub fn number(&self, range: RangeInclusive<u64>) -> Result<u64, FileError> {
        let (least, most) = (*range.start(), *range.end());
        if !self.raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return Err(self.wrong(format!("must be a whole number, is {}", kind(self.raw))));
        }
        let number = self.raw.parse().ok().filter(|n| range.contains(n));
        number.ok_or_else(|| {
            self.wrong(format!("{} is not a whole number from {least} to {most}", self.raw))
        })
    }

    /// The values of an array.
    pub fn array(&self) -> Result<Vec<Node<'f>>, FileError> {
        let items: Vec<&RawValue> = self.parse("an array")?;
        let node = |(i, raw): (usize, &'f RawValue)| Node {
            file: self.file,
            path: format!("{}[{i}]", self.path),
            raw: raw.get(),
        };
        Ok(items.into_iter().enumerate().map(node).collect())
    }

    /// The values of an object, whose keys must be among the known ones, each once.
    pub fn object(&self, known: &[&str]) -> Result<Object<'f>, FileError> {
        let pairs: Pairs = self.parse("an object")?;
        let mut fields: Vec<(String, Node<'f>)> = Vec::new();
        for (raw_key, value) in pairs.0 {
            let key: String = serde_json::from_str(raw_key.get())
                .map_err(|_| self.wrong_at(raw_key.get(), HALF_PAIR))?;
            if !known.contains(&key.as_str()) {
                return Err(self.wrong_at(raw_key.get(), unknown(&key, known)));
            }
            if fields.iter().any(|(k, _)| *k == key) {
                return Err(self.wrong_at(raw_key.get(), format!("key {key:?} comes twice")));
            }
            let dot = if self.path.is_empty() { "" } else { "." };
            let path = format!("{}{dot}{key}", self.path);
            fields.push((key, Node { file: self.file, path, raw: value.get() }));
        }
        Ok(Object { node: self.clone(), fields })
    }

    /// Checks that it is an object, whatever its keys.
    pub fn any_object(&self) -> Result<(), FileError> {
        self.parse::<Pairs>("an object").map(|_| ())
    }
}

/// An object's values by key.
pub struct Object<'f> {
    node: Node<'f>,
    fields: Vec<(String, Node<'f>)>,
}

impl<'f> Object<'f> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<&Node<'f>> {
        self.fields.iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// It isn't.
    pub fn required(&self, key: &str) -> Result<&Node<'f>, FileError> {
        self.get(key).ok_or_else(|| self.node.wrong(format!("key {key:?} is missing")))
    }
}

/// An object's keys and values, as slices of the text.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The message about an unknown key: the nearest known one if it is near, else all of them.
pub fn unknown(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|k| (distance(key, k), k)).min();
    match nearest {
        Some((edits, near)) if edits <= 2 && edits < near.len() => {
            format!("unknown key {key:?}, did you mean {near:?}?")
        }
        _ => format!("unknown key {key:?}, the keys here are: {}", known.join(", ")),
    }
}

/// How many letters must be put in, taken out or changed to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let changed = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_put_in_left_out_or_changed_are_counted() {
        for (a, b, edits) in [("keep", "keep", 0), ("kep", "keep", 1), ("", "id", 2), ("a", "b", 1)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn text_that_is_no_json_is_refused_with_line_and_column() {
        let file = JsonFile::of("x.json", "{\n  \"a\": 1,\n}");
        let error = file.root().err().expect("a comma too many").to_string();
        assert_eq!(error, "x.json:3:1: not JSON: key must be a string");
    }

    #[test]
    fn half_of_a_surrogate_pair_is_named_where_it_stands() {
        let file = JsonFile::of("x.json", "{\"a\":\n\"\\ud800\"}");
        let root = file.root().expect("JSON");
        let keys = root.object(&["a"]).expect("an object");
        let error = keys.get("a").expect("there").string().expect_err("half").to_string();
        assert_eq!(error, "x.json:2:1: a: has half of a surrogate pair in it");
        let file = JsonFile::of("x.json", "{\"\\udc00\": 1}");
        let error = file.root().expect("JSON").object(&["a"]).err().expect("half").to_string();
        assert_eq!(error, "x.json:1:2: has half of a surrogate pair in it");
    }

    #[test]
    fn a_value_may_be_nested_as_deep_as_it_is_long() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let file = JsonFile::of("x.json", &format!("{{\"a\": {deep}}}"));
        let root = file.root().expect("JSON");
        let keys = root.object(&["a"]).expect("an object");
        assert_eq!(keys.get("a").map(Node::text), Some(&*deep));
        let error = JsonFile::of("x.json", &deep[1..]).root().err().expect("one too many");
        assert_eq!(error.to_string(), "x.json:1:399999: not JSON: trailing characters");
    }
}
