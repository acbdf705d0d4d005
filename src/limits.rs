//! Every constant of the collector, with its unit and its reason.
//!
//! Owns nothing.
//! **Invariant:** a bound that the code relies on stands here, and the relations between bounds are
//! checked when the crate is compiled.

use std::time::Duration;

/// The one scratch buffer that all reads share, and what one VM may take in one turn, in bytes.
/// CH's socket holds 278 one-byte messages, so a VM that prints byte by byte is emptied by one
/// read; a bulk sender costs the others 64 KiB at most.
pub const TURN_BUDGET: usize = 64 * 1024;

/// And in how many reads at most: what a VMM that sends byte by byte, as quick as we read, may take
/// would else be as many reads and writes as bytes, 0.2 s of them.
pub const READS_A_TURN: u32 = 8;

/// How long one turn goes on before each of its phases leaves what it has yet to do to the next
/// turn, which follows at once. A full socket of one-byte messages takes 0.1 ms to be read, a
/// rotation 0.2 ms: without an end, a turn in which 1000 VMs have something takes 0.1 s and more,
/// and no deadline is met and nobody answered meanwhile.
pub const TURN_TIME: Duration = Duration::from_millis(2);
/// What each phase has all the same where those before it have used that up, so that none starves
/// another: some ten dials.
pub const PHASE_TIME: Duration = Duration::from_micros(500);
/// What may be done between two turns while VMs are adopted by the thousand: some ten of them.
pub const BETWEEN_TURNS: Duration = Duration::from_millis(1);
/// VMs that are read between two looks at the clock: some 0.5 ms.
pub const LOOK_AT_CLOCK_EVERY: u32 = 4;

/// How long the loop waits after a read that failed, mostly as the kernel had no memory for it.
pub const MEMORY_PAUSE: Duration = Duration::from_millis(1);

/// How long it pauses between looks at all consoles, when its wait has failed and it ends.
pub const UNHEARD_PAUSE: Duration = Duration::from_millis(1);

/// How many events one wait takes from the kernel; the rest comes with the next turn.
pub const WAIT_BATCH: usize = 1024;

/// The first and the longest wait between two dials. A rebooting CH is back 0.4 to 1.8 ms after
/// the EOF (measured, v52 and v53), so the first retry is as short.
pub const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(1);
/// See [`DIAL_BACKOFF_MIN`].
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// For so long after the path of a served console has gone, dials follow each other at the shortest
/// wait: what a new boot prints before its client is there is dropped by CH v52, and a reboot is
/// back within 12 ms at most (measured).
pub const REBOOT_AWAITED: Duration = Duration::from_millis(20);

/// A stream that lived this long was served: whatever backed off before begins anew.
pub const SERVED_AFTER: Duration = Duration::from_secs(1);

/// The first wait after another client displaced us. Two readers that both come back at once threw
/// each other out 13000 times in 2 s (measured).
pub const DISPLACED_BACKOFF_MIN: Duration = Duration::from_millis(20);

/// The longest such wait. Longer than a dial's: whoever has the console reads it meanwhile.
pub const DISPLACED_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A path that stays away this long while its VMM lives was shut down: a reboot binds it again
/// within a few milliseconds (measured: 0.4 to 12 ms), a slow one is told as a shutdown and a boot.
pub const SHUT_DOWN_AFTER: Duration = Duration::from_secs(1);

/// A connection that has brought nothing for this long is looked into, once: has the VMM a thread
/// that serves it? Silence alone is no sign.
pub const UNHEARD_AFTER: Duration = Duration::from_secs(5);
/// The second look, after a first that found no such thread: one that ends with its VM is
/// followed by the EOF within milliseconds.
pub const UNSERVED_CONFIRMED_AFTER: Duration = Duration::from_millis(200);

