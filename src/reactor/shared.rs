//! Terms that logs have in common: each is there once, however many VMs have it.
//!
//! Owns them, beside the logs.
//! **Invariant:** two logs whose terms are equal share them; those that nobody has any more are no
//! more than the others.

use crate::log::Terms;
use std::collections::HashSet;
use std::sync::Arc;

/// Terms are looked through for the first time when there are so many.
const TIDY_AT_MIN: usize = 16;

#[derive(Default)]
pub(super) struct Shared {
    known: HashSet<Arc<Terms>>,
    tidy_at: usize,
}

impl Shared {
    /// The same terms, as others have them.
    pub(super) fn share(&mut self, terms: Terms) -> Arc<Terms> {
        if let Some(known) = self.known.get(&terms) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.tidy_at.max(TIDY_AT_MIN) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.tidy_at = 2 * self.known.len();
        }
        let terms = Arc::new(terms);
        self.known.insert(Arc::clone(&terms));
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogSpec;
    use crate::env::os::OsFiles;

    #[test]
    fn equal_terms_are_there_once_and_those_that_nobody_has_go() {
        let mut shared = Shared::default();
        let mut terms = |max_bytes: u64| {
            let mut spec = LogSpec::new(format!("/{max_bytes}/app.log"));
            spec.max_bytes = max_bytes.max(4096);
            shared.share(Terms::of(&mut OsFiles::default(), &spec).expect("terms"))
        };
        let (one, same) = (terms(1), terms(2));
        assert!(Arc::ptr_eq(&one, &same), "their paths alone differ");
        let other = terms(1 << 20);
        assert!(!Arc::ptr_eq(&one, &other));
        for max_bytes in 5000..6000 {
            drop(terms(max_bytes));
        }
        assert!(Arc::ptr_eq(&one, &terms(3)) && Arc::ptr_eq(&other, &terms(1 << 20)));
        assert!(shared.known.len() <= 2 * TIDY_AT_MIN, "{}", shared.known.len());
    }
}
