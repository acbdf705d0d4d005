//! Handing every VM to the next program of this process, and taking them over from the last one.
//!
//! Owns what of the loop is written down, and its order.
//! **Invariant:** between [`Reactor::save`] and [`Reactor::take_over`] no byte is read, written or
//! closed; a VM that can't be taken over whole is dialed anew, and its log opened anew.

use super::Reactor;
use super::errands::Turn;
use super::key::{Key, Kind};
use super::report::{EventKind, VmId};
use super::slot::{LaunchPart, Line, Slot};
use super::store::Store;
use crate::config::{OnExit, VmPaths};
use crate::env::{CHECK_TOKEN, Descriptor, Heritage, Moment};
use crate::handover::state::{
    FORMAT, LaunchState, ProcessState, State, StateError, StreamState, VmState,
};
use crate::log::record::Cause;
use crate::log::{Counters, Log, OpenLog, Terms};
use crate::vm::launch::Launch;
use crate::vm::{Next, Vm};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::io;

impl<E: Heritage> Reactor<E> {
    /// The first VM of which something is under way that no successor could take over (a launch, a
    /// question to its API, a child that works on its backups), and what; `None`:
    /// [`Reactor::save`] may be called.
    pub fn unsettled(&self) -> Option<(VmId, String)> {
        self.table.iter().find_map(|(key, slot)| {
            let launching =
                slot.aside.launch.as_ref().is_some_and(|part| !part.machine.is_settled());
            let what = match &slot.aside.questions.exchange {
                Some(exchange) => exchange.name(),
                None if launching => "its launch",
                None if !slot.aside.questions.asked.is_empty()
                    || slot.aside.questions.progress.is_draining() =>
                {
                    "the orderly end of its guest"
                }
                None if slot.errand == Turn::Running => "the work on its backups",
                None if slot.foreign || slot.aside.lines.stranger.is_some() => {
                    "the leaving of another's console"
                }
                None if slot.closing => "its end",
                None => return None,
            };
            Some((VmId(key), what.to_owned()))
        })
    }

