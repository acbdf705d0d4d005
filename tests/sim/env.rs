//! The simulated world as the collector sees it: the traits of `seriald::env` over the kernel.
//!
//! Owns the process' end of each thing; what is dropped is closed.
//! **Invariant:** each call begins in the kernel, where time passes, faults strike and the process
//! may be killed; after that no call has an effect.

mod files;

pub use files::{SimDir, SimFile, SimFiles};

use crate::faults::Fault;
use crate::kernel::children::Errand;
use crate::kernel::{Kernel, Object, Shared, errno};
use seriald::env::{
    Announced, BerthNote, Caller, Change, Descriptor, Env, Exit, FileId, Found, Heritage, Interest,
    Listens, ListensTcp, Moment, Notify, PeerId, ProcessSignal, Processes, Refused, Remains,
    Signal, SocketId, Sockets, Wake, WatchId, Watches,
};
use std::cell::{Cell, RefMut};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The uid of the collector, and of most VMMs.
pub const OWN_UID: u32 = 0;

/// A descriptor of the collector's process.
pub struct Number {
    kernel: Shared,
    incarnation: u64,
    pub number: i32,
}

impl Number {
    fn new(kernel: &Shared, number: i32) -> Number {
        Number { incarnation: kernel.borrow().incarnation, kernel: kernel.clone(), number }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let Ok(mut kernel) = self.kernel.try_borrow_mut() else { return };
        if kernel.incarnation == self.incarnation && !kernel.is_dead && !kernel.replaces_itself {
            kernel.close(self.number);
        }
    }
}

pub struct SimStream {
    number: Number,
    end: End,
}

/// Who is at the other end.
#[derive(Clone, Copy)]
enum End {
    /// A VMM: the number of the connection.
    Vmm(usize),
    /// One who asks for our own API.
    Viewer(usize),
}

impl SimStream {
    /// The connection to a VMM.
    fn conn(&self) -> usize {
        match self.end {
            End::Vmm(conn) => conn,
            End::Viewer(viewer) => panic!("viewer {viewer} is taken for a VMM"),
        }
    }
}

pub struct SimTarget {
    _number: Number,
    inode: u64,
}

pub struct SimProcess {
    number: Number,
    pid: u32,
}

#[derive(Clone)]
pub struct SimWaker(Arc<AtomicBool>);

impl Wake for SimWaker {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

pub struct SimEnv {
    kernel: Shared,
    origin: Duration,
    files: SimFiles,
    listener: Option<Number>,
    after_death: Cell<Duration>,
}

impl SimEnv {
    /// The world of a process that has just begun. `origin`: a predecessor's clock.
    pub fn new(kernel: &Shared, origin: Option<Duration>) -> SimEnv {
        let origin = origin.unwrap_or(kernel.borrow().now);
        SimEnv {
            kernel: kernel.clone(),
            origin,
            files: SimFiles::new(kernel),
            listener: None,
            after_death: Cell::new(Duration::ZERO),
        }
    }

    fn call(&self, name: &'static str) -> io::Result<RefMut<'_, Kernel>> {
        self.files.call(name)
    }

    fn own_process(&self, pid: u32, token: u64) -> io::Result<SimProcess> {
        let mut kernel = self.kernel.borrow_mut();
        let number = kernel.new_descriptor(Object::Process(pid))?;
        kernel.watch(number, token);
        if let Some(process) = kernel.processes.get_mut(&pid) {
            process.watch = Some((number, token));
            if process.exit.is_some() {
                kernel.announce(number, token);
            }
        }
        drop(kernel);
        Ok(SimProcess { number: Number::new(&self.kernel, number), pid })
    }

    fn child(&self, errand: Errand, token: u64) -> io::Result<SimProcess> {
        let pid = self.call("fork")?.start_child(errand)?;
        let owned = self.own_process(pid, token);
        if owned.is_err() {
            // A child that can't be watched is ended at once.
            self.kernel.borrow_mut().exit_process(pid, Exit::Signal(9));
        }
        owned
    }
}

impl Sockets for SimEnv {
    type Stream = SimStream;
    type Target = SimTarget;