/// How long a release waits for the EOF that answers shutdown(SHUT_WR). A dead serial thread never
/// sends it; a living one may sleep 500 ms before it does, after another client's plain close
/// (measured, v52 and v53). For consoles that a predecessor left, and nobody adopts, the loop
/// stands still meanwhile.
pub const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// How soon the service manager is told a new status after the last one.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Silence after a read that found the socket full, before the rest is fetched by a new
/// connection: CH v53 flushes its ring only at the next output byte or at an accept (measured).
pub const TAIL_SILENCE: Duration = Duration::from_millis(20);
/// The same while such connections go on bringing bytes: a ring of 1 MiB takes thousands of them.
pub const TAIL_SILENCE_IN_SERIES: Duration = Duration::from_millis(2);
/// The longest such silence, for a peer whose full socket hides nothing (v52, a bulk sender).
pub const TAIL_SILENCE_MAX: Duration = Duration::from_secs(60);

/// While a ring is emptied: from a read that found the socket full to the next new connection. CH
/// writes at an accept and never for room, so there is nothing to wait for but its thread.
pub const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// How long that may take before the VM is ended all the same: a ring of 1 MiB takes some 3800
/// connections.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// The same where the guest could not be paused, and may print for ever.
pub const DRAIN_DEADLINE_UNPAUSED: Duration = Duration::from_secs(1);

/// The deadline of a question to CH's API that only reads (ping, info).
pub const API_QUERY_DEADLINE: Duration = Duration::from_secs(10);
/// How long CH may take to do something, unless told otherwise: a snapshot writes the guest's whole
/// memory, 256 GiB of it in ten minutes.
pub const API_OPERATION_DEADLINE: Duration = Duration::from_secs(600);
/// Most seconds that a request may ask for: a day.
pub const API_TIMEOUT_S_MAX: u64 = 86_400;
/// API questions that may wait for their turn behind the one under way, per VM.
pub const API_QUEUE_MAX: usize = 8;

/// How long an ended VMM may take from SIGTERM to its exit before SIGKILL.
pub const VMM_TERM_DEADLINE: Duration = Duration::from_secs(5);

/// How long a successor may take to answer one question about itself before an upgrade.
pub const CHECK_DEADLINE: Duration = Duration::from_secs(10);
/// How long an upgrade waits for launches and API operations that are under way.
pub const SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// Most streams that a descriptor store keeps for us: their names, `s0` to `s19999`, stay below the
/// 128 KiB at which one string of the environment ends (MAX_ARG_STRLEN, execve(2)).
pub const BERTHS_MAX: usize = 20_000;
/// Most descriptors that a supervisor keeps: every stream's, and the memory beside them.
pub const STORED_MAX: usize = BERTHS_MAX + 16;
/// Descriptors for which there is room in their table from the start: 8 bytes each.
pub const DESCRIPTORS_AT_ONCE: u64 = 16 * 1024;
/// Longest message of a service to its manager that is read, in bytes: ours are far shorter.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Most VMs of which a crash leaves a note how many bytes they held.
pub const HELD_NOTES_MAX: usize = 4096;

/// State changes that wait to be taken by the embedder; past that the oldest are dropped, counted.
pub const EVENTS_MAX: usize = 65_536;

/// Entries for which an empty queue keeps its memory: what more it took for a burst is given back.
pub const QUEUE_KEPT: usize = 64;

/// What one turn reads of the changes in watched directories, in bytes: at most 512 of them, as the
/// kernel takes 32 for a name of up to 15.
pub const CHANGES_CHUNK: usize = 16 * 1024;
/// Directories found that wait to be taken by the embedder; past that they are found again later.
pub const DIRECTORIES_MAX: usize = 65_536;
/// How often a pattern is looked at anew where a directory can't be watched.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(2);

/// Longest VM id in bytes.
pub const ID_MAX: usize = 64;

/// Longest path that CH can bind, in bytes: `sun_path` has 108, the last one is a NUL (unix(7)). CH
/// answers a longer one with a 500, "path must be shorter than SUN_LEN" (measured, v52 and v53).
pub const SUN_PATH_MAX: usize = 107;

/// How far before `max_bytes` a rotation may cut, to cut at a line end.
pub const LINE_SLACK: u64 = 4096;

/// What a rotation copies, or shrinks, in one turn, in bytes: unlinking 64 MiB takes 18 ms
/// (measured on ext4), this well below one.
pub const ROTATION_SLICE: u64 = 256 * 1024;

