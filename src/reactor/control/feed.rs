//! The stream of state changes: the last of them in a ring, and whoever follows it.
//!
//! Owns the ring. It is there while our own API is, whether or not an embedder takes his events; an
//! upgrade hands it on, so that nobody who comes back misses a line.
//! **Invariant:** bounded in bytes; nobody is waited for. Whoever is too slow, or comes back too
//! late, is told how much he has missed before anything else. A follower is queued by a change, and
//! costs nothing until there is one.

use super::body::Made;
use crate::control::events::{EventId, EventLine, Told};
use crate::control::query::{Query, QueryError};
use crate::env::{Env, Exit, Files};
use crate::handover::state::FeedState;
use crate::limits;
use crate::reactor::key::Key;
use crate::reactor::{EventKind, Reactor};
use crate::vm::CloseReason;
use std::collections::VecDeque;

/// The last lines.
pub(in crate::reactor) struct Feed {
    epoch: u64,
    lines: VecDeque<Line>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    /// Clients that wait for the next.
    waiting: Vec<Key>,
}

struct Line {
    vm: Box<str>,
    text: Box<str>,
}

/// A client that is told of changes.
pub(super) struct Following {
    client: Key,
    /// The number of the next line for it.
    next: u64,
    /// It came from another epoch, and is yet to be told.
    is_lost: bool,
    /// Of this VM alone.
    vm: Option<String>,
    /// It waits for those that are yet to come.
    follow: bool,
}

impl Feed {
    fn begin(epoch: u64) -> Feed {
        Feed { epoch, lines: VecDeque::new(), first: 1, bytes: 0, waiting: Vec::new() }
    }

    /// A predecessor's.
    fn of(saved: FeedState) -> Feed {
        let mut feed =
            Feed { first: saved.first.clamp(1, limits::OFFSET_MAX), ..Feed::begin(saved.epoch) };
        for (vm, text) in saved.lines {
            feed.push(Line { vm: vm.into(), text: text.into() });
        }
        feed
    }

    /// The number of the line that comes next.
    fn next(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.bytes > limits::FEED_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.text.len();
            self.first += 1;
        }
    }

    /// A client waits for the next line; those that are gone are forgotten for it.
    fn wait(&mut self, client: Key, is_there: impl Fn(Key) -> bool) {
        if self.waiting.contains(&client) {
            return;
        }
        if self.waiting.len() >= limits::CONTROL_CLIENTS_MAX {
            self.waiting.retain(|client| is_there(*client));
        }
        self.waiting.push(client);
    }
}

impl<E: Env> Reactor<E> {
    /// Begins the ring, where there is none: our own API is served from now on.
    pub(super) fn begin_feed(&mut self) {
        if self.control.feed.is_none() {
            self.begin_feed_anew();
        }
    }

    /// Begins another: whoever comes back is told that nobody knows what he has missed.
    pub(in crate::reactor) fn begin_feed_anew(&mut self) {
        let epoch = self.roll();
        self.control.feed = Some(Feed::begin(epoch));
    }

    /// The ring, for a successor.
    pub(in crate::reactor) fn save_feed(&self) -> Option<FeedState> {
        let feed = self.control.feed.as_ref()?;
        let lines = feed.lines.iter().map(|line| (line.vm.to_string(), line.text.to_string()));
        Some(FeedState { epoch: feed.epoch, first: feed.first, lines: lines.collect() })
    }

    /// The same, of a predecessor; one that knew of none leaves none.
    pub(super) fn take_feed_over(&mut self, saved: Option<FeedState>) {
        match saved {
            Some(saved) => self.control.feed = Some(Feed::of(saved)),
            None => self.begin_feed(),
        }
    }

    /// Tells those who follow of a change.
    pub(super) fn feed(&mut self, key: Key, kind: &EventKind) {
        let Some(feed) = &mut self.control.feed else { return };
        let Some(slot) = self.table.get(key) else { return };
        let why = why(kind);
        let line = EventLine {
            id: EventId { epoch: feed.epoch, number: feed.next() },
            time: self.env.files().wall(),
            vm: Some(slot.id()),
            offset: Some(slot.log.offset()),
            told: told(kind, &why),
        };
        let text = line.encode().into_boxed_str();
        feed.push(Line { vm: slot.id().into(), text });
        for client in std::mem::take(&mut feed.waiting) {
            self.control.enqueue(client);
        }
    }

    /// What a client is to be told, as its query says.
    pub(super) fn follow(&self, client: Key, query: &Query) -> Result<Following, QueryError> {
        let follow = query.switch("follow")?.unwrap_or(false);
        let vm = query.text("vm").map(str::to_owned);
        if let Some(vm) = vm.as_deref().filter(|vm| !crate::config::is_valid_id(vm)) {
            return Err(QueryError(format!("vm: {vm:?} is no VM's name")));
        }
        let (epoch, first, end) = self
            .control
            .feed
            .as_ref()
            .map_or((0, 1, 1), |feed| (feed.epoch, feed.first, feed.next()));
        let all = Following { client, next: first, is_lost: false, vm, follow };
        match query.text("after") {
            None => Ok(all),
            Some("now") => Ok(Following { next: end, ..all }),
            Some(text) => match text.parse::<EventId>() {
                Ok(id) if id.epoch == epoch && id.number < end => {
                    Ok(Following { next: id.number + 1, ..all })
                }
                Ok(_) => Ok(Following { is_lost: true, ..all }),
                Err(_) => {
                    let why = format!("after: {text:?} is neither the id of an event nor now");
                    Err(QueryError(why))
                }
            },
        }
    }