    fn find(&mut self, path: &Path, owner: Option<u32>) -> io::Result<(SimTarget, SocketId)> {
        let mut kernel = self.call("find")?;
        if kernel.strikes(Fault::Denied) {
            return Err(errno(libc::EACCES));
        }
        let info = kernel.disk.socket_at(path)?;
        if info.links > 1 {
            return Err(io::Error::other(Refused::LinkedSocket));
        }
        if let Some(wanted) = owner.filter(|owner| *owner != info.uid) {
            return Err(io::Error::other(Refused::SocketOwner { is: info.uid, wanted }));
        }
        let number = kernel.new_descriptor(Object::Target(info.inode))?;
        kernel.disk.hold(info.inode)?;
        drop(kernel);
        let target = SimTarget { _number: Number::new(&self.kernel, number), inode: info.inode };
        Ok((target, id_of(info.inode, info.born)))
    }

    fn open(&mut self, token: u64, _: Interest) -> io::Result<SimStream> {
        let mut kernel = self.call("socket")?;
        let conn = kernel.new_conn(true);
        let number = kernel.new_descriptor(Object::Stream(conn))?;
        kernel.watch(number, token);
        kernel.conns[conn].watch = Some((number, token));
        // An unconnected socket is told as hung up.
        kernel.announce(number, token);
        drop(kernel);
        Ok(SimStream { number: Number::new(&self.kernel, number), end: End::Vmm(conn) })
    }

    fn connect_to(&mut self, stream: &SimStream, target: &SimTarget) -> io::Result<()> {
        let mut kernel = self.call("connect")?;
        if kernel.strikes(Fault::Refused) {
            let code = *kernel.dice.pick(&[libc::ECONNREFUSED, libc::EAGAIN, libc::EACCES]);
            return Err(errno(code));
        }
        kernel.connect(stream.conn(), target.inode)
    }

    fn socket_id(&mut self, path: &Path) -> io::Result<SocketId> {
        let kernel = self.call("statx")?;
        let info = kernel.disk.socket_at(path)?;
        Ok(id_of(info.inode, info.born))
    }

    fn stream_number(&self, stream: &SimStream) -> Descriptor {
        stream.number.number
    }

    fn read(&mut self, stream: &SimStream, into: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.call("read")?;
        match stream.end {
            End::Vmm(conn) => read(&mut kernel, conn, into),
            End::Viewer(viewer) => kernel.read_viewer(viewer, into),
        }
    }

    fn send(&mut self, stream: &SimStream, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.call("send")?;
        match stream.end {
            // No VMM is asked, and nobody types.
            End::Vmm(_) => Err(errno(libc::EPIPE)),
            End::Viewer(viewer) => kernel.send_viewer(viewer, bytes),
        }
    }

    fn shutdown_write(&mut self, stream: &SimStream) -> io::Result<()> {
        self.call("shutdown")?.shut_down_client(stream.conn())
    }

    fn peer(&mut self, stream: &SimStream) -> io::Result<PeerId> {
        let kernel = self.call("getsockopt")?;
        let listener = kernel.conns[stream.conn()].listener;
        let listener = kernel.listeners.get(listener).ok_or_else(|| errno(libc::ENOTCONN))?;
        Ok(PeerId { pid: Some(listener.pid), uid: listener.uid })
    }

    fn unlink_socket(&mut self, path: &Path) -> io::Result<()> {
        let mut kernel = self.call("unlink")?;
        let done = kernel.disk.unlink_socket(path);
        kernel.hear_of_names();
        done
    }

    fn messages_that_fill(&mut self) -> io::Result<usize> {
        Ok(278)
    }

