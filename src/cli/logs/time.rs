//! A time as it is typed: RFC 3339, or how long ago.
//!
//! **Invariant:** pure; `now` is passed in. What is no time is refused in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a time, since 1970.
///
/// # Errors
/// It is none.
pub fn parse(text: &str, now: SystemTime) -> Result<Duration, String> {
    let wrong = || "is neither a time, as 2026-01-31T12:00:00Z, nor one ago, as 10m".to_owned();
    // A year first: what is a time can't be a length of one.
    let time = match humantime::parse_rfc3339_weak(text) {
        Ok(time) => time,
        Err(_) => {
            let ago = humantime::parse_duration(text).map_err(|_| wrong())?;
            now.checked_sub(ago).ok_or_else(wrong)?
        }
    };
    time.duration_since(UNIX_EPOCH).map_err(|_| wrong())
}

/// In RFC 3339, to the millisecond.
pub fn format(time: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_ago() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (text, seconds) in [
            ("1970-01-12T13:46:40Z", 1_000_000),
            ("1970-01-12 13:46:40", 1_000_000),
            ("10m", 1_000_000 - 600),
            ("1h 30m", 1_000_000 - 5400),
            ("2days", 1_000_000 - 2 * 86_400),
        ] {
            assert_eq!(parse(text, now), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "yesterday", "10", "2026-13-01T00:00:00Z", "100years", "-5m"] {
            assert!(parse(wrong, now).is_err(), "{wrong}");
        }
        let time = Duration::from_millis(1_764_000_000_123);
        assert_eq!(parse(&format(time), now), Ok(time));
    }
}