/// What one VM may hold in memory while its log can't be written, unless told otherwise, in bytes.
pub const HOLD_BYTES: usize = 64 * 1024;
/// The most that can be asked for.
pub const HOLD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What all VMs together may hold, unless told otherwise: a thousand in full.
pub const HOLD_BYTES_TOTAL: usize = 64 * 1024 * 1024;
/// Losses that lie between held bytes; past that nothing more is held until the first was reached.
pub const HELD_GAPS_MAX: usize = 16;

/// Longest events file in bytes, before it is thinned out: some 500 events.
pub const EVENTS_BYTES: u64 = 64 * 1024;
/// What it may have more for each backup that is kept: the record of its rotation, its command's,
/// and of a loss.
pub const EVENTS_BYTES_PER_BACKUP: u64 = 512;
/// Events that wait in memory while their file can't be written, in bytes; past that those are
/// dropped that tell no loss and no rotation.
pub const EVENTS_PENDING_MAX: usize = 8 * 1024;
/// While bytes flow, the time is noted this often at most, and once for so many bytes: a VM that
/// prints a line a second would else have as much written about it as by it.
pub const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// See [`MARK_INTERVAL`].
pub const MARK_BYTES: u64 = 1024;
/// Before a byte that comes this long after the last mark, the time is noted in any case.
pub const MARK_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Highest offset, size or number of a generation that is believed, wherever it is read: sums of a
/// few then are numbers too. A console of 10 GB/s gets there in 14 years.
pub const OFFSET_MAX: u64 = 1 << 62;
/// Longest time that a limit may name: a hundred years. A moment that far ahead is one still.
pub const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What one read of a log's history brings at most, in bytes.
pub const HISTORY_READ_MAX: u64 = 1024 * 1024;
/// And in how many parts.
pub const HISTORY_PARTS_MAX: usize = 1024;
/// Longest events file that is read for it, in bytes: ours is far shorter.
pub const HISTORY_EVENTS_MAX: u64 = 64 * 1024 * 1024;
/// How often it is begun anew because a rotation came in between.
pub const HISTORY_TRIES: u32 = 16;
/// So many numbers without a backup in a row end the search for more. A shift that is under way, or
/// was interrupted, leaves one.
pub const HISTORY_HOLES_MAX: u32 = 8;

/// Smallest limit of a rate, in bytes a second.
pub const RATE_BYTES_MIN: u64 = 128;
/// Largest limit of a rate, in bytes a second.
pub const RATE_BYTES_MAX: u64 = 1 << 40;

/// Boots whose beginnings are kept.
pub const BOOTS_KEPT: usize = 8;
/// Longest beginning that can be asked for, in bytes: all of them are written anew at each boot.
pub const BOOT_HEAD_MAX: usize = 64 * 1024;

/// Most commands after rotations at once.
pub const AFTER_ROTATE_PARALLEL_MAX: usize = 256;
/// How nice they are (nice(2)).
pub const AFTER_ROTATE_NICE: i32 = 10;

/// Failures of a log's command after which it is left alone until the next rotation.
pub const AFTER_ROTATE_ATTEMPTS: u32 = 4;
/// How long a command may take: so long, and as long as this rate takes for the backup.
pub const AFTER_ROTATE_DEADLINE: Duration = Duration::from_secs(600);
/// See [`AFTER_ROTATE_DEADLINE`], in bytes a second.
pub const AFTER_ROTATE_RATE_MIN: u64 = 256 * 1024;
/// What a command may write beyond twice what it reads, in bytes: what packs makes it less.
pub const AFTER_ROTATE_OUTPUT_SLACK: u64 = 1024 * 1024;
/// How long no child is started after one could not be, for want of descriptors or memory; and how
/// long a message to the service manager waits at most that could not be sent.
pub const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// First and longest wait before a write or a rotation that failed is tried again.
pub const LOG_RETRY_MIN: Duration = Duration::from_millis(100);
/// See [`LOG_RETRY_MIN`].
pub const LOG_RETRY_MAX: Duration = Duration::from_secs(5);

