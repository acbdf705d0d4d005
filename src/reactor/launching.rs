//! A launch: the VMM's process, its API and its sockets' paths.
//!
//! Owns no state of its own; carries out what the launch's machine says.
//! **Invariant:** a path is removed only if a socket lies there that nobody listens on, or that
//! this launch's VMM had made and that outlived it.

use super::Reactor;
use super::key::{Key, Kind};
use super::orderly::{Asker, Question};
use super::report::EventKind;
use super::slot::{Line, Slot};
use super::timers::Clock;
use crate::ch::api::Reply;
use crate::env::{Env, Exit, Interest, Moment, Signal};
use crate::vm::launch::{Launch, LaunchNext, Probe};
use crate::vm::{DialFailure, Next, Reached};
use std::ffi::OsString;
use std::path::Path;

impl<E: Env> Reactor<E> {
    /// Carries out what a launch's machine decided, and sets its timer anew.
    pub(super) fn apply_launch(&mut self, key: Key, mut next: LaunchNext, now: Moment) {
        loop {
            next = match next {
                LaunchNext::Wait => break,
                LaunchNext::ProbeApi => {
                    let probe = self.probe_api(key);
                    self.with_launch(key, |launch| launch.on_api_probe(probe, now))
                }
                LaunchNext::Spawn => {
                    let result = self.spawn(key);
                    self.with_launch(key, |launch| launch.on_spawned(result, now))
                }
                LaunchNext::Ask(call) => {
                    match self.ask(key, Question::new(call, Asker::Launch), now) {
                        Ok(()) => LaunchNext::Wait,
                        Err(why) => self.with_launch(key, |launch| launch.on_answer(Err(why), now)),
                    }
                }
                LaunchNext::ProbeSerial => {
                    let probe = self.probe_serial(key, now);
                    self.with_launch(key, |launch| launch.on_serial_probe(probe, now))
                }
                LaunchNext::RemoveSerialThenAsk(call) => match self.remove_serial(key) {
                    Ok(()) => LaunchNext::Ask(call),
                    Err(why) => self.with_launch(key, |launch| launch.fail(why, now)),
                },
                LaunchNext::Dial => self.begin_dialing(key, now),
                LaunchNext::Drain(within) => {
                    self.begin_drain(key, within, Asker::Launch, now);
                    LaunchNext::Wait
                }
                LaunchNext::Launched => {
                    self.tell(key, EventKind::Launched);
                    LaunchNext::Wait
                }
                LaunchNext::EndVmm => self.signal_vmm(key, Signal::Terminate),
                LaunchNext::KillVmm => self.signal_vmm(key, Signal::Kill),
                LaunchNext::Close(why) => self.close_launch(key, why, now),
            };
        }
        let Some(slot) = self.table.get_mut(key) else { return };
        let at = slot.aside.launch.as_ref().and_then(|part| part.machine.deadline());
        self.timers.set(slot.armed(Clock::Launch), key, Clock::Launch, at);
    }

    pub(super) fn with_launch(
        &mut self,
        key: Key,
        input: impl FnOnce(&mut Launch) -> LaunchNext,
    ) -> LaunchNext {
        let slot = self.table.get_mut(key);
        slot.filter(|slot| slot.aside.launch.is_some())
            .and_then(|slot| slot.aside.launch.as_mut())
            .map_or(LaunchNext::Wait, |part| input(&mut part.machine))
    }

    /// Whether somebody listens on the API path. A connection to an API may simply be closed.
    fn probe_api(&mut self, key: Key) -> Probe {
        let Some(slot) = self.table.get_mut(key) else { return Probe::Absent };
        let Some(path) = slot.api() else { return Probe::Absent };
        let probe = match self.env.connect(&path, None, key.token(Kind::Api), Interest::ReadWrite) {
            Ok((stream, _)) => Probe::Alive(self.env.peer_pid(&stream)),
            Err(error) => refusal(&path, DialFailure::from(&error)),
        };
        if let Some(part) = &mut slot.aside.launch {
            part.api_is_dead = probe == Probe::Dead;
        }
        probe
    }

    /// Whether somebody listens on the serial path. Somebody who does is left as any VM is: the
    /// connection becomes the slot's stream, on its way out.
    fn probe_serial(&mut self, key: Key, now: Moment) -> Probe {
        let Some(slot) = self.table.get_mut(key) else { return Probe::Absent };
        let path = &slot.serial();
        match self.env.connect(path, None, key.token(Kind::Serial), Interest::Read) {
            Ok((stream, _)) => {
                let pid = self.env.peer_pid(&stream);
                slot.stream = Some(Line { stream, berth: None });
                slot.foreign = true;
                slot.vm.on_dialed(Reached::Other, now);
                let next = slot.vm.on_release(now);
                self.apply(key, next, now);
                Probe::Alive(pid)
            }
            Err(error) => refusal(path, DialFailure::from(&error)),
        }
    }

    fn spawn(&mut self, key: Key) -> Result<(), String> {
        let Some(slot) = self.table.get_mut(key) else { return Ok(()) };
        let Some(part) = &slot.aside.launch else { return Ok(()) };
        let Some(api) = &slot.api() else { return Ok(()) };
        if part.api_is_dead {
            // v52 refuses to start on a stale path; v53 would replace it itself.
            self.env.unlink_socket(api).map_err(|e| format!("remove {}: {e}", api.display()))?;
        }
        let mut command = part.vmm.clone();
        let mut path = OsString::from("path=");
        path.push(api);
        command.extend(["--api-socket".into(), path]);
        let program = Path::new(&command[0]).display().to_string();
        let process = self
            .env
            .spawn(&command, key.token(Kind::Process))
            .map_err(|error| format!("{program}: {error}"))?;
        slot.set_pid(Some(self.env.pid(&process)));
        slot.process = Some(process);
        Ok(())
    }

