//! Links at the serial and the API path: another's console is not collected, nor his API asked.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use seriald::ch::api::Call;
use seriald::{CloseReason, EventKind, VmSpec};

use crate::scene::{MODES, Scene};
use crate::support::embedded::{Loop, Peer};
use crate::support::vmm::Vmm;

/// How a path is made to lead to another's socket, and what is said of it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Symlink,
    HardLink,
    DirectoryLink,
}

const WAYS: [(Way, &str); 3] = [
    (Way::Symlink, "no socket"),
    (Way::HardLink, "more than one hard link"),
    (Way::DirectoryLink, "its directory is a symbolic link"),
];

impl Way {
    /// A path of the tenant's that leads to another's socket.
    fn lay(self, scene: &Scene, socket: &Path) -> PathBuf {
        let at = scene.home.join("linked.sock");
        let (from, to) = (socket.display().to_string(), at.display().to_string());
        match self {
            Way::Symlink => scene.as_tenant(&["ln", "-s", &from, &to]),
            Way::HardLink => fs::hard_link(socket, &at).expect("a hard link"),
            Way::DirectoryLink => {
                let dir = socket.parent().expect("a directory").display().to_string();
                scene.as_tenant(&["ln", "-s", &dir, "linked"]);
                return scene.home.join("linked").join(socket.file_name().expect("a name"));
            }
        }
        at
    }
}

/// Another's directory for sockets, which the tenant can't touch.
fn sockets(scene: &Scene) -> PathBuf {
    let dir = scene.top.path().join("sockets");
    fs::create_dir(&dir).expect("a directory");
    dir
}

fn nobody_came(peer: &Peer) -> bool {
    peer.listener.accept().is_err()
}

#[test]
fn a_link_at_the_serial_path_leads_to_no_console() {
    for (way, why) in WAYS {
        let Some(scene) = Scene::set() else { return };
        let anothers = Peer::at(&sockets(&scene).join("serial.sock"));
        let mut spec = scene.spec(MODES[0]);
        spec.serial = way.lay(&scene, &anothers.path);
        let (mut turns, serial) = (Loop::new(), spec.serial.clone());
        let vm = turns.reactor.adopt(spec).expect("adopted");
        turns.turn_until("some dials", |turns| turns.reactor.stats().dial_failures > 5);
        let status = turns.reactor.status(vm).expect("in charge");
        assert_eq!((status.state, status.connects), ("dialing", 0), "{way:?}");
        let said = status.dial_failure.expect("a reason");
        assert!(said.contains(why), "{way:?}: {said}");
        assert!(nobody_came(&anothers), "{way:?}: another's console was connected to");
        // Once his own VMM binds the path, it is served.
        scene.as_tenant(&["rm", "-rf", "linked", "linked.sock"]);
        fs::create_dir_all(serial.parent().expect("a directory")).expect("a directory");
        let own = Peer::at(&serial);
        own.accept(&mut turns);
        turns.turn_until_state(vm, "streaming");
    }
}

#[test]
fn a_link_at_the_api_path_leads_to_no_api() {
    for (way, _) in WAYS {
        let Some(scene) = Scene::set() else { return };
        let anothers = Peer::at(&sockets(&scene).join("ch.sock"));
        let mut spec = scene.spec(MODES[0]);
        spec.api = Some(way.lay(&scene, &anothers.path));
        let mut turns = Loop::new();
        let vm = turns.reactor.adopt(spec).expect("adopted");
        assert!(turns.reactor.call(vm, Call::Info));
        let error = turns.turn_until_answered(vm, "vm.info").expect_err("it is refused");
        assert!(error.contains("cannot connect to"), "{way:?}: {error}");
        assert!(nobody_came(&anothers), "{way:?}: another's API was connected to");
    }
}

#[test]
fn a_launch_over_a_link_fails_and_removes_nothing_of_anothers() {
    for (way, why) in WAYS {
        for of in ["serial.sock", "ch.sock"] {
            let Some(scene) = Scene::set() else { return };
            let dead = sockets(&scene).join(of);
            drop(UnixListener::bind(&dead).expect("a socket"));
            let mut launch = Vmm::sim("v53").launch("a", &scene.home, "lines=1");
            let path = way.lay(&scene, &dead);
            let place = |vm: &mut VmSpec| match of {
                "ch.sock" => vm.api = Some(path.clone()),
                _ => vm.serial = path.clone(),
            };
            place(&mut launch.vm);
            let mut turns = Loop::new();
            let vm = turns.reactor.launch(launch).expect("it begins");
            let error = turns.turn_until_closed(vm);
            assert!(error.contains(why), "{way:?} at {of}: {error}");
            let failed =
                |kind: &EventKind| matches!(kind, EventKind::Closed(CloseReason::LaunchFailed(_)));
            assert_eq!(turns.count(vm, failed), 1, "{way:?} at {of}");
            let meta = fs::symlink_metadata(&dead).expect("another's socket is gone");
            assert!(meta.file_type().is_socket(), "{way:?} at {of}");
        }
    }
}