    fn place(&mut self, path: &Path) -> (Option<FileId>, OsString) {
        let kernel = self.kernel.borrow();
        let (dir, name) = kernel.disk.place(path);
        (dir.map(|inode| FileId { device: crate::disk::DEVICE, inode }), name)
    }
}

/// One read(2).
fn read(kernel: &mut Kernel, conn: usize, into: &mut [u8]) -> io::Result<usize> {
    if kernel.strikes(Fault::NoMemory) {
        return Err(errno(libc::ENOMEM));
    }
    let read = kernel.read_conn(conn, into)?;
    let vm = kernel.conns[conn].vm;
    if let Some(vmm) = kernel.vmms.get_mut(vm) {
        vmm.was_read(read);
    }
    kernel.note(|| format!("vm {vm}: read {read} from connection {conn}"));
    Ok(read)
}

fn id_of(inode: u64, born: Duration) -> SocketId {
    SocketId { file: FileId { device: crate::disk::DEVICE, inode }, born }
}

impl Remains for SimEnv {
    fn open_remains(&mut self, left: Option<i32>) -> io::Result<(i32, bool, Found)> {
        let mut kernel = self.call("memfd_create")?;
        let (number, id, is_new, found) = kernel.open_memory(left)?;
        drop(kernel);
        self.files.keep(id, Number::new(&self.kernel, number));
        Ok((number, is_new, found))
    }

    fn take_stream(&mut self, number: Descriptor, token: u64) -> io::Result<SimStream> {
        let mut kernel = self.call("epoll_ctl")?;
        let Object::Stream(conn) = kernel.object(number)? else {
            return Err(errno(libc::ENOTSOCK));
        };
        kernel.watch(number, token);
        kernel.conns[conn].watch = Some((number, token));
        kernel.announce(number, token);
        drop(kernel);
        Ok(SimStream { number: Number::new(&self.kernel, number), end: End::Vmm(conn) })
    }

    fn peer_path(&self, number: Descriptor) -> io::Result<PathBuf> {
        let kernel = self.call("getpeername")?;
        let Object::Stream(conn) = kernel.object(number)? else {
            return Err(errno(libc::ENOTSOCK));
        };
        let vm = kernel.conns[conn].vm;
        let vmm = kernel.vmms.get(vm).ok_or_else(|| errno(libc::ENOTCONN))?;
        Ok(vmm.serial.clone())
    }

    fn leave_streams(&mut self, numbers: Vec<Descriptor>, limit: Duration) -> u64 {
        let mut bytes = 0;
        let Ok(mut kernel) = self.call("shutdown") else { return 0 };
        let until = kernel.now + limit;
        let mut left: Vec<(i32, usize)> = Vec::new();
        for number in numbers {
            match kernel.object(number) {
                Ok(Object::Stream(conn)) if kernel.conns[conn].vm != usize::MAX => {
                    let _ = kernel.shut_down_client(conn);
                    left.push((number, conn));
                }
                Ok(_) => kernel.close(number),
                Err(_) => kernel.break_rule(format!("{number} is left, and is none")),
            }
        }
        while !left.is_empty() && kernel.now < until {
            left.retain(|(number, conn)| {
                let mut into = [0; 16 * 1024];
                match read(&mut kernel, *conn, &mut into) {
                    Ok(0) => {
                        kernel.close(*number);
                        false
                    }
                    Ok(n) => {
                        bytes += n as u64;
                        true
                    }
                    Err(error) if error.raw_os_error() != Some(libc::ECONNRESET) => true,
                    Err(_) => {
                        kernel.close(*number);
                        false
                    }
                }
            });
            kernel.pass(Duration::from_millis(1));
        }
        for (number, _) in left {
            kernel.close(number);
        }
        bytes
    }

    fn read_for_successor(
        &mut self,
        stream: &SimStream,
        berth: u32,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let mut kernel = self.call("recvmmsg")?;
        let n = read(&mut kernel, stream.conn(), into)?;
        if n > 0
            && let Some(memory) = self.files.memory(&mut kernel)
        {
            // The kernel itself stores the length: no kill comes in between.
            memory.received(berth, &into[..n]);
        }
        Ok(n)
    }

    fn landed(&mut self) {
        self.files.remember(|memory| memory.landed());
    }

    fn resume_flight(&mut self, done: usize) {
        self.files.remember(|memory| memory.resume(done));
    }

    fn note_berth(&mut self, berth: u32, note: Option<&BerthNote>) {
        self.files.remember(|memory| memory.note_berth(berth, note));
    }

    fn note_held(&mut self, at: usize, id: &str, bytes: u64) {
        self.files.remember(|memory| memory.note_held(at, id, bytes));
    }
}

impl Notify for SimEnv {
    fn open_notify(&mut self, _: &OsStr) -> io::Result<()> {
        let kernel = self.call("connect")?;
        if kernel.store.is_there { Ok(()) } else { Err(errno(libc::ECONNREFUSED)) }
    }