    /// What a successor needs. Nothing may be unsettled, and until the successor runs there must be
    /// no further turn.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn save(&self) -> Result<State, StateError> {
        let vms = self.table.iter().map(|(_, slot)| self.save_vm(slot)).collect();
        Ok(State {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            origin: self.env.origin(),
            stats: object(&self.stats),
            failures: 0,
            vms,
            store: self.store.as_ref().map(Store::memory),
            control: self.save_control(),
            feed: self.save_feed(),
            scraping: self.save_scraping(),
            requested: self.save_requested(),
        })
    }

    fn save_vm(&self, slot: &Slot<E>) -> VmState {
        let stream = |line: &Line<E::Stream>, socket| StreamState {
            descriptor: self.env.stream_number(&line.stream),
            socket,
            berth: line.berth,
        };
        let vmm = slot.process.as_ref().map(|process| {
            let (descriptor, child) = self.env.process_number(process);
            ProcessState { descriptor, pid: self.env.pid(process), child }
        });
        let (input_ahead, input_loose) = self.input_ahead(slot.id());
        VmState {
            id: slot.id().to_owned(),
            serial: slot.serial(),
            api: slot.api(),
            waits_on_exit: slot.on_exit() == OnExit::Wait,
            dial_timeout: slot.aside.dial_timeout,
            expect_uid: slot.expect_uid(),
            stream: slot.stream.as_ref().map(|line| stream(line, slot.socket())),
            successor: slot
                .aside
                .lines
                .successor
                .as_ref()
                .map(|(line, socket)| stream(line, Some(*socket))),
            vmm,
            launch: slot.aside.launch.as_ref().map(|part| LaunchState {
                made_serial: part.made_serial,
                made_api: part.made_api,
                api_is_anothers: part.api_is_anothers,
                ended: part.machine.has_ended(),
                digest: part.digest,
            }),
            let_go: slot.let_go,
            machine: slot.vm.save(),
            log: slot.log.save(|file| self.env.file_number(file), |dir| self.env.dir_number(dir)),
            input_ahead,
            input_loose,
            writer: self.find(slot.id()).and_then(|vm| self.viewers(vm).1),
            counters: object(&slot.counters()),
        }
    }

    /// Takes every VM over. Those that can't be are named, with the reason.
    pub fn take_over(&mut self, state: State) -> Vec<String> {
        self.stats = read(state.stats);
        self.memory_left = state.store;
        self.take_control_over(state.control, state.feed);
        self.take_scraping_over(state.scraping);
        let requested = state.requested;
        let vms = state.vms.into_iter();
        let refused = vms.filter_map(|vm| {
            let (id, vmm) = (vm.id.clone(), vm.vmm);
            let streams = [vm.stream.as_ref(), vm.successor.as_ref()].into_iter().flatten();
            let streams: Vec<Descriptor> = streams.map(|stream| stream.descriptor).collect();
            let why = self.take_over_vm(vm).err()?;
            self.leave_behind(streams, vmm);
            Some(format!("VM {id:?}: {why}"))
        });
        let refused: Vec<String> = refused.collect();
        if !refused.is_empty() {
            // Nobody is told of their ends: whoever follows has to look who is there.
            self.begin_feed_anew();
        }
        self.take_requested_over(&requested);
        refused
    }

    /// A VM was not taken over: nobody would ever read its console, so it is left in order.
    fn leave_behind(&mut self, streams: Vec<Descriptor>, vmm: Option<ProcessState>) {
        self.leave_numbers(streams);
        if let Some(vmm) = vmm {
            // Its events are nobody's: dropped at once, it is closed.
            drop(self.env.take_process(vmm.descriptor, vmm.pid, vmm.child, CHECK_TOKEN));
        }
    }

    fn take_over_vm(&mut self, saved: VmState) -> Result<(), String> {
        let now = self.env.now();
        let key = self.table.next_key().ok_or("the table of VMs is full")?;
        let seed = self.roll();
        let heard = saved.machine.heard;
        saved.check()?;
        let spec = saved.spec();
        let (log, before) = self.take_log(&saved, VmPaths::of(&spec), seed, now)?;
        let streams = [saved.stream, saved.successor].map(|stream| {
            let stream = stream?;
            match self.env.take_stream(stream.descriptor, key.token(Kind::Serial)) {
                Ok(taken) => Some((Line { stream: taken, berth: stream.berth }, stream.socket)),
                Err(error) => {
                    ::log::warn!("VM {}: its stream was not taken over: {error}", saved.id);
                    None
                }
            }
        });
        let [stream, successor] = streams;
        let vm = Vm::take_over(
            &saved.machine,
            spec.on_exit,
            spec.dial_timeout,
            stream.is_some(),
            seed,
            now,
        );
        let launch = saved.launch.as_ref().map(|launch| LaunchPart {
            machine: Launch::take_over(spec.serial.clone(), launch.ended),
            vmm: Vec::new(),
            digest: launch.digest,
            api_is_dead: false,
            api_is_anothers: launch.api_is_anothers,
            made_serial: launch.made_serial,
            made_api: launch.made_api,
        });
        let (places, _) = self.places(&spec);
        let mut slot = Slot::new(&spec, vm, log, launch, places);
        slot.count_on(read(saved.counters));
        slot.let_go = saved.let_go;
        if let Some((stream, socket)) = stream {
            slot.stream = Some(stream);
            socket.map(|socket| slot.set_socket(socket));
        }
        if let Some((stream, Some(socket))) = successor {
            slot.aside.lines.successor = Some((stream, socket));
        }
        if slot.stream.is_some() {
            slot.ready.look_at_serial();
        }
        let socket = slot.socket();
        self.table.insert(slot);
        self.index.add(&mut self.table, key);
        self.set_limits(key, now);
        self.take_input_ahead(key, (saved.input_ahead, saved.input_loose), saved.writer);
        self.take_process(key, saved.vmm);
        // Whoever follows by our own API was told of it by our predecessor.
        self.tell_embedder(key, EventKind::Adopted);
        self.after_log(key, before);
        if let Some(socket) = socket.filter(|_| !heard) {
            self.look_for_boot(key, None, socket);
        }
        self.enqueue(key);
        self.apply(key, Next::Wait, now);
        Ok(())
    }

    fn take_log(
        &mut self,
        saved: &VmState,
        paths: VmPaths,
        seed: u64,
        now: Moment,
    ) -> Result<(Log<E::Files>, Counters), String> {
        let (log, own) = (saved.log.clone(), paths.clone());
        let open = self.open_log(saved);
        let taken = open.map_err(|error| error.to_string()).and_then(|open| {
            let files = self.env.files();
            let terms = Log::terms_left(files, &log, &open.file).map_err(|e| e.to_string())?;
            let both = (own, self.shared.share(terms));
            Log::take_over_at(files, both, log, open, seed, now).map_err(|e| e.to_string())
        });
        let why = match taken {
            // What is in these counters was told by the predecessor.
            Ok(log) => return Ok((log, saved.log.counters)),
            Err(why) => why,
        };
        ::log::warn!("VM {}: its log is opened anew: {why}", saved.id);
        let files = self.env.files();
        let opened = Terms::of(files, &saved.log.spec())
            .and_then(|terms| Log::open_at(files, paths, self.shared.share(terms), seed, now));
        let mut log = opened.map_err(|error| error.to_string())?;
        let before = log.counters();
        log.lose(files, saved.log.unrecorded_bytes(), Cause::Crash, now);
        Ok((log, before))
    }

    fn open_log(&mut self, saved: &VmState) -> io::Result<OpenLog<E::Files>> {
        // All are taken before one is missed: what is not kept is closed.
        let copy = saved.log.copy.map(|copy| self.env.take_file(copy)).transpose();
        let (dir, file) = (self.env.take_dir(saved.log.dir), self.env.take_file(saved.log.file));
        Ok(OpenLog { dir: dir?, file: file?, copy: copy? })
    }

    fn take_process(&mut self, key: Key, saved: Option<ProcessState>) {
        let Some(saved) = saved else { return };
        let Some(slot) = self.table.get_mut(key) else { return };
        let token = key.token(Kind::Process);
        match self.env.take_process(saved.descriptor, saved.pid, saved.child, token) {
            Ok(process) => {
                slot.set_pid(Some(saved.pid));
                slot.process = Some(process);
                slot.ready.process = true;
            }
            Err(error) => {
                let (id, pid) = (slot.id(), saved.pid);
                ::log::warn!("VM {id}: its VMM, process {pid}, was not taken over: {error}");
            }
        }
    }
}

/// Counters by their names.
fn object(counters: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(counters) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The same read back; what is not understood begins at zero.
fn read<T: DeserializeOwned + Default>(counters: Map<String, Value>) -> T {
    serde_json::from_value(Value::Object(counters)).unwrap_or_default()
}
