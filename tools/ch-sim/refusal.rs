//! How a call of the API fails.
//!
//! **Invariant:** the words are CH's, outermost first, and the first is always the same.

/// A call that failed: the status and the words, outermost first.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The words.
    pub words: Vec<String>,
    /// The VMM's thread panics: the answer is its last.
    pub panics: bool,
}

/// A refusal in CH's words, of which each has a level.
pub fn refuse(status: u16, words: &[&str]) -> Refusal {
    let all = ["Error from API"].iter().chain(words);
    Refusal {
        status,
        words: all.map(ToString::to_string).collect(),
        panics: false,
    }
}
