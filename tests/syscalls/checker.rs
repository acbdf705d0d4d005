//! A client that comes once the collector has left: is the console served?
//!
//! **Invariant:** it leaves in order itself, and has read all that it was given.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::support::wait::{PATIENCE, wait_for};

/// What a VM's console gives to a client. A serial thread that a close has ended gives nothing.
pub fn read_console(serial: &Path) -> Vec<u8> {
    let mut given = Vec::new();
    wait_for(PATIENCE, "a console that is served", || {
        // A guest that reboots has no path for a moment, and one that has ended gives no byte.
        let mut console = UnixStream::connect(serial).ok()?;
        console.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        let mut piece = [0; 4096];
        let count = match console.read(&mut piece) {
            // The guest was reset in between: its listener went before it had accepted this.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            read => read.expect("a console that is served"),
        };
        given.extend_from_slice(&piece[..count]);
        console.shutdown(Shutdown::Write).ok();
        console.read_to_end(&mut given).expect("its end");
        (count > 0).then_some(())
    });
    given
}
