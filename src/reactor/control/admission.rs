//! Who is let in, at the control socket and by TCP, and who has to give way to whom.
//!
//! Owns the rule, and whether somebody waits at a door.
//! **Invariant:** each of the two kinds of clients has a number of its own, which is never exceeded
//! for longer than a call. Whoever was let in is heard before he has to give way, and one that
//! waits for us never has to: a crowd that says nothing, half a word, or takes nothing of its
//! answers keeps nobody out for longer than [`limits::CONTROL_STALL`].

use super::client::{Asker, Client};
use crate::control::access::Role;
use crate::control::response::{Response, Status};
use crate::env::{Env, Moment};
use crate::limits;
use crate::reactor::Reactor;
use crate::reactor::key::Key;
use std::io;

/// One of our sockets, seen by those who wait there to be let in.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Door {
    /// Somebody may wait.
    pub knocked: bool,
    /// When it is tried again, after there were no descriptors for him.
    pub again_at: Option<Moment>,
}

impl Door {
    /// Nobody could be accepted, or nobody waits any more.
    fn on_error(&mut self, whose: &str, error: &io::Error, now: Moment) {
        self.knocked = false;
        if error.kind() != io::ErrorKind::WouldBlock {
            log::warn!("{whose}: a client can't be accepted: {error}");
            self.again_at = Some(now + limits::SHORTAGE_PAUSE);
        }
    }

    /// It is tried again to let those in who wait, if it is time.
    pub(super) fn on_timer(&mut self, now: Moment) {
        self.knocked |= self.again_at.take_if(|at| *at <= now).is_some();
    }
}

impl<E: Env> Reactor<E> {
    /// Lets those in who wait, a bounded number and for a part of the time that clients have:
    /// those who are in are to be served, too.
    pub(super) fn let_some_in(&mut self, now: Moment) {
        let mut pace = self.pace_of_admissions();
        for _ in 0..limits::CONTROL_ADMISSIONS_A_TURN {
            if self.scraping.door.knocked {
                self.let_scraper_in(now);
            }
            if self.control.door.knocked {
                self.let_in(now);
            }
            let has_more = self.scraping.door.knocked || self.control.door.knocked;
            if !has_more || pace.is_over(&self.env) {
                break;
            }
        }
    }

    /// Accepts one client of the control socket. One who may do nothing is told so and sent away.
    fn let_in(&mut self, now: Moment) {
        let Some(key) = self.control.clients.next_key() else { return };
        let (stream, caller) = match self.env.accept(key.client_token()) {
            Ok(accepted) => accepted,
            Err(error) => return self.control.door.on_error("control", &error, now),
        };
        let role = self.role_of(&caller);
        let (uid, pid) = (caller.uid, caller.pid);
        let asker = Asker { role: role.unwrap_or(Role::Read), uid, pid, key };
        let client = Client::new(stream, asker, now);
        if role.is_none() {
            let why = format!(
                "user {uid} was given no part of this: \"read\", \"attach\" and \"admin\" of \
                 \"control\" in the configuration give one"
            );
            self.stats.clients.refused_forbidden += 1;
            return self.send_away(client, &Response::error(Status::Forbidden, "forbidden", &why));
        }
        self.admit(client, key, now);
    }

    /// Accepts one client by TCP.
    fn let_scraper_in(&mut self, now: Moment) {
        let Some(key) = self.control.clients.next_key() else { return };
        let stream = match self.env.accept_tcp(key.client_token()) {
            Ok(stream) => stream,
            Err(error) => return self.scraping.door.on_error("metrics", &error, now),
        };
        let asker = Asker { role: Role::Scrape, uid: 0, pid: None, key };
        self.admit(Client::new(stream, asker, now), key, now);
    }

    /// Takes a client in, under the key that was announced. Where there are too many of its kind
    /// already, the one that has stood still for longest gives way; if none has, the new one is
    /// told so and sent away.
    fn admit(&mut self, client: Client<E::Stream>, key: Key, now: Moment) {
        let most = most_beside(client.role());
        let (mut count, mut stalled) = (0, None);
        for (key, other) in
            self.control.clients.iter().filter(|(_, other)| {
                (other.role() == Role::Scrape) == (client.role() == Role::Scrape)
            })
        {
            count += 1;
            let since = other.stalled_since(now).map(|since| (since, key));
            stalled = [stalled, since].into_iter().flatten().min();
        }
        let gives_way = stalled.filter(|_| count >= most);
        if count >= most && gives_way.is_none() {
            self.stats.clients.refused_full += 1;
            let why = format!("there are {most} clients already, and each is busy");
            let refusal = Response::error(Status::Unavailable, "too_many_clients", &why);
            return self.send_away(client, &refusal);
        }
        self.stats.clients.accepted += 1;
        self.control.clients.insert(client);
        self.control.arm(key);
        self.control.enqueue(key);
        // Not before: the new client's key was announced.
        if let Some((_, stalled)) = gives_way {
            self.stats.clients.dropped_idle += 1;
            self.drop_client(stalled, "late");
        }
    }

    /// Tells a client why it is not let in. What a fresh socket has no room for is dropped.
    fn send_away(&mut self, mut client: Client<E::Stream>, refusal: &Response) {
        client.dismiss(refusal);
        let _ = client.send(&mut self.env);
    }
}

/// How many clients there may be, of its own kind, beside one with this role.
fn most_beside(role: Role) -> usize {
    match role {
        Role::Scrape => limits::METRICS_CLIENTS_MAX,
        Role::Admin => limits::CONTROL_CLIENTS_MAX,
        _ => limits::CONTROL_CLIENTS_MAX - limits::CONTROL_CLIENTS_ADMIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_places_are_for_those_who_may_do_everything() {
        let places = [Role::Read, Role::Attach, Role::Admin].map(most_beside);
        assert_eq!(places, [240, 240, 256]);
        assert_eq!(most_beside(Role::Scrape), 16);
    }
}
