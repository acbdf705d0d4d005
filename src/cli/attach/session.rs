//! A session at a console: what is typed and what comes in, what is shown and what is sent.
//!
//! Owns what waits to be shown and to be sent, and the words for what happens to the console.
//! **Invariant:** pure. A key that is not for us is sent once and in order, or it is told that it
//! is not; a byte of the guest's is shown as it came, or through the cleaner where that is asked
//! for. What we say stands on a line of its own.

use super::keys::{Keys, Typed, name};
use crate::cli::asking::printable;
use crate::cli::terminal::clean::Cleaner;
use seriald::control::frames::{
    FrameDecoder, FrameError, Kind, Notice, Part, SpyReason, Writer, encode,
};

/// Keys that wait for seriald to take them: past that they are dropped, which is told.
const UNSENT_MAX: usize = 64 * 1024;
/// Ctrl-C, which ends what only watches.
const INTERRUPT: u8 = 0x03;

/// How one is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To type, if nobody else does.
    Attach,
    /// To type, whoever else does.
    Force,
    /// To watch.
    Spy,
}

impl Mode {
    /// As the API has it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Attach => "attach",
            Mode::Force => "force",
            Mode::Spy => "spy",
        }
    }
}

/// What is to be done beside showing and sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// End the session.
    Leave,
    /// Stop, as a job of the shell's.
    Suspend,
    /// Attach anew, by force.
    Force,
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nobody is in charge of the console any more.
    Gone,
    /// We took too little of it: attach anew.
    Lagged,
}

/// What a session is about.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The VM.
    pub id: String,
    pub mode: Mode,
    /// The key that begins an escape.
    pub escape: Option<u8>,
    /// Output goes to a terminal, which is in raw mode if keys come from one too.
    pub is_shown: bool,
    /// What is shown is cleaned.
    pub clean: bool,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    keys: Keys,
    decoder: FrameDecoder,
    cleaner: Option<Cleaner>,
    /// What we type goes to the guest.
    writes: bool,
    /// The same, or so it was before the connection was cut.
    is_writer: bool,
    /// Keys were dropped, and it was told.
    told_dropped: bool,
    /// The offset behind the last byte that came.
    offset: Option<u64>,
    /// The cursor stands behind something.
    in_line: bool,
    /// To be shown.
    pub screen: Vec<u8>,
    /// To be said where standard output is no terminal.
    pub asides: Vec<String>,
    /// To be sent.
    pub unsent: Vec<u8>,
}

impl Session {
    /// One that is yet to be connected.
    pub fn new(terms: Terms) -> Session {
        Session {
            keys: Keys::new(terms.escape),
            decoder: FrameDecoder::default(),
            cleaner: terms.clean.then(Cleaner::default),
            writes: false,
            is_writer: terms.mode != Mode::Spy,
            told_dropped: false,
            offset: None,
            in_line: false,
            screen: Vec::new(),
            asides: Vec::new(),
            unsent: Vec::new(),
            terms,
        }
    }

    /// Where to go on if it is connected anew.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// Another connection begins, and in this way. What was not sent over the last one is not for
    /// this one.
    pub fn connected(&mut self, mode: Mode) {
        self.decoder = FrameDecoder::default();
        self.unsent.clear();
        // Seriald has said so by taking us.
        self.writes = mode != Mode::Spy;
    }

    /// The connection is lost: keys go nowhere until there is another.
    pub fn disconnected(&mut self) {
        self.unsent.clear();
        self.writes = false;
    }

    /// Whether more keys can be taken without dropping any.
    pub fn has_room(&self) -> bool {
        self.unsent.len() < UNSENT_MAX
    }

    /// Takes keys of a terminal, escapes among them.
    pub fn typed(&mut self, bytes: &[u8]) -> Option<Ask> {
        if self.terms.mode == Mode::Spy && bytes.contains(&INTERRUPT) {
            return Some(Ask::Leave);
        }
        let mut ask = None;
        for typed in self.keys.take(bytes) {
            match typed {
                Typed::Keys(keys) => self.send(&keys),
                Typed::Help => self.help(),
                Typed::Leave => return Some(Ask::Leave),
                Typed::Suspend => ask = Some(Ask::Suspend),
                Typed::Force => ask = Some(Ask::Force),
            }
        }
        ask
    }

    /// Takes input that is nobody's keys, all for the guest.
    pub fn piped(&mut self, bytes: &[u8]) {
        self.send(bytes);
    }

    /// How to attach at first.
    pub fn mode(&self) -> Mode {
        self.terms.mode
    }

    /// How to attach where the connection was cut: as it was, but nobody is sent away for that.
    pub fn mode_again(&self) -> Mode {
        if self.is_writer { Mode::Attach } else { Mode::Spy }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.writes && self.has_room() {
            self.told_dropped = false;
            return encode(Kind::Input, bytes, &mut self.unsent);
        }
        if !std::mem::replace(&mut self.told_dropped, true) {
            let why = match self.writes {
                true => "seriald takes no keys for now: what is typed is dropped",
                false => "you only watch: keys go nowhere",
            };
            self.say(why);
        }
    }

