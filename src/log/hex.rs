//! Bytes as a string of hexadecimal digits, for the few that a JSON state carries.
//!
//! Owns nothing.
//! **Invariant:** pure; what was written is read back, anything else is refused.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// For `#[serde(with)]`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
    serializer.serialize_str(&text)
}

/// For `#[serde(with)]`.
///
/// # Errors
/// It is no string of an even number of hexadecimal digits.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.bytes().map(|byte| char::from(byte).to_digit(16));
    let digits: Option<Vec<u32>> = digits.collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or_else(|| D::Error::custom("not a string of hexadecimal digits"))?;
    Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use crate::fuzz;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Bytes(#[serde(with = "super")] Vec<u8>);

    proptest! {
        #[test]
        fn what_was_written_is_read_back(bytes: Vec<u8>) {
            let text = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap().0, bytes);
        }

        #[test]
        fn only_pairs_of_digits_are_read(text in fuzz::damaged_text(&["00ff", "6e6F20", ""])) {
            let json = serde_json::to_string(&text).unwrap();
            let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_hex = digits && text.len().is_multiple_of(2);
            match serde_json::from_str::<Bytes>(&json) {
                Ok(Bytes(bytes)) => prop_assert!(is_hex && bytes.len() * 2 == text.len()),
                Err(error) => prop_assert!(!is_hex && error.to_string().contains("hexadecimal")),
            }
        }
    }
}
