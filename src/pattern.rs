//! A pattern of directories, as `/var/lib/hypeman/guests/*`.
//!
//! Owns its parts: one for each level below the root, a name or wildcards.
//! **Invariant:** pure. A name that begins with a dot is matched by a dot alone, never by a
//! wildcard; no wildcard spans two levels.

use glob::{MatchOptions, Pattern};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path, PathBuf};

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What one level of a pattern asks for.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// This name.
    Name(PathBuf),
    /// Any name that these wildcards match.
    Wildcards(Pattern),
}

impl Part {
    /// Whether a name is asked for. What is not UTF-8 in it is one odd character to wildcards.
    pub(crate) fn matches(&self, name: &OsStr) -> bool {
        match self {
            Part::Name(own) => own.as_os_str() == name,
            Part::Wildcards(pattern) => {
                let name = name.to_string_lossy();
                // To the pattern `*.vm` the dot of `.vm` is its own dot, with nothing before it.
                let is_shown = !name.starts_with('.') || pattern.as_str().starts_with('.');
                is_shown && pattern.matches_with(&name, OPTIONS)
            }
        }
    }
}

/// A pattern that can match a directory.
#[derive(Clone, Debug)]
pub struct DirPattern {
    text: String,
    parts: Vec<Part>,
}

/// Two patterns of the same text are the same.
impl PartialEq for DirPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for DirPattern {}

impl DirPattern {
    /// Reads a pattern: `*`, `?` and `[...]` match within one level. A relative one is taken from
    /// the current directory.
    ///
    /// # Errors
    /// What can match no directory.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = |why: &str| PatternError { text: text.into(), why: why.into() };
        if text.is_empty() {
            return Err(wrong("is empty: name directories, as /var/lib/vms/*"));
        }
        if text.contains('\0') {
            return Err(wrong("has a NUL byte, which no path can have"));
        }
        let whole = std::path::absolute(text).map_err(|error| wrong(&error.to_string()))?;
        let mut parts = Vec::new();
        for component in whole.components() {
            match component {
                Component::Normal(name) => parts.push(part(name).map_err(|why| wrong(&why))?),
                Component::ParentDir => {
                    return Err(wrong("has a \"..\", which directories that move would mislead"));
                }
                _ => {}
            }
        }
        if parts.is_empty() {
            return Err(wrong("names the root, which is no VM's directory"));
        }
        Ok(DirPattern { text: text.into(), parts })
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What each level below the root asks for; never empty.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

fn part(name: &OsStr) -> Result<Part, String> {
    let text = name.to_str().ok_or("is not UTF-8")?;
    if text.contains("**") {
        return Err("has \"**\": a wildcard matches within one level, write one * for each".into());
    }
    if !text.contains(['*', '?', '[']) {
        return Ok(Part::Name(Path::new(name).to_owned()));
    }
    let pattern = Pattern::new(text);
    pattern.map(Part::Wildcards).map_err(|error| format!("is not understood at {text:?}: {error}"))
}

/// Why a pattern can match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    text: String,
    why: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pattern {:?} {}", self.text, self.why)
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    fn last_matches(pattern: &str, name: &str) -> bool {
        let pattern = DirPattern::parse(pattern).expect("a pattern");
        pattern.parts().last().expect("a part").matches(OsStr::new(name))
    }

    #[test]
    fn wildcards_match_within_one_level_and_never_a_hidden_name() {
        for (pattern, name, expected) in [
            ("/vms/*", "a", true),
            ("/vms/*", ".a", false),
            ("/vms/.*", ".a", true),
            ("/vms/*.vm", "a.vm", true),
            ("/vms/*.vm", ".vm", false),
            ("/vms/vm-?", "vm-1", true),
            ("/vms/vm-?", "vm-12", false),
            ("/vms/[ab]*", "box", true),
            ("/vms/[ab]*", "cup", false),
            ("/vms/[!.]*", ".a", false),
            ("/vms/a", "a", true),
            ("/vms/a", "A", false),
            ("vms/*", "a", true),
        ] {
            assert_eq!(last_matches(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(DirPattern::parse("/a//b/./*").expect("a pattern").parts().len(), 3);
    }

    #[test]
    fn what_can_match_nothing_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "is empty"),
            ("/", "names the root"),
            ("/vms/**", "one level"),
            ("/vms/a**b", "one level"),
            ("/vms/[", "not understood"),
            ("/vms/../x/*", "\"..\""),
            ("/a\0b", "NUL"),
        ] {
            let error = DirPattern::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    /// Each star tried at each place would take longer than this world has.
    #[test]
    fn many_stars_against_a_long_name_are_soon_done() {
        let pattern = format!("/vms/{}b", "*a".repeat(100));
        assert!(!last_matches(&pattern, &"a".repeat(255)));
        let pattern = format!("/vms/{}", "*?".repeat(100));
        assert!(last_matches(&pattern, &"a".repeat(255)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_refused_and_matches_no_hidden_name_by_a_wildcard(
            text in fuzz::damaged_text(&["/vms/*/[!a-c]x?", "/a/[]]*[^-]", "vms/.a*", "/[[]/*.vm"]),
            name in fuzz::damaged(vec![b"a.log".to_vec(), b".log".to_vec(), b"]-x".to_vec()]),
        ) {
            match DirPattern::parse(&text) {
                Ok(pattern) => {
                    prop_assert_eq!(pattern.as_str(), &text);
                    prop_assert!(!pattern.parts().is_empty());
                    let name = OsStr::from_bytes(&name);
                    for part in pattern.parts() {
                        let dotted = match part {
                            Part::Name(_) => true,
                            Part::Wildcards(wild) => wild.as_str().starts_with('.'),
                        };
                        let is_hidden = name.as_bytes().first() == Some(&b'.');
                        prop_assert!(!part.matches(name) || dotted || !is_hidden, "{:?}", part);
                    }
                }
                Err(error) => prop_assert!(error.to_string().starts_with("pattern ")),
            }
        }
    }
}
