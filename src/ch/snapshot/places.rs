//! Where a snapshot names paths: a table of places in `config.json`, and `disk_path` in
//! `state.json`.
//!
//! Owns the table. Finds what stands there; changes nothing.
//!
//! **Invariant:** pure, and bounded in depth ([`DEPTH_MAX`]) whatever the text holds.

use serde_json::value::RawValue;

use super::super::spans::{self, Edits, Json, JsonError, Member};

/// Deepest nesting of `state.json` that is followed. CH nests a snapshot tree of devices, at most
/// some ten levels.
pub const DEPTH_MAX: usize = 64;

/// What a path is for, which decides how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A file or directory.
    File,
    /// A socket, so `sun_path` bounds it.
    Socket,
}

/// Every place of `config.json` that names a path of the host; `[]` stands for each element of an
/// array. The first block was measured with v52 and v53, the second was read in CH's source.
const PLACES: &[(&str, Use)] = &[
    ("payload.kernel", Use::File),
    ("payload.initramfs", Use::File),
    ("payload.firmware", Use::File),
    ("disks[].path", Use::File),
    ("pmem[].file", Use::File),
    ("vsock.socket", Use::Socket),
    ("rng.src", Use::File),
    ("serial.file", Use::File),
    ("serial.socket", Use::Socket),
    ("console.file", Use::File),
    ("debug_console.file", Use::File),
    ("net[].vhost_socket", Use::Socket),
    ("disks[].vhost_socket", Use::Socket),
    ("fs[].socket", Use::Socket),
    ("devices[].path", Use::File),
    ("user_devices[].socket", Use::Socket),
    ("vdpa[].path", Use::File),
    ("tpm.socket", Use::Socket),
    ("memory.zones[].file", Use::File),
    ("landlock_rules[].path", Use::File),
    ("generic_vhost_user[].socket", Use::Socket),
    ("payload.igvm", Use::File),
    ("payload.fw_cfg_config.items.item_list[].file", Use::File),
];

/// A path and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Such as `disks[0].path`.
    pub at: String,
    /// The path, escapes resolved.
    pub path: String,
    /// What it is for.
    pub of: Use,
}

/// Asked of each path: what to put in its place, if anything. An error ends the walk.
pub type Rewrite<'r, E> = dyn FnMut(Found) -> Result<Option<String>, E> + 'r;

/// Walks the paths of `config.json`; the edits that make the rewritten ones stand there.
///
/// # Errors
/// Those of the text, and those of `rewrite`.
pub fn config_edits<E: From<JsonError>>(
    text: &str,
    rewrite: &mut Rewrite<'_, E>,
) -> Result<Edits, E> {
    let json = Json::new(text)?;
    let mut edits = Edits::new();
    let root = json.members(json.root(), "")?;
    for (place, of) in PLACES {
        let mut walk = Walk { json: &json, of: *of, rewrite, edits: &mut edits };
        walk.descend(&root, place, "")?;
    }
    Ok(edits)
}

struct Walk<'w, 't, 'r, E> {
    json: &'w Json<'t>,
    of: Use,
    rewrite: &'w mut Rewrite<'r, E>,
    edits: &'w mut Edits,
}

