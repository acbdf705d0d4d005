//! The serial section of a CH configuration: the JSON text of `vm.create`, or a snapshot's
//! `config.json`, which has the same shape.
//!
//! Owns nothing: texts in, texts out.
//!
//! **Invariant:** only the spans of `serial` (and of an unset `console`) are changed, every other
//! byte of the text stays; what is already as wanted is not changed at all. No result names a
//! socket path that CH can't bind.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::limits::SUN_PATH_MAX;

use super::spans::{self, Edits, Json, JsonError, Member};

/// The serial section, as far as it matters here. A null counts as absent, as v52 writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SerialSection {
    /// `Off`, `Null`, `Pty`, `Tty`, `File` or `Socket` in v53.
    pub mode: Option<String>,
    /// Where mode File writes; CH ignores it in other modes.
    pub file: Option<String>,
    /// Where mode Socket listens; CH ignores it in other modes.
    pub socket: Option<String>,
}

impl SerialSection {
    /// Whether CH writes the console to a file, without O_APPEND: the mode to get rid of.
    pub fn is_file(&self) -> bool {
        self.mode.as_deref() == Some("File")
    }

    /// Whether CH listens for a reader such as seriald.
    pub fn is_socket(&self) -> bool {
        self.mode.as_deref() == Some("Socket")
    }
}

/// Why a configuration can't be read or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// The text is not the JSON of a VM configuration.
    Json(JsonError),
    /// The socket path can't be bound.
    Path(SocketPathError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the VM configuration: {error}"),
            Self::Path(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Path(error) => Some(error),
        }
    }
}

impl From<JsonError> for ConfigError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<SocketPathError> for ConfigError {
    fn from(error: SocketPathError) -> Self {
        Self::Path(error)
    }
}

/// Why CH could not bind a socket path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPathError {
    /// The path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: SocketPathFault,
}

/// What makes a path unfit for a socket of CH's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketPathFault {
    /// It has no bytes.
    Empty,
    /// It exceeds [`SUN_PATH_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not UTF-8, which JSON can't express.
    NotUtf8,
    /// It has a NUL byte, which ends a `sun_path`.
    HasNul,
}

impl fmt::Display for SocketPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match self.fault {
            SocketPathFault::Empty => write!(f, "the socket path is empty"),
            SocketPathFault::TooLong { bytes } => write!(
                f,
                "socket path {path:?} has {bytes} bytes, a Unix socket's has \
                 {SUN_PATH_MAX} at most: use a shorter directory"
            ),
            SocketPathFault::NotUtf8 => {
                write!(f, "socket path {path:?} is not UTF-8, which CH's JSON can't hold")
            }
            SocketPathFault::HasNul => write!(f, "socket path {path:?} has a NUL byte"),
        }
    }
}

impl std::error::Error for SocketPathError {}

/// The path as text, if CH can bind it.
///
/// # Errors
/// [`SocketPathError`] if it is empty, too long, not UTF-8 or has a NUL.
pub fn socket_path(path: &Path) -> Result<&str, SocketPathError> {
    let bytes = path.as_os_str().len();
    let fault = match path.to_str() {
        None => SocketPathFault::NotUtf8,
        Some("") => SocketPathFault::Empty,
        Some(_) if bytes > SUN_PATH_MAX => SocketPathFault::TooLong { bytes },
        Some(text) if text.contains('\0') => SocketPathFault::HasNul,
        Some(text) => return Ok(text),
    };
    Err(SocketPathError { path: path.to_owned(), fault })
}

/// Reads a configuration's serial section; `None` if it is absent or null.
///
/// # Errors
/// [`JsonError`] if the text is malformed, `serial` is no object, or one of its three members is no
/// string.
pub fn serial_section(config: &str) -> Result<Option<SerialSection>, JsonError> {
    let json = Json::new(config)?;
    let members = json.members(json.root(), "")?;
    let Some(serial) = spans::member(&members, "serial") else {
        return Ok(None);
    };
    let inner = json.members(serial.value, "serial")?;
    let text = |key: &str| {
        spans::member(&inner, key)
            .map(|member| json.string(member.value, &format!("serial.{key}")))
            .transpose()
    };
    Ok(Some(SerialSection { mode: text("mode")?, file: text("file")?, socket: text("socket")? }))
}

