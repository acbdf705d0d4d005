//! Format 1 is frozen, and lenient.

use super::*;

#[test]
fn another_format_is_refused_by_its_number() {
    let error = State::parse(br#"{"format": 2, "vms": "of another kind"}"#).unwrap_err();
    assert_eq!(error.to_string(), "state: is of format 2; this program knows format 1");
    assert!(State::parse(b"{}").is_err() && State::parse(b"[1").is_err());
}