    fn notify(&mut self, message: &[u8], number: Option<Descriptor>) -> io::Result<()> {
        self.call("sendmsg")?.notify(message, number)
    }
}

impl Listens for SimEnv {
    fn listen(&mut self, _: &Path, _: u32, _: Option<u32>) -> io::Result<SocketId> {
        let number = self.call("listen")?.listen_for_viewers()?;
        self.listener = Some(Number::new(&self.kernel, number));
        Ok(id_of(0, Duration::ZERO))
    }

    fn accept(&mut self, token: u64) -> io::Result<(SimStream, Caller)> {
        let (number, viewer) = self.call("accept")?.accept(token)?;
        let number = Number::new(&self.kernel, number);
        let caller = Caller { pid: None, uid: OWN_UID, gids: Vec::new() };
        Ok((SimStream { number, end: End::Viewer(viewer) }, caller))
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn listener_number(&self) -> Option<Descriptor> {
        self.listener.as_ref().map(|listener| listener.number)
    }

    fn take_listener(&mut self, number: Descriptor, _: &Path, _: SocketId) -> io::Result<()> {
        let mut kernel = self.call("epoll_ctl")?;
        if kernel.object(number)? != Object::Listener {
            return Err(errno(libc::ENOTSOCK));
        }
        kernel.watch_listener(number);
        drop(kernel);
        self.listener = Some(Number::new(&self.kernel, number));
        Ok(())
    }
}

impl ListensTcp for SimEnv {}

impl Watches for SimEnv {
    fn watch_dir(&mut self, path: &Path) -> io::Result<WatchId> {
        self.call("inotify_add_watch")?.watch_dir(path)
    }

    fn unwatch_dir(&mut self, dir: WatchId) {
        if let Ok(mut kernel) = self.call("inotify_rm_watch") {
            kernel.unwatch_dir(dir);
        }
    }

    fn take_changes(&mut self, into: &mut Vec<Change>) -> bool {
        self.call("read").is_ok_and(|mut kernel| kernel.take_changes(into))
    }

    fn entries(&mut self, path: &Path) -> io::Result<Vec<(OsString, bool)>> {
        self.call("getdents")?.disk.list(path)
    }

    fn is_dir(&mut self, path: &Path, through_link: bool) -> bool {
        self.call("stat").is_ok_and(|kernel| kernel.disk.is_dir(path, through_link))
    }
}

impl Processes for SimEnv {
    type Process = SimProcess;

    fn watch(&mut self, _: &SimStream, pid: u32, token: u64) -> io::Result<SimProcess> {
        let kernel = self.call("pidfd_open")?;
        if !kernel.lives(pid) {
            return Err(errno(libc::ESRCH)).map_err(|_| io::ErrorKind::NotFound.into());
        }
        drop(kernel);
        self.own_process(pid, token)
    }

    fn spawn(&mut self, _: &[OsString], _: u64) -> io::Result<SimProcess> {
        self.call("fork")?;
        // No VMM is launched here.
        Err(errno(libc::ENOENT))
    }

    fn pid(&self, process: &SimProcess) -> u32 {
        process.pid
    }

    fn is_of(&self, process: &SimProcess, pid: u32) -> bool {
        process.pid == pid
    }

    fn thread_names(&mut self, pid: u32) -> io::Result<Vec<String>> {
        let kernel = self.call("getdents")?;
        if !kernel.lives(pid) {
            return Err(errno(libc::ENOENT));
        }
        let mut names = vec!["vmm".to_owned(), "vcpu0".to_owned()];
        if kernel.vmms.iter().any(|vmm| vmm.pid == Some(pid) && vmm.has_thread()) {
            names.push("serial-manager".to_owned());
        }
        Ok(names)
    }

    fn signal(&mut self, process: &SimProcess, signal: Signal) -> io::Result<()> {
        let mut kernel = self.call("pidfd_send_signal")?;
        let number = match signal {
            Signal::Kill => 9,
            _ => 15,
        };
        kernel.exit_process(process.pid, Exit::Signal(number));
        Ok(())
    }

