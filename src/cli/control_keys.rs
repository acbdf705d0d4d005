//! The key by which a file says where our own API is asked for, and by whom.
//!
//! Owns the names of its parts.
//! **Invariant:** what comes out has passed [`ControlSpec::validate`].

use seriald::keys::json_file::{FileError, Node};
use seriald::keys::log_keys::octal;
use seriald::{ControlSpec, Grants, limits};
use std::time::Duration;

const KEYS: [&str; 9] = [
    "path",
    "mode",
    "group",
    "read",
    "attach",
    "admin",
    "interactive",
    "viewer_buffer_bytes",
    "console_idle_s",
];

/// A path, or an object with `path` and what differs from the default.
pub fn read(node: &Node<'_>) -> Result<ControlSpec, FileError> {
    let spec = match node.is_string() {
        true => ControlSpec::new(node.path()?),
        false => read_object(node)?,
    };
    spec.validate().map_err(|error| node.wrong(error))?;
    Ok(spec)
}

fn read_object(node: &Node<'_>) -> Result<ControlSpec, FileError> {
    let keys = node.object(&KEYS)?;
    let path = keys.get("path").ok_or_else(|| node.wrong("key \"path\" is missing"))?;
    let mut spec = ControlSpec::new(path.path()?);
    if let Some(mode) = keys.get("mode") {
        spec.mode = octal(mode)?;
    }
    spec.group = keys.get("group").map(Node::string).transpose()?;
    spec.read = keys.get("read").map(grants).transpose()?.unwrap_or_default();
    spec.attach = keys.get("attach").map(grants).transpose()?.unwrap_or_default();
    spec.admin = keys.get("admin").map(grants).transpose()?.unwrap_or_default();
    if let Some(interactive) = keys.get("interactive") {
        spec.interactive = interactive.boolean()?;
    }
    if let Some(bytes) = keys.get("viewer_buffer_bytes") {
        let (least, most) = (limits::VIEWER_BUFFER_BYTES_MIN, limits::VIEWER_BUFFER_BYTES_MAX);
        // No more than `most`, which is a usize.
        spec.viewer_buffer_bytes = bytes.number(least as u64..=most as u64)? as usize;
    }
    if let Some(seconds) = keys.get("console_idle_s") {
        let idle = seconds.number(0..=limits::TIME_MAX.as_secs())?;
        spec.console_idle = (idle > 0).then(|| Duration::from_secs(idle));
    }
    Ok(spec)
}

fn grants(node: &Node<'_>) -> Result<Grants, FileError> {
    let keys = node.object(&["uids", "gids"])?;
    let numbers = |key: &str| {
        let nodes = keys.get(key).map(Node::array).transpose()?.unwrap_or_default();
        let number = |node: &Node<'_>| node.number(0..=u64::from(u32::MAX - 1));
        // No more than the range, which is that of a u32.
        nodes.iter().map(|node| Ok(number(node)? as u32)).collect::<Result<Vec<u32>, FileError>>()
    };
    Ok(Grants { uids: numbers("uids")?, gids: numbers("gids")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seriald::keys::json_file::JsonFile;
    use std::path::Path;

    fn read(text: &str) -> Result<ControlSpec, String> {
        let file = JsonFile::of("x.json", text);
        file.root().and_then(|root| super::read(&root)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_alone_is_for_root_and_our_user() {
        assert_eq!(read("\"/run/s/c.sock\""), Ok(ControlSpec::new("/run/s/c.sock")));
    }

    #[test]
    fn an_object_says_who_else_may() {
        let spec = read(
            "{\"path\": \"c.sock\", \"mode\": \"0660\", \"group\": \"adm\", \
              \"read\": {\"gids\": [4]}, \"attach\": {\"uids\": [7]}, \
              \"admin\": {\"uids\": [1000, 0], \"gids\": []}}",
        )
        .expect("valid");
        assert_eq!((spec.path.as_path(), spec.mode), (Path::new("c.sock"), 0o660));
        assert_eq!(spec.group.as_deref(), Some("adm"));
        assert_eq!(spec.read, Grants { uids: vec![], gids: vec![4] });
        assert_eq!(spec.attach, Grants { uids: vec![7], gids: vec![] });
        assert_eq!(spec.admin, Grants { uids: vec![1000, 0], gids: vec![] });
    }

    #[test]
    fn consoles_may_be_for_lookers_alone_and_have_other_limits() {
        let text = "{\"path\": \"a\", \"interactive\": false, \"viewer_buffer_bytes\": 65536, \
                     \"console_idle_s\": 5}";
        let spec = read(text).expect("valid");
        assert!(!spec.interactive && ControlSpec::new("a").interactive);
        assert_eq!(spec.viewer_buffer_bytes, 65536);
        assert_eq!(spec.console_idle, Some(Duration::from_secs(5)));
        let never = read("{\"path\": \"a\", \"console_idle_s\": 0}").expect("valid");
        assert_eq!((never.console_idle, never.viewer_buffer_bytes), (None, 262_144));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, why) in [
            ("[]", "x.json:1:1: must be an object, is an array"),
            ("{}", "x.json:1:1: key \"path\" is missing"),
            ("\"/\"", "x.json:1:1: / names no file"),
            ("{\"path\": 3}", "x.json:1:10: path: must be a string, is a number"),
            (
                "{\"path\": \"a\", \"mode\": \"0060\"}",
                "x.json:1:23: mode: \"0060\" is not an octal mode from \"0600\" to \"0777\"",
            ),
            (
                "{\"path\": \"a\", \"admin\": [0]}",
                "x.json:1:24: admin: must be an object, is an array",
            ),
            (
                "{\"path\": \"a\", \"read\": {\"gids\": [-1]}}",
                "x.json:1:33: read.gids[0]: -1 is not a whole number from 0 to 4294967294",
            ),
            (
                "{\"path\": \"a\", \"interactive\": 1}",
                "x.json:1:30: interactive: must be a boolean, is a number",
            ),
            (
                "{\"path\": \"a\", \"viewer_buffer_bytes\": 1}",
                "x.json:1:38: viewer_buffer_bytes: 1 is not a whole number from 65536 to 16777216",
            ),
            (
                "{\"path\": \"a\", \"write\": {}}",
                "x.json:1:15: unknown key \"write\", the keys here are: path, mode, group, read, \
                 attach, admin, interactive, viewer_buffer_bytes, console_idle_s",
            ),
        ] {
            assert_eq!(read(text).err().as_deref(), Some(why), "{text}");
        }
    }
}