/// The configuration with `serial` in mode Socket at that path. `file` is dropped, other keys of
/// the section are kept.
///
/// # Errors
/// [`ConfigError`] if the text is malformed or the path can't be bound.
pub fn with_serial_socket(config: &str, path: &Path) -> Result<String, ConfigError> {
    change(config, path, false)
}

/// The configuration to launch a VM with: [`with_serial_socket`], and `console` Off where it is
/// unset, because CH's default would be our terminal.
///
/// # Errors
/// [`ConfigError`] if the text is malformed or the path can't be bound.
pub fn for_launch(config: &str, path: &Path) -> Result<String, ConfigError> {
    change(config, path, true)
}

const CONSOLE_OFF: &str = r#"{"mode":"Off"}"#;

fn change(config: &str, path: &Path, console_too: bool) -> Result<String, ConfigError> {
    let socket = spans::quoted(socket_path(path)?);
    let json = Json::new(config)?;
    let members = json.members(json.root(), "")?;
    let mut edits = Edits::new();
    let mut added = Vec::new();
    let whole = format!(r#"{{"mode":"Socket","socket":{socket}}}"#);
    match spans::member(&members, "serial") {
        Some(serial) => edits.extend(serial_edits(&json, serial.value, &socket)?),
        None => set(&json, &members, "serial", &whole, &mut edits, &mut added),
    }
    if console_too && spans::member(&members, "console").is_none() {
        set(&json, &members, "console", CONSOLE_OFF, &mut edits, &mut added);
    }
    if !added.is_empty() {
        edits.append(json.span(json.root()), &members, &added.join(","));
    }
    Ok(edits.apply(config))
}

/// Replaces a null, or notes the member as one to add.
fn set(
    json: &Json<'_>,
    members: &[Member<'_>],
    key: &str,
    value: &str,
    edits: &mut Edits,
    added: &mut Vec<String>,
) {
    match members.iter().find(|member| member.key == key) {
        Some(null) => edits.replace(json.span(null.value), value),
        None => added.push(format!("{}:{value}", spans::quoted(key))),
    }
}

/// Turns an existing section into one of mode Socket; `socket` is the path as a JSON string.
fn serial_edits<'t>(
    json: &Json<'t>,
    serial: &'t RawValue,
    socket: &str,
) -> Result<Edits, JsonError> {
    let members = json.members(serial, "serial")?;
    let place = |key: &str| members.iter().position(|member| member.key == key);
    let mut edits = Edits::new();
    let mut added = Vec::new();
    match place("mode") {
        Some(mode) => replace_text(json, &members[mode], "\"Socket\"", &mut edits),
        None => added.push("\"mode\":\"Socket\"".to_owned()),
    }
    match (place("socket"), place("file")) {
        (Some(socket_at), file) => {
            replace_text(json, &members[socket_at], socket, &mut edits);
            if let Some(file) = file {
                edits.remove_member(&members, file);
            }
        }
        // In the place of `file`, so that no comma needs to move.
        (None, Some(file)) => {
            edits.replace(members[file].span.clone(), format!("\"socket\":{socket}"));
        }
        (None, None) => added.push(format!("\"socket\":{socket}")),
    }
    if !added.is_empty() {
        edits.append(json.span(serial), &members, &added.join(","));
    }
    Ok(edits)
}

/// Replaces a member's value unless it is that string already, however it is spelled.
fn replace_text<'t>(json: &Json<'t>, member: &Member<'t>, wanted: &str, edits: &mut Edits) {
    let is = json.string(member.value, "").map(|text| spans::quoted(&text));
    if is.as_deref() != Ok(wanted) {
        edits.replace(json.span(member.value), wanted);
    }
}

#[cfg(test)]
mod tests;