    fn exit(&mut self, process: &mut SimProcess) -> Option<Exit> {
        let kernel = self.call("waitid").ok()?;
        let known = kernel.processes.get(&process.pid)?;
        let exit = known.exit?;
        Some(if known.is_child { exit } else { Exit::Unknown })
    }
}

impl Env for SimEnv {
    type Files = SimFiles;
    type Waker = SimWaker;

    fn files(&mut self) -> &mut SimFiles {
        &mut self.files
    }

    fn now(&self) -> Moment {
        let kernel = self.kernel.borrow();
        if kernel.is_dead {
            // What is dropped of a process that is gone waits for nothing.
            self.after_death.set(self.after_death.get() + Duration::from_secs(1));
        }
        kernel.now.saturating_sub(self.origin) + self.after_death.get()
    }

    fn origin(&self) -> Duration {
        self.origin
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Announced>) -> io::Result<()> {
        let mut kernel = self.call("epoll_wait")?;
        for vmm in &mut kernel.vmms {
            vmm.read_since_wait = 0;
        }
        kernel.wait(timeout, ready, seriald::limits::WAIT_BATCH);
        Ok(())
    }

    fn sleep_until(&mut self, moment: Moment) {
        let until = self.origin + moment;
        if let Ok(mut kernel) = self.call("clock_nanosleep") {
            kernel.pass_until(until);
        }
    }

    fn waker(&self) -> SimWaker {
        SimWaker(self.kernel.borrow().woken.clone())
    }

    fn next_signal(&mut self) -> Option<ProcessSignal> {
        None
    }

    fn spawn_filter(
        &mut self,
        _: &[String],
        input: &SimFile,
        output: &SimFile,
        most: u64,
        token: u64,
    ) -> io::Result<SimProcess> {
        self.child(Errand::Filter { input: input.handle, output: output.handle, most }, token)
    }

    fn spawn_sync(&mut self, _: &[&SimFile], _: &SimDir, token: u64) -> io::Result<SimProcess> {
        self.child(Errand::Sync, token)
    }

    fn descriptors_max(&self) -> u64 {
        self.kernel.borrow().descriptors_max as u64
    }

    fn seed(&mut self) -> u64 {
        self.kernel.borrow_mut().dice.next()
    }
}

impl Heritage for SimEnv {
    fn process_number(&self, process: &SimProcess) -> (Descriptor, bool) {
        let kernel = self.kernel.borrow();
        let is_child = kernel.processes.get(&process.pid).is_some_and(|one| one.is_child);
        (process.number.number, is_child)
    }

    fn take_process(
        &mut self,
        number: Descriptor,
        pid: u32,
        _: bool,
        token: u64,
    ) -> io::Result<SimProcess> {
        let mut kernel = self.call("epoll_ctl")?;
        let Object::Process(own) = kernel.object(number)? else {
            return Err(errno(libc::EBADF));
        };
        if own != pid {
            return Err(errno(libc::EBADF));
        }
        kernel.watch(number, token);
        if let Some(process) = kernel.processes.get_mut(&pid) {
            process.watch = Some((number, token));
        }
        drop(kernel);
        Ok(SimProcess { number: Number::new(&self.kernel, number), pid })
    }

    fn spawn_check(&mut self, _: &[OsString], _: &[u8], token: u64) -> io::Result<SimProcess> {
        self.child(Errand::Check, token)
    }

    fn file_number(&self, file: &SimFile) -> Descriptor {
        file.number.number
    }

    fn take_file(&mut self, number: Descriptor) -> io::Result<SimFile> {
        let kernel = self.call("fstat")?;
        let Object::File(handle) = kernel.object(number)? else {
            return Err(errno(libc::EBADF));
        };
        drop(kernel);
        Ok(SimFile { number: Number::new(&self.kernel, number), handle })
    }

    fn dir_number(&self, dir: &SimDir) -> Descriptor {
        dir.number.number
    }

    fn take_dir(&mut self, number: Descriptor) -> io::Result<SimDir> {
        let kernel = self.call("fstat")?;
        let Object::Dir(handle) = kernel.object(number)? else {
            return Err(errno(libc::EBADF));
        };
        drop(kernel);
        Ok(SimDir { number: Number::new(&self.kernel, number), handle })
    }
}
