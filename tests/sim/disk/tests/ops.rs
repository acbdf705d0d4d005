//! What can be done to a disk, drawn at random.

use proptest::prelude::*;
use proptest::sample::select;
use seriald::env::Open;

/// Parts of a path below the base, each an index of [`PARTS`].
pub type Way = Vec<usize>;

/// The names that paths are made of.
pub const PARTS: [&str; 4] = ["a", "b", "c", ".."];

/// What follows an open directory: few names, so that they meet, and some that no file can have.
const NAMES: [&str; 12] = ["a", "b", "c", "a", "b", "c", "a", "b", "", ".", "..", "a/b"];

/// One call; files and directories are indices into those that are open then.
#[derive(Clone, Debug)]
pub enum Op {
    OpenDir {
        path: Way,
        root: Option<Way>,
        mode: u32,
    },
    CloseDir(usize),
    Open(usize, &'static str, Open),
    StatAt(usize, &'static str),
    Names(usize),
    Rename(usize, &'static str, &'static str),
    Unlink(usize, &'static str),
    Close(usize),
    Write(usize, Vec<u8>),
    ReadAt(usize, u64, usize),
    Copy {
        from: usize,
        offset: u64,
        to: usize,
        len: u64,
    },
    Truncate(usize, u64),
    Lock(usize),
    SetMode(usize, u32),
    SetModifiedAs(usize, usize),
    SetGroup(usize, u32),
    SetOwner(usize, u32),
    MakeDirAll(Way),
    MakeDir(Way),
    OpenPath(Way, Open, Vec<u8>),
    WriteFile(Way, Vec<u8>),
    Append(Way, Vec<u8>),
    WriteAt(Way, u64, Vec<u8>),
    TruncatePath(Way, u64),
    RenamePath(Way, Way),
    RemovePath(Way),
    RemoveAll(Way),
    /// The target, from the base on or as it stands, and where the link is.
    Symlink(Way, bool, Way),
    HardLink(Way, Way),
    Chown(Way, u32),
    Bind(Way, u32),
    UnlinkSocket(Way),
    Watch(Way),
    Unwatch(usize),
    /// All questions that can be asked of a path.
    Ask(Way),
}

/// What a file takes at least of a real disk.
pub const PAGE: u64 = 4096;

impl Op {
    /// The same in whole pages, which a real disk gives away one by one, ours byte by byte.
    pub fn in_pages(mut self) -> Op {
        let pages = |bytes: &mut Vec<u8>| {
            let byte = bytes.first().copied().unwrap_or_default();
            *bytes = vec![byte; bytes.len() / 500 * PAGE as usize];
        };
        let round = |offset: &mut u64| {
            if *offset < u64::MAX {
                *offset = offset.next_multiple_of(PAGE);
            }
        };
        match &mut self {
            Op::Write(_, bytes) | Op::OpenPath(_, _, bytes) => pages(bytes),
            Op::WriteFile(_, bytes) | Op::Append(_, bytes) => pages(bytes),
            Op::WriteAt(_, offset, bytes) => {
                pages(bytes);
                round(offset);
            }
            Op::Copy { offset, len, .. } => {
                round(offset);
                round(len);
            }
            Op::Truncate(_, len) | Op::TruncatePath(_, len) => round(len),
            _ => {}
        }
        self
    }
}

fn way() -> impl Strategy<Value = Way> {
    let plain = prop::collection::vec(0..3_usize, 1..4);
    let upward = (0..3_usize, 0..3_usize, 0..3_usize).prop_map(|(a, b, c)| vec![a, b, 3, c]);
    prop_oneof![12 => plain, 1 => upward, 1 => Just(vec![0, 3])]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..3000_usize).prop_map(|(byte, len)| vec![byte; len])
}

/// An offset or a length, around where files end.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..200_u64, 0..6000_u64, 0..150_000_u64]
}

fn far() -> impl Strategy<Value = u64> {
    prop_oneof![20 => offset(), 1 => Just(u64::MAX)]
}

fn mode() -> impl Strategy<Value = u32> {
    select(&[0o600, 0o640, 0o755, 0o777, 0o2770][..])
}

fn how() -> impl Strategy<Value = Open> {
    prop_oneof![
        2 => Just(Open::Append),
        4 => mode().prop_map(Open::NewToAppend),
        3 => mode().prop_map(Open::New),
        1 => Just(Open::Existing),
        1 => Just(Open::Read),
    ]
}

fn index() -> impl Strategy<Value = usize> {
    0..6_usize
}

fn name() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

fn id() -> impl Strategy<Value = u32> {
    0..4_u32
}

/// Any call.
pub fn op() -> impl Strategy<Value = Op> {
    let root = prop::option::of(prop_oneof![Just(vec![]), way()]);
    prop_oneof![
        3 => (way(), root, mode()).prop_map(|(path, root, mode)| Op::OpenDir { path, root, mode }),
        1 => index().prop_map(Op::CloseDir),
        6 => (index(), name(), how()).prop_map(|(dir, name, how)| Op::Open(dir, name, how)),
        2 => index().prop_map(Op::Close),
        3 => by_name(),
        6 => on_file(),
        7 => by_path(),
        3 => links_and_sockets(),
        2 => prop_oneof![Just(vec![]), way()].prop_map(Op::Watch),
        1 => index().prop_map(Op::Unwatch),
        2 => way().prop_map(Op::Ask),
    ]
}

fn by_name() -> impl Strategy<Value = Op> {
    prop_oneof![
        (index(), name()).prop_map(|(dir, name)| Op::StatAt(dir, name)),
        index().prop_map(Op::Names),
        (index(), name(), name()).prop_map(|(dir, from, to)| Op::Rename(dir, from, to)),
        (index(), name(), name()).prop_map(|(dir, from, to)| Op::Rename(dir, from, to)),
        (index(), name()).prop_map(|(dir, name)| Op::Unlink(dir, name)),
    ]
}

fn on_file() -> impl Strategy<Value = Op> {
    let copy = (index(), offset(), index(), offset());
    prop_oneof![
        4 => (index(), bytes()).prop_map(|(file, bytes)| Op::Write(file, bytes)),
        2 => (index(), far(), 0..9000_usize).prop_map(|(file, at, len)| Op::ReadAt(file, at, len)),
        3 => copy.prop_map(|(from, offset, to, len)| Op::Copy { from, offset, to, len }),
        2 => (index(), far()).prop_map(|(file, len)| Op::Truncate(file, len)),
        1 => index().prop_map(Op::Lock),
        1 => (index(), mode()).prop_map(|(file, mode)| Op::SetMode(file, mode)),
        1 => (index(), index()).prop_map(|(file, other)| Op::SetModifiedAs(file, other)),
        1 => (index(), id()).prop_map(|(file, id)| Op::SetGroup(file, id)),
        1 => (index(), id()).prop_map(|(file, id)| Op::SetOwner(file, id)),
    ]
}

fn by_path() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => way().prop_map(Op::MakeDirAll),
        1 => way().prop_map(Op::MakeDir),
        1 => (way(), how(), bytes()).prop_map(|(path, how, bytes)| Op::OpenPath(path, how, bytes)),
        2 => (way(), bytes()).prop_map(|(path, bytes)| Op::WriteFile(path, bytes)),
        1 => (way(), bytes()).prop_map(|(path, bytes)| Op::Append(path, bytes)),
        1 => (way(), offset(), bytes()).prop_map(|(path, at, bytes)| Op::WriteAt(path, at, bytes)),
        1 => (way(), offset()).prop_map(|(path, len)| Op::TruncatePath(path, len)),
        4 => (way(), way()).prop_map(|(from, to)| Op::RenamePath(from, to)),
        2 => way().prop_map(Op::RemovePath),
        1 => way().prop_map(Op::RemoveAll),
    ]
}

fn links_and_sockets() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (way(), any::<bool>(), way()).prop_map(|(to, whole, at)| Op::Symlink(to, whole, at)),
        2 => (way(), way()).prop_map(|(from, to)| Op::HardLink(from, to)),
        1 => (way(), id()).prop_map(|(path, id)| Op::Chown(path, id)),
        2 => (way(), id()).prop_map(|(path, id)| Op::Bind(path, id)),
        1 => way().prop_map(Op::UnlinkSocket),
    ]
}