    /// Takes what came over the connection.
    ///
    /// # Errors
    /// It is something else than frames.
    pub fn came(&mut self, mut bytes: &[u8]) -> Result<Option<Over>, FrameError> {
        // Taken out for as long as a part of the bytes is looked at.
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut over = None;
        let outcome = loop {
            match decoder.next(&mut bytes) {
                Ok(Some(Part::Output(output))) => self.show(output),
                Ok(Some(Part::Notice(notice))) => over = self.heed(notice).or(over),
                Ok(Some(Part::Input(_) | Part::NotKnown(_))) => {}
                Ok(None) => break Ok(over),
                Err(error) => break Err(error),
            }
        };
        self.decoder = decoder;
        outcome
    }

    fn show(&mut self, output: &[u8]) {
        self.offset = self.offset.map(|offset| offset.saturating_add(output.len() as u64));
        let Some(cleaner) = &mut self.cleaner else {
            self.in_line = output.last().is_none_or(|byte| *byte != b'\n');
            return self.screen.extend_from_slice(output);
        };
        let mut text = String::new();
        cleaner.clean(output, &mut text);
        if let Some(last) = text.bytes().last() {
            self.in_line = last != b'\n';
        }
        // A terminal in raw mode begins no line by itself.
        self.screen.extend_from_slice(text.replace('\n', "\r\n").as_bytes());
    }

    /// Says something of ours.
    pub fn say(&mut self, what: &str) {
        let what = printable(what);
        if !self.terms.is_shown {
            return self.asides.push(what);
        }
        // A newline alone leads down, and not back.
        let before = if std::mem::take(&mut self.in_line) { "\r\n" } else { "\r" };
        self.screen.extend_from_slice(format!("{before}[seriald: {what}]\r\n").as_bytes());
    }

    fn help(&mut self) {
        let Some(escape) = self.keys.escape_name() else { return };
        let mut twice = "sends the key itself".to_owned();
        if self.terms.mode == Mode::Spy {
            twice += "; Ctrl-C leaves, too";
        }
        for line in [
            format!("at the beginning of a line: {escape}. leaves, {escape}? says this"),
            format!("{escape}f types in place of another writer, or beyond a full input"),
            format!("{escape}{} stops this program, {escape}{escape} {twice}", name(0x1a)),
        ] {
            self.say(&line);
        }
    }

    /// What happens to the console, in words.
    fn heed(&mut self, notice: Notice) -> Option<Over> {
        match notice {
            Notice::Attached { offset, writes } => self.attached(offset, writes),
            Notice::Writer { writer: Some(writer) } => {
                let who = who(writer);
                self.say(&format!("{who} types into this console now"));
            }
            Notice::Writer { writer: None } => self.say("nobody types into this console now"),
            Notice::Spy { why } => {
                (self.writes, self.is_writer, self.told_dropped) = (false, false, false);
                self.say(match why {
                    SpyReason::Forced => "another has taken this console by force: you only watch",
                    SpyReason::Idle => "nothing was typed for long: you only watch now",
                });
            }
            // Said here already.
            Notice::ReadOnly => self.writes = false,
            Notice::InputFull { ahead, force_goes_on } => {
                let more = match (force_goes_on, self.keys.escape_name()) {
                    (true, Some(escape)) => format!("; {escape}f sends more"),
                    (true, None) => "; attach --force sends more".into(),
                    (false, _) => String::new(),
                };
                let why = "the guest shows no sign that it reads its input";
                self.say(&format!("{why}: {ahead} bytes may wait, no more is taken{more}"));
            }
            Notice::InputGoesOn => self.say("input is taken again"),
            Notice::Missing { offset, bytes, why } => {
                self.offset = Some(offset.saturating_add(bytes));
                self.say(&format!("{bytes} bytes are missing from offset {offset} on: {why}"));
            }
            Notice::Connected => self.say("the VMM's console is connected"),
            Notice::Disconnected => {
                self.say("the VMM's console is not connected: its guest is off, or begins anew");
            }
            Notice::Lagged { .. } => {
                self.say("this terminal is too slow for what the guest prints");
                return Some(Over::Lagged);
            }
            Notice::ConsoleGone => {
                self.say("nobody is in charge of this console any more");
                return Some(Over::Gone);
            }
            Notice::NotKnown { why, .. } => self.say(&why),
            Notice::BadFrame { why } => self.say(&format!("what was sent is no frame: {why}")),
            Notice::Other => {}
        }
        None
    }

    fn attached(&mut self, offset: u64, writes: bool) {
        let again = if self.offset.is_some() { " again" } else { "" };
        (self.offset, self.told_dropped) = (Some(offset), false);
        (self.writes, self.is_writer) = (writes, writes);
        let id = self.terms.id.clone();
        let leave = match self.keys.escape_name() {
            Some(escape) => format!("; {escape}. leaves, {escape}? helps"),
            None => String::new(),
        };
        let does = if writes { "attached to" } else { "watching" };
        self.say(&format!("{does} {id}{again}{leave}"));
        if again.is_empty() && self.terms.is_shown && !self.terms.clean {
            self.say("what the guest prints goes to this terminal as it is");
        }
    }
}

fn who(writer: Writer) -> String {
    match writer.pid {
        Some(pid) => format!("user {} (process {pid})", writer.uid),
        None => format!("user {}", writer.uid),
    }
}

#[cfg(test)]
mod tests;