impl<'t, E: From<JsonError>> Walk<'_, 't, '_, E> {
    /// Follows `place` from here; `at` is the way that led here.
    fn descend(&mut self, members: &[Member<'t>], place: &str, at: &str) -> Result<(), E> {
        let (step, rest) = place.split_once('.').unwrap_or((place, ""));
        let key = step.trim_end_matches("[]");
        let Some(member) = spans::member(members, key) else {
            return Ok(());
        };
        let at = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        if key == step {
            return self.arrive(member.value, rest, &at);
        }
        for (index, element) in self.json.elements(member.value, &at)?.into_iter().enumerate() {
            self.arrive(element, rest, &format!("{at}[{index}]"))?;
        }
        Ok(())
    }

    fn arrive(&mut self, value: &'t RawValue, rest: &str, at: &str) -> Result<(), E> {
        if rest.is_empty() {
            return rewrite_at(self.json, value, at, self.of, self.rewrite, self.edits);
        }
        let members = self.json.members(value, at)?;
        self.descend(&members, rest, at)
    }
}

fn rewrite_at<'t, E: From<JsonError>>(
    json: &Json<'t>,
    value: &'t RawValue,
    at: &str,
    of: Use,
    rewrite: &mut Rewrite<'_, E>,
    edits: &mut Edits,
) -> Result<(), E> {
    let path = json.string(value, at)?;
    if let Some(with) = rewrite(Found { at: at.to_owned(), path, of })? {
        edits.replace(json.span(value), spans::quoted(&with));
    }
    Ok(())
}

/// Walks the paths of `state.json`: every `disk_path` in a `snapshot_data.state`, which is a JSON
/// text inside a JSON string.
///
/// # Errors
/// Those of the text, and those of `rewrite`.
pub fn state_edits<E: From<JsonError>>(
    text: &str,
    rewrite: &mut Rewrite<'_, E>,
) -> Result<Edits, E> {
    let json = Json::new(text)?;
    let mut edits = Edits::new();
    in_snapshot(&json, json.root(), "", DEPTH_MAX, rewrite, &mut edits)?;
    Ok(edits)
}

/// `depth` is how many more levels are followed.
fn in_snapshot<'t, E: From<JsonError>>(
    json: &Json<'t>,
    value: &'t RawValue,
    at: &str,
    depth: usize,
    rewrite: &mut Rewrite<'_, E>,
    edits: &mut Edits,
) -> Result<(), E> {
    // Most of a state is numbers; what does not hold the word at all need not be taken apart.
    if !value.get().contains("disk_path") {
        return Ok(());
    }
    let Some(deeper) = depth.checked_sub(1) else {
        let what = format!("nested more than {DEPTH_MAX} levels deep");
        return Err(json.error(value, at, what).into());
    };
    match value.get().as_bytes().first() {
        Some(b'[') => {
            for (index, element) in json.elements(value, at)?.into_iter().enumerate() {
                in_snapshot(json, element, &format!("{at}[{index}]"), deeper, rewrite, edits)?;
            }
        }
        Some(b'{') => {
            for member in json.members(value, at)? {
                let inner_at =
                    if at.is_empty() { member.key.clone() } else { format!("{at}.{}", member.key) };
                if member.key == "state" && spans::kind(member.value) == "a string" {
                    in_state(json, member.value, &inner_at, rewrite, edits)?;
                } else {
                    in_snapshot(json, member.value, &inner_at, deeper, rewrite, edits)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// One device's state, a JSON text of its own.
fn in_state<'t, E: From<JsonError>>(
    json: &Json<'t>,
    literal: &'t RawValue,
    at: &str,
    rewrite: &mut Rewrite<'_, E>,
    edits: &mut Edits,
) -> Result<(), E> {
    let text = json.string(literal, at)?;
    if !text.contains("disk_path") {
        return Ok(());
    }
    // The place of an error inside the string would mean nothing to a person: name the string's.
    let outer = |error: JsonError| json.error(literal, at, format!("inside the string: {error}"));
    let inner = Json::new(&text).map_err(outer)?;
    if spans::kind(inner.root()) != "an object" {
        return Ok(());
    }
    let members = inner.members(inner.root(), "").map_err(outer)?;
    let Some(path) = spans::member(&members, "disk_path") else {
        return Ok(());
    };
    let found = inner.string(path.value, "disk_path").map_err(outer)?;
    let found = Found { at: format!("{at}.disk_path"), path: found, of: Use::File };
    if let Some(with) = rewrite(found)? {
        let mut inner_edits = Edits::new();
        inner_edits.replace(inner.span(path.value), spans::quoted(&with));
        edits.extend(inner_edits.lift(json.text(), json.span(literal)));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
