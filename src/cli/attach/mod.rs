//! `seriald attach`: a VM's console on this terminal.
//!
//! Owns what a terminal is told at the beginning and at the end.
//! **Invariant:** a session that types shows the guest's bytes as they are, for that is what a
//! terminal session is; one that only watches on a terminal shows text, unless --raw asks for more.
//! The terminal is given back as it was, and in a state in which a guest has left nothing behind.

mod keys;
mod running;
mod session;

use crate::cli::Failure;
use crate::cli::asking::Socket;
use crate::cli::asking::each::check_ids;
use crate::cli::terminal::is_shown;
use running::Running;
use session::{Mode, Session, Terms};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Type into a VM's console, and see what it prints.
///
/// One types at a time, any number watch. What the guest prints goes to this terminal as it is, as
/// with any terminal session: attach only to guests that you would log into. Its last output comes
/// first (--history). At the beginning of a line ~? says what can be typed:
///   ~.   leave             ~f   type in place of another writer, or beyond a full input
///   ~^Z  stop the program  ~~   send a ~
///
/// --spy only watches. On a terminal it shows text alone, as `seriald logs` does, unless --raw is
/// given; Ctrl-C leaves, too.
///
/// If seriald is upgraded meanwhile it is attached anew, where it was. At the end, SIGTERM and a
/// hang-up included, the terminal is as it was before. After a SIGKILL type: stty sane, or reset.
///
/// Where standard input is no terminal all of it goes to the guest, without escapes; at its end the
/// output is shown on, for --linger seconds if that is given. Output to a pipe or a file goes as it
/// is, and what happens to the console is told on stderr.
///
/// Exit codes: 0 left, or the VM was let go of; 1 refused (another types: stderr says who), or cut
/// off; 128 and a signal's number.
///
/// Examples:
///   seriald attach web-1
///   seriald attach web-1 --spy --history 65536
///   echo uptime | seriald attach web-1 --linger 2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The VM's name.
    #[arg(value_name = "ID")]
    id: String,
    /// Only watch.
    #[arg(long)]
    spy: bool,
    /// Type in place of whoever does: he goes on watching.
    #[arg(long, conflicts_with = "spy")]
    force: bool,
    /// The key that begins an escape, as ^] with the control key, or none.
    #[arg(long, value_name = "KEY", default_value = "~", value_parser = escape)]
    escape: Escape,
    /// So many bytes of the last output come first.
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    history: u64,
    /// With --spy on a terminal: leave escape sequences in.
    #[arg(long, requires = "spy")]
    raw: bool,
    /// How long to go on after the end of an input that is no terminal, in seconds.
    #[arg(long, value_name = "S")]
    linger: Option<u64>,
    #[command(flatten)]
    socket: Socket,
}

/// A key, or none.
#[derive(Clone, Copy, Debug)]
struct Escape(Option<u8>);

fn escape(text: &str) -> Result<Escape, String> {
    keys::parse(text).map(Escape)
}

/// Runs the subcommand.
pub fn attach(args: &Args) -> Result<(), Failure> {
    check_ids(std::slice::from_ref(&args.id))?;
    let mode = match (args.spy, args.force) {
        (true, _) => Mode::Spy,
        (_, true) => Mode::Force,
        _ => Mode::Attach,
    };
    let (is_typed, is_shown) = (io::stdin().is_terminal(), is_shown());
    let session = Session::new(Terms {
        id: args.id.clone(),
        mode,
        escape: args.escape.0.filter(|_| is_typed),
        is_shown,
        clean: is_shown && args.spy && !args.raw,
    });
    let mut running = Running::begin(&args.socket, &args.id, args.history, session)?;
    if is_typed {
        running.take_terminal()?;
    }
    let linger = args.linger.map(Duration::from_secs);
    running.run(is_typed, linger)
}

/// The VM's name becomes the window's, until the end.
fn greeting(id: &str) -> String {
    format!("\x1b[22;2t\x1b]2;seriald: {id}\x1b\\")
}

/// What a guest may have left behind is undone: another screen, margins and modes (DECSTR), the
/// mouse, pasting in brackets, a hidden cursor, keys that say something else, another character
/// set, colours; and the window has its own name again.
const FAREWELL: &str = concat!(
    "\x1b[?1047l\x1b[!p\x1b[?9;1000;1002;1003;1004;1005;1006;1015;2004l\x1b[?1l\x1b>\x1b[?7h",
    "\x1b[?25h\x1b[4l\x1b(B\x0f\x1b[0m\x1b[23;2t"
);
