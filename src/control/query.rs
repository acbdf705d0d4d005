//! What follows the `?` of a target: keys and values, percent-encoded.
//!
//! Owns the reading of values by what they are to be.
//! **Invariant:** pure; no input panics. A key that a route does not take is refused by name, with
//! those that it takes; so is one that comes twice.

use super::response::{Response, Status};
use std::time::{Duration, UNIX_EPOCH};

/// The keys that came, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(&'static str, String)>);

/// What is wrong with a query, in words that name the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError(pub String);

impl QueryError {
    /// The answer.
    pub fn response(&self) -> Response {
        Response::error(Status::BadRequest, "bad_query", &self.0)
    }
}

impl Query {
    /// Reads a query, as it was sent, of a route that takes `keys`. An empty part is none; a key
    /// without `=` has an empty value.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(raw: &str, keys: &[&'static str]) -> Result<Query, QueryError> {
        let mut query = Query::default();
        for part in raw.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let key = decoded(key)?;
            let Some(known) = keys.iter().find(|known| **known == key) else {
                return Err(unknown(&key, keys));
            };
            if query.text(known).is_some() {
                return Err(QueryError(format!("{known} is there twice")));
            }
            query.0.push((known, decoded(value)?));
        }
        Ok(query)
    }

    /// A value as it is.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| *own == key).map(|(_, value)| value.as_str())
    }

    /// A whole number from 0 on.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, key: &str) -> Result<Option<u64>, QueryError> {
        let read = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        self.read(key, "a whole number", read)
    }

    /// `true` or `false`; without a value it is `true`.
    ///
    /// # Errors
    /// It is neither.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, QueryError> {
        self.one_of(key, &[("true", true), ("false", false), ("", true)])
    }

    /// One of these words.
    ///
    /// # Errors
    /// It is another.
    pub fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, QueryError> {
        let named: Vec<&str> =
            words.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, of)| *of);
        self.read(key, &named.join(" or "), find)
    }

    /// A time since 1970: RFC 3339 in UTC, or seconds, with a fraction or without.
    ///
    /// # Errors
    /// It is neither.
    pub fn time(&self, key: &str) -> Result<Option<Duration>, QueryError> {
        self.read(key, "a time as 2026-01-31T12:00:00Z or in seconds since 1970", time)
    }

    fn read<T>(
        &self,
        key: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, QueryError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(QueryError(format!("{key}: {text:?} is not {what}"))),
        }
    }
}

fn time(text: &str) -> Option<Duration> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        return text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
    let time = humantime::parse_rfc3339(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok()
}

fn unknown(key: &str, keys: &[&str]) -> QueryError {
    QueryError(match keys {
        [] => format!("unknown key {key:?}: there is none here"),
        keys => format!("unknown key {key:?}, the keys here are: {}", keys.join(", ")),
    })
}

/// `%41` is `A`. A `+` is itself: RFC 3986 gives it no other meaning, and times may have one.
fn decoded(text: &str) -> Result<String, QueryError> {
    let wrong = || QueryError(format!("{text:?} is not percent-encoded UTF-8"));
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16).map(|digit| digit as u8);
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(wrong()) };
        bytes.push(high << 4 | low);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: [&str; 3] = ["tail", "follow", "since"];

    fn query(raw: &str) -> Query {
        Query::parse(raw, &KEYS).expect("a query")
    }

    #[test]
    fn values_are_decoded_and_read_by_what_they_are_to_be() {
        let read = query("tail=%31%30&&follow&since=2026-01-31T12:00:00%2e5Z");
        assert_eq!(read.number("tail"), Ok(Some(10)));
        assert_eq!(read.switch("follow"), Ok(Some(true)));
        assert_eq!(read.time("since"), Ok(Some(Duration::from_millis(1_769_860_800_500))));
        assert_eq!((read.number("until"), read.switch("until")), (Ok(None), Ok(None)));
        assert_eq!(query("since=1.5").time("since"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(query("follow=false").switch("follow"), Ok(Some(false)));
        assert_eq!(query("tail=a+b%20%c3%a9").text("tail"), Some("a+b \u{e9}"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let parse = |raw: &str, keys| Query::parse(raw, keys).map_err(|error| error.0);
        let why = |raw: &str| parse(raw, &KEYS).expect_err("refused");
        assert_eq!(why("tial=1"), "unknown key \"tial\", the keys here are: tail, follow, since");
        assert_eq!(parse("a", &[]), Err("unknown key \"a\": there is none here".into()));
        assert_eq!(why("tail=1&follow&tail=2"), "tail is there twice");
        for torn in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(
                why(&format!("tail={torn}")),
                format!("{torn:?} is not percent-encoded UTF-8")
            );
        }
        for text in ["", "-1", "+1", "1.0", "99999999999999999999"] {
            let refused = query(&format!("tail={text}")).number("tail").expect_err("refused");
            assert_eq!(refused.0, format!("tail: {text:?} is not a whole number"));
        }
        let refused = query("follow=yes").switch("follow").expect_err("refused");
        assert_eq!(refused.0, "follow: \"yes\" is not true or false");
        for text in ["", ".", "yesterday", "1.2.3", "-1", "99999999999999999999"] {
            assert!(query(&format!("since={text}")).time("since").is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics_and_what_was_encoded_is_read_back(raw in "[ -~]{0,40}", value: String) {
            if let Ok(query) = Query::parse(&raw, &KEYS) {
                let _ = (query.number("tail"), query.switch("follow"), query.time("since"));
            }
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let read = query(&format!("tail={encoded}"));
            prop_assert_eq!(read.text("tail"), Some(value.as_str()));
        }
    }
}