/// Longest head of a request to our own API, in bytes: curl's are below 200.
pub const CONTROL_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most header lines in it.
pub const CONTROL_HEADERS_MAX: usize = 64;
/// Longest body of a request to our own API, in bytes: a VM with every key takes some 2 KiB.
pub const CONTROL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Most clients of our own API at once: a hundred who look at consoles, and as many who follow
/// logs. Each holds a request (72 KiB at most), a piece of input and one of output (together some
/// 100 KiB; 60 KiB more while it is sent the description of the API), and while it reads a log back
/// what its events file says (some 100 KiB of it); each console that is looked at the bytes below.
/// So 256 of the worst hold 150 MiB, half of it of consoles, and those who only ask 25.
pub const CONTROL_CLIENTS_MAX: usize = 256;
/// How many of these places are left for those who may do everything, so that no crowd of others
/// keeps the operator out.
pub const CONTROL_CLIENTS_ADMIN: usize = 16;
/// Where all places are taken, a client that has stopped for so long in the middle of a request or
/// of an answer gives way to another; one that asks for nothing does at once. Whoever is at work
/// says and takes something within milliseconds, and a crowd that takes every place is gone as
/// soon.
pub const CONTROL_STALL: Duration = Duration::from_millis(100);
/// Clients that are let in, or sent away, in one turn: some 10 us each. A crowd that comes again
/// and again would else leave no time for those who are in.
pub const CONTROL_ADMISSIONS_A_TURN: usize = 16;
/// What is read from one at once, and about what a piece of a long answer has, in bytes.
pub const CONTROL_PIECE_BYTES: usize = 16 * 1024;
/// VMs in a piece of a list: some 20 KiB, made in 0.1 ms.
pub const CONTROL_VMS_A_PIECE: usize = 32;
/// Most clients by TCP, beside those: a pair of scrapers, and whoever looks with curl.
pub const METRICS_CLIENTS_MAX: usize = 16;
/// VMs that are looked at in a step of a page of counters: some 20 ns each.
pub const METRICS_LOOKS_A_PIECE: usize = 2048;
/// Samples of VMs in a piece of such a page: some 15 KiB, made in 50 us.
pub const METRICS_SAMPLES_A_PIECE: usize = 256;
/// How long a client may stay without a request.
pub const CONTROL_IDLE_DEADLINE: Duration = Duration::from_secs(60);
/// How long a request may take from its first byte to its last.
pub const CONTROL_REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take no byte of its answer.
pub const CONTROL_ROOM_DEADLINE: Duration = Duration::from_secs(10);
/// How long it waits at its end for clients to take what VMs have printed last.
pub const CONTROL_FAREWELL: Duration = Duration::from_secs(1);

/// State changes that are kept for those who come back, in bytes: some 7,000 of them.
pub const FEED_BYTES: usize = 1024 * 1024;
/// Longest reason in one, in bytes; CH's own words are as long at most.
pub const FEED_WHY_BYTES: usize = 1024;
/// What one step of a follower looks at, most of it of other VMs perhaps.
pub const FEED_LINES_A_PIECE: usize = 256;