    fn remove_serial(&mut self, key: Key) -> Result<(), String> {
        let Some(slot) = self.table.get(key) else { return Ok(()) };
        let path = &slot.serial();
        ::log::info!("VM {}: removing the stale socket {}", slot.id(), path.display());
        self.env
            .unlink_socket(path)
            .map_err(|e| format!("serial socket: remove the stale {}: {e}", path.display()))
    }

    fn begin_dialing(&mut self, key: Key, now: Moment) -> LaunchNext {
        if let Some(slot) = self.table.get_mut(key) {
            slot.vm.begin_dialing(now);
            self.apply(key, Next::Dial, now);
        }
        LaunchNext::Wait
    }

    fn signal_vmm(&mut self, key: Key, signal: Signal) -> LaunchNext {
        self.give_up_questions(key);
        let Some(slot) = self.table.get_mut(key) else { return LaunchNext::Wait };
        if let Some(process) = &slot.process
            && let Err(error) = self.env.signal(process, signal)
        {
            ::log::warn!("VM {}: cannot signal its VMM: {error}", slot.id());
        }
        LaunchNext::Wait
    }

    /// The loop ends before a launch that failed, or was broken off, has ended its VMM.
    pub(super) fn kill_half_launched(&mut self, key: Key) {
        let failed = |slot: &Slot<E>| {
            slot.aside.launch.as_ref().is_some_and(|part| part.machine.failure().is_some())
        };
        if self.table.get(key).is_some_and(failed) {
            self.signal_vmm(key, Signal::Kill);
        }
    }

    /// Nothing runs any more; a stream that is left is read to its end first, and closes the VM.
    fn close_launch(&mut self, key: Key, why: String, now: Moment) -> LaunchNext {
        let Some(slot) = self.table.get_mut(key) else { return LaunchNext::Wait };
        let given_up = slot.aside.launch.as_ref().is_some_and(|part| part.machine.has_given_up());
        let next = match (&slot.stream, given_up) {
            (None, _) => slot.vm.on_launch_failed(why),
            (Some(_), true) => slot.vm.on_release(now),
            (Some(_), false) => Next::Wait,
        };
        self.apply(key, next, now);
        LaunchNext::Wait
    }

    /// The serial connection of a launch stands.
    pub(super) fn on_launch_connected(&mut self, key: Key, now: Moment) {
        let next = self.with_launch(key, |launch| launch.on_connected());
        self.apply_launch(key, next, now);
    }

    pub(super) fn on_launch_answer(
        &mut self,
        key: Key,
        answer: Result<Reply, String>,
        now: Moment,
    ) {
        let next = self.with_launch(key, |launch| launch.on_answer(answer, now));
        self.note_made_paths(key);
        self.apply_launch(key, next, now);
    }

    pub(super) fn on_launch_exit(&mut self, key: Key, exit: Exit, now: Moment) {
        self.note_made_paths(key);
        let next = self.with_launch(key, |launch| launch.on_vmm_exit(exit));
        self.apply_launch(key, next, now);
    }

    pub(super) fn on_launch_timer(&mut self, key: Key, now: Moment) {
        let next = self.with_launch(key, |launch| launch.on_timer(now));
        self.apply_launch(key, next, now);
    }

    pub(super) fn on_launch_stop(&mut self, key: Key, now: Moment) {
        let next = self.with_launch(key, |launch| launch.on_stop(now));
        self.apply_launch(key, next, now);
    }

    /// Notes which sockets a launch under way has made, so that they are known at its end. They
    /// were looked for right before: what lies there now is the VMM's.
    fn note_made_paths(&mut self, key: Key) {
        let Some(slot) = self.table.get_mut(key) else { return };
        let (serial, api) = (slot.serial(), slot.api());
        let Some(part) = &mut slot.aside.launch else { return };
        let (api_made, serial_made) = part.machine.is_making();
        let api_made = api_made && !part.api_is_anothers;
        if serial_made && part.made_serial.is_none() {
            part.made_serial = self.env.socket_id(&serial).ok();
        }
        if let Some(api) = api.filter(|_| api_made && part.made_api.is_none()) {
            part.made_api = self.env.socket_id(&api).ok();
        }
    }

    /// A VMM that was killed, or never booted, leaves its paths behind. Those that still are the
    /// sockets that it made are removed, so that the next launch starts clean. Nothing is connected
    /// to: a successor may have bound the path meanwhile, and a probe would harm its console.
    pub(super) fn remove_dead_sockets(&mut self, key: Key) {
        let Some(slot) = self.table.get(key) else { return };
        let Some(part) = &slot.aside.launch else { return };
        if slot.process.is_some() {
            return;
        }
        let connected = slot.socket().filter(|_| !slot.foreign);
        let serial = (slot.serial(), [part.made_serial, connected]);
        let api = slot.api().map(|api| (api, [part.made_api, None]));
        for (path, made) in [Some(serial), api].into_iter().flatten() {
            let now = self.env.socket_id(&path).ok();
            let ours = now.is_some() && made.contains(&now);
            if ours && let Err(error) = self.env.unlink_socket(&path) {
                ::log::warn!("VM {}: remove {}: {error}", slot.id(), path.display());
            }
        }
    }
}

fn refusal(path: &Path, failure: DialFailure) -> Probe {
    match failure {
        DialFailure::Absent => Probe::Absent,
        DialFailure::Refused => Probe::Dead,
        failure => Probe::Unusable(format!("{}: {failure}", path.display())),
    }
}