    /// Appends the next lines for a client.
    pub(super) fn tell_follower(&mut self, follower: &mut Following, into: &mut Vec<u8>) -> Made {
        let time = self.env.files().wall();
        let Some(feed) = &mut self.control.feed else { return Made::Ended };
        let missed = feed.first.saturating_sub(follower.next);
        let is_lost = std::mem::take(&mut follower.is_lost);
        if is_lost || missed > 0 {
            let id = EventId { epoch: feed.epoch, number: feed.first - 1 };
            let told = Told::Missed { events: (!is_lost).then_some(missed) };
            let line = EventLine { id, time, vm: None, offset: None, told };
            into.extend_from_slice(line.encode().as_bytes());
            follower.next = follower.next.max(feed.first);
        }
        for _ in 0..limits::FEED_LINES_A_PIECE {
            let at = usize::try_from(follower.next - feed.first).unwrap_or(usize::MAX);
            let Some(line) = feed.lines.get(at) else {
                if !follower.follow {
                    return Made::Ended;
                }
                let clients = &self.control.clients;
                feed.wait(follower.client, |client| clients.get(client).is_some());
                return Made::Waits;
            };
            follower.next += 1;
            if follower.vm.as_deref().is_none_or(|vm| *vm == *line.vm) {
                into.extend_from_slice(line.text.as_bytes());
            }
            if into.len() >= limits::CONTROL_PIECE_BYTES {
                break;
            }
        }
        Made::More
    }
}

/// The sentence that a line ends with, where its event has one.
fn why(kind: &EventKind) -> String {
    let mut why = match kind {
        EventKind::Answered(_, Err(why)) => why.clone(),
        EventKind::Closed(reason) => reason.to_string(),
        _ => String::new(),
    };
    let mut end = why.len().min(limits::FEED_WHY_BYTES);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    why.truncate(end);
    why
}

fn told<'a>(kind: &EventKind, why: &'a str) -> Told<'a> {
    match kind {
        EventKind::Adopted => Told::Adopted,
        EventKind::Launched => Told::Launched,
        EventKind::Connected(pid) => Told::Connected { pid: *pid },
        EventKind::Disconnected => Told::Disconnected,
        EventKind::Displaced => Told::Displaced,
        EventKind::Rebooted(absent) => {
            Told::Rebooted { absent_ms: u64::try_from(absent.as_millis()).unwrap_or(u64::MAX) }
        }
        EventKind::ShutDown => Told::ShutDown,
        EventKind::Booted => Told::Booted,
        EventKind::NeverAccepted => Told::NeverAccepted,
        EventKind::VmmExited(exit) => match exit {
            Exit::Code(code) => Told::VmmExited { code: Some(*code), signal: None },
            Exit::Signal(signal) => Told::VmmExited { code: None, signal: Some(*signal) },
            Exit::Unknown => Told::VmmExited { code: None, signal: None },
        },
        EventKind::Unserved => Told::Unserved,
        EventKind::UpstreamLossPossible => Told::UpstreamLossPossible,
        EventKind::Attached { uid, pid, forced } => {
            Told::Attached { uid: *uid, pid: *pid, forced: *forced }
        }
        EventKind::Detached { uid, pid, cause } => Told::Detached { uid: *uid, pid: *pid, cause },
        EventKind::Rotated(times) => Told::Rotated { times: *times },
        EventKind::RotationFailed => Told::RotationFailed,
        EventKind::Lost(bytes) => Told::Lost { bytes: *bytes },
        EventKind::Answered(call, answer) => {
            Told::Answered { call, error: answer.is_err().then_some(why) }
        }
        EventKind::Closed(reason) => Told::Closed { reason: word(reason), why },
    }
}

fn word(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Released | CloseReason::ReleasedUnanswered => "released",
        CloseReason::VmmExited(_) => "vmm_exited",
        CloseReason::DialTimeout(_) => "dial_timeout",
        CloseReason::LaunchFailed(_) => "launch_failed",
        CloseReason::LaunchBrokenOff(_) => "launch_broken_off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::table::Table;

    #[test]
    fn the_ring_forgets_the_oldest_and_knows_how_many() {
        let mut feed = Feed::begin(7);
        let text = "x".repeat(limits::FEED_BYTES / 4);
        for n in 0..6u64 {
            assert_eq!(feed.next(), n + 1);
            feed.push(Line { vm: "a".into(), text: text.as_str().into() });
            assert!(feed.bytes <= limits::FEED_BYTES);
        }
        assert_eq!((feed.first, feed.lines.len(), feed.next()), (3, 4, 7));
    }

    #[test]
    fn who_waits_does_so_once_and_who_went_is_forgotten_for_those_who_come() {
        let mut clients = Table::new();
        let keys = [(); limits::CONTROL_CLIENTS_MAX + 2].map(|()| clients.insert(()));
        let mut feed = Feed::begin(7);
        let (last, all) = keys.split_last().expect("some");
        for key in all.iter().chain(all) {
            feed.wait(*key, |_| true);
        }
        assert_eq!(feed.waiting, all);
        feed.wait(*last, |key| key == keys[0]);
        assert_eq!(feed.waiting, [keys[0], *last]);
    }
}