/// The newest bytes that are kept of a console that somebody watches, unless told otherwise: who is
/// further behind what was printed is too slow. A MiB a second fills it in 0.25 s.
pub const VIEWER_BUFFER_BYTES: usize = 256 * 1024;
/// The least that can be asked for: a turn's read.
pub const VIEWER_BUFFER_BYTES_MIN: usize = TURN_BUDGET;
/// The most that can be asked for.
pub const VIEWER_BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a writer may type nothing, unless told otherwise, before he is a spy.
pub const CONSOLE_IDLE: Duration = Duration::from_secs(3600);
/// Notices that wait for a client that takes nothing, in bytes; past that the newest are dropped.
pub const NOTICES_BYTES_MAX: usize = 4 * 1024;
/// What is read of a writer's input at once, and sent to a VMM in one message.
pub const INPUT_PIECE_BYTES: usize = 4 * 1024;
/// CH v53 dies of more than this that its guest does not read (measured).
pub const INPUT_DEADLY: u64 = 256 * 1024;
/// How far input may be ahead of what the guest has read for certain, beyond [`INPUT_LOOSE_MAX`].
pub const INPUT_AHEAD_MAX: u64 = 128 * 1024;
/// The same with `mode=force`.
pub const INPUT_AHEAD_FORCED_MAX: u64 = 176 * 1024;
/// What of that no paste may take: it is left to who then types a line by hand, as its echo clears
/// all.
pub const INPUT_BY_HAND: u64 = 8 * 1024;
/// Longest input that is by hand, in bytes: a key, or a short line.
pub const INPUT_BY_HAND_PIECE: usize = 64;
/// Bytes that are taken for read as others were printed, where no echo proves it: so whoever types
/// into an editor is not stopped.
pub const INPUT_LOOSE_MAX: u64 = 64 * 1024;
/// The most that may be sent and not be read for certain.
pub const INPUT_UNPROVED_MAX: u64 = INPUT_AHEAD_FORCED_MAX + INPUT_LOOSE_MAX;
/// What is unproved of a VM at which nobody looks: more than this is kept and looked for in what
/// is printed, of less the number alone.
pub const INPUT_LEFT_BYTES: usize = 4 * 1024;
/// VMs of which more is kept so: some 30 MiB.
pub const INPUT_LEFT_VMS: usize = 64;
/// While a console prints on, those who watch it are told this often: each telling is a send(2)
/// for each of them, and a person sees no difference. The first byte after silence, as an echo is,
/// is told at once.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(5);
/// See [`WATCH_INTERVAL`]: so many bytes are told at once, so that the ring holds what is not.
pub const WATCH_BYTES: u64 = CONTROL_PIECE_BYTES as u64;
/// When input is sent again that a VMM's socket had no room for: of room nothing is told, as
/// consoles are watched for bytes alone.
pub const INPUT_RETRY: Duration = Duration::from_millis(20);

/// Longest events file that is read in a turn, in bytes: ours has 0.6 MiB with a thousand backups.
/// One that somebody else has made longer would stop the loop for as long as it takes.
pub const CONTROL_EVENTS_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// How far back the beginning of the last lines is looked for, in bytes.
pub const CONTROL_TAIL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Parts of a log in a piece of an answer: bytes in a row, or a reason why there are none.
pub const CONTROL_PARTS_A_PIECE: usize = 64;

/// An ongoing failure is logged once in this time.
pub const LOG_QUIET: Duration = Duration::from_secs(30);

/// Permission bits of a directory that is made for a log.
pub const LOG_DIR_MODE: u32 = 0o750;

/// Logs that are overdue when they are opened are rotated within this time, not all at once.
pub const AGE_SPREAD_MAX: Duration = Duration::from_secs(60);

/// Longest file name of a log, in bytes: names beside it are up to 14 bytes longer
/// (`.1000.abcdefgh`), and file systems end at 255.
pub const LOG_NAME_MAX: usize = 240;

/// Smallest `max_bytes`: less would rotate at every line.
pub const MAX_BYTES_MIN: u64 = 1024;

/// Largest `max_bytes`: 1 TiB.
pub const MAX_BYTES_MAX: u64 = 1 << 40;

/// Most backups per VM.
pub const KEEP_MAX: u32 = 1000;

const _: () = assert!(CONTROL_CLIENTS_ADMIN < CONTROL_CLIENTS_MAX);
const _: () = assert!(PHASE_TIME.as_nanos() < TURN_TIME.as_nanos());
const _: () = assert!(BERTHS_MAX < u32::MAX as usize);
const _: () = assert!(INPUT_AHEAD_MAX < INPUT_AHEAD_FORCED_MAX);
// Nor does it get there by what another client may have left in its queue.
const _: () = assert!(INPUT_UNPROVED_MAX + 2 * INPUT_PIECE_BYTES as u64 <= INPUT_DEADLY);
const _: () = assert!(INPUT_AHEAD_MAX + INPUT_BY_HAND < INPUT_AHEAD_FORCED_MAX);
const _: () = assert!(VIEWER_BUFFER_BYTES >= VIEWER_BUFFER_BYTES_MIN);
const _: () = assert!(HOLD_BYTES >= TURN_BUDGET);
const _: () = assert!(MAX_BYTES_MIN <= LINE_SLACK);
// A deadline must lie in the future, and a cut must make progress.
const _: () = assert!(!LOG_RETRY_MIN.is_zero() && MAX_BYTES_MIN >= 16);
const _: () = assert!(DRAIN_PAUSE.as_nanos() < TAIL_SILENCE.as_nanos());
