//! What is found and rewritten in any text, sound or damaged.

use super::super::tests::{FULL, STATE_TEXT};
use super::*;
use crate::fuzz;
use proptest::prelude::*;

type Edit = fn(&str, &mut Rewrite<'_, JsonError>) -> Result<Edits, JsonError>;

/// The text with each path as `rewrite` wants it, and the paths as they were.
fn walk(
    edit: Edit,
    text: &str,
    rewrite: impl Fn(&str) -> Option<String>,
) -> Result<(String, Vec<Found>), JsonError> {
    let mut all = Vec::new();
    let edits = edit(text, &mut |found| {
        let with = rewrite(&found.path);
        all.push(found);
        Ok(with)
    })?;
    Ok((edits.apply(text), all))
}

/// Another path, odd to spell, that leads back.
fn there(path: &str) -> Option<String> {
    Some(format!("/\"\u{e9}\\{path}"))
}

fn back(path: &str) -> Option<String> {
    path.strip_prefix("/\"\u{e9}\\").map(str::to_owned)
}

fn is_rewritten_whole_or_refused(edit: Edit, text: &str) -> Result<(), TestCaseError> {
    let (same, found) = match walk(edit, text, |_| None) {
        Ok(walked) => walked,
        Err(error) => {
            let line = text.split('\n').nth(error.line.wrapping_sub(1));
            let is_there = line.is_some_and(|line| error.column <= line.len() + 1);
            prop_assert!(is_there && !error.what.is_empty(), "{} in {:?}", error, text);
            return Ok(());
        }
    };
    prop_assert_eq!(&same, text, "nothing was to be rewritten");
    let (rewritten, _) = walk(edit, text, there).unwrap();
    let (again, found_there) = walk(edit, &rewritten, back).unwrap();
    let expected = found.iter().map(|one| Found { path: there(&one.path).unwrap(), ..one.clone() });
    prop_assert_eq!(found_there, expected.collect::<Vec<_>>());
    prop_assert_eq!(walk(edit, &again, |_| None).unwrap().1, found);
    // From now on the paths are spelled as we would: there and back is the same, byte for byte.
    let (rewritten, _) = walk(edit, &again, there).unwrap();
    prop_assert_eq!(walk(edit, &rewritten, back).unwrap().0, again);
    Ok(())
}

/// A configuration with two paths, and anything where no path is looked for.
fn around() -> impl Strategy<Value = String> {
    (fuzz::space(), fuzz::json(), fuzz::json(), fuzz::json()).prop_map(|(space, a, b, c)| {
        format!(
            "{space}{{\"x\":{a},{space}\"disks\":[{{\"id\":{b},\"path\":\"/a\"}}{space}],\
             \"rng\":{{\"src\":{space}\"/b\",\"y\":{c}}}}}"
        )
    })
}

/// A state whose devices' texts, strings within the text, have anything beside their paths.
fn state() -> impl Strategy<Value = String> {
    (fuzz::space(), fuzz::json(), fuzz::json_string(), fuzz::json()).prop_map(
        |(space, a, key, b)| {
            let inner =
                format!("{{{space}\"x\":{a},\"disk_path\":\"/a\"{space},\"y\":{{{key}:{b}}}}}");
            let inner = spans::quoted(&inner);
            format!("{{\"id\":{a},\"s\":[{{\"state\":{space}{inner},\"n\":{b}}}]}}")
        },
    )
}

#[test]
fn what_holds_no_path_may_be_nested_as_deep_as_it_is_long() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let text = format!("{{\"x\":{deep},\"rng\":{{\"src\":\"/a\"}}}}");
    assert_eq!(walk(config_edits, &text, |_| None).unwrap().1.len(), 1);
    assert_eq!(walk(state_edits, &text, |_| None).unwrap().1, []);
    let text = format!("{}\"disk_path\"{}", "[".repeat(200_000), "]".repeat(200_000));
    let error = walk(state_edits, &text, |_| None).unwrap_err();
    assert_eq!(error.to_string().split(": ").last(), Some("nested more than 64 levels deep"));
}

proptest! {
    #[test]
    fn a_configuration_is_rewritten_whole_or_refused(text in fuzz::damaged_text(&[FULL, "{}"])) {
        is_rewritten_whole_or_refused(config_edits, &text)?;
    }

    #[test]
    fn a_state_is_rewritten_whole_or_refused(text in fuzz::damaged_text(&[STATE_TEXT, "{}"])) {
        is_rewritten_whole_or_refused(state_edits, &text)?;
    }

    #[test]
    fn what_is_no_path_stays_byte_for_byte(config in around(), state in state()) {
        for (edit, text) in [(config_edits as Edit, config), (state_edits as Edit, state)] {
            let Ok((rewritten, found)) = walk(edit, &text, there) else {
                // A key within the device's text that can't be decoded, or a path elsewhere.
                continue;
            };
            prop_assert_ne!(found.len(), 0);
            prop_assert_eq!(walk(edit, &rewritten, back).unwrap().0, text);
        }
    }
}
