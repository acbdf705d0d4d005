//! Runs of NUL bytes in a stream of bytes and holes.
//!
//! Owns the run that has not ended yet, as numbers.
//! **Invariant:** pure, and keeps no byte: what comes in is handed on at once, in order, each byte
//! once, however the stream was cut.

/// A run of NUL bytes, as long as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// How many of them lie in holes, and take no room on the disk.
    pub sparse: u64,
}

/// What the stream turns out to consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes without a NUL.
    Text(&'a [u8]),
    /// So many NULs, too few for a run.
    Nuls(u64),
    /// A run.
    Run(Run),
}

/// Tells runs from the rest.
pub struct NulRuns {
    /// The fewest bytes of a run.
    min: u64,
    /// NULs that may go on; of no bytes while the last byte was none.
    open: Run,
}

impl NulRuns {
    /// At the beginning of a stream; `min` NULs, at least 1, are a run.
    pub fn new(min: u64) -> NulRuns {
        NulRuns { min, open: Run::default() }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// What the sink says; the scan is over then.
    pub fn bytes<E>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let nuls = bytes.iter().take_while(|byte| **byte == 0).count();
            self.open.bytes += nuls as u64;
            bytes = &bytes[nuls..];
            let text = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            if text > 0 {
                self.end(sink)?;
                sink(Piece::Text(&bytes[..text]))?;
                self.open.offset += text as u64;
                bytes = &bytes[text..];
            }
        }
        Ok(())
    }

    /// The next so many bytes are a hole.
    pub fn hole(&mut self, bytes: u64) {
        self.open.bytes += bytes;
        self.open.sparse += bytes;
    }

    /// The stream's end, or a byte that is no NUL.
    ///
    /// # Errors
    /// What the sink says.
    pub fn end<E>(&mut self, sink: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let run = self.open;
        self.open = Run { offset: run.offset + run.bytes, ..Run::default() };
        match run.bytes {
            0 => Ok(()),
            few if few < self.min => sink(Piece::Nuls(few)),
            _ => sink(Piece::Run(run)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A part of a stream.
    #[derive(Clone, Debug)]
    enum Part {
        Bytes(Vec<u8>),
        Hole(u64),
    }

    /// The runs, and what is left without them.
    fn scan(parts: &[Part], min: u64) -> (Vec<Run>, Vec<u8>) {
        let (mut found, mut left) = (Vec::new(), Vec::new());
        let mut sink = |piece: Piece<'_>| {
            match piece {
                Piece::Text(text) => {
                    assert!(!text.is_empty() && !text.contains(&0), "{text:?}");
                    left.extend_from_slice(text);
                }
                Piece::Nuls(count) => left.resize(left.len() + count as usize, 0),
                Piece::Run(run) => found.push(run),
            }
            Ok::<(), Infallible>(())
        };
        let mut runs = NulRuns::new(min);
        for part in parts {
            match part {
                Part::Bytes(bytes) => runs.bytes(bytes, &mut sink).expect("infallible"),
                Part::Hole(bytes) => runs.hole(*bytes),
            }
        }
        runs.end(&mut sink).expect("infallible");
        (found, left)
    }

    /// The same, by looking at each byte of the whole.
    fn model(parts: &[Part], min: u64) -> (Vec<Run>, Vec<u8>) {
        let mut whole: Vec<(u8, bool)> = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => whole.extend(bytes.iter().map(|byte| (*byte, false))),
                Part::Hole(bytes) => whole.extend((0..*bytes).map(|_| (0, true))),
            }
        }
        let (mut found, mut left, mut offset) = (Vec::new(), Vec::new(), 0);
        for alike in whole.chunk_by(|a, b| (a.0 == 0) == (b.0 == 0)) {
            let bytes = alike.len() as u64;
            if alike[0].0 == 0 && bytes >= min {
                let sparse = alike.iter().filter(|(_, sparse)| *sparse).count() as u64;
                found.push(Run { offset, bytes, sparse });
            } else {
                left.extend(alike.iter().map(|(byte, _)| *byte));
            }
            offset += bytes;
        }
        (found, left)
    }

    fn bytes(text: &[u8]) -> Part {
        Part::Bytes(text.to_vec())
    }

    #[test]
    fn a_run_is_as_long_as_asked_for_or_longer() {
        for (nuls, found) in [(3, 0), (4, 1), (5, 1)] {
            let text = [b"a".as_slice(), &vec![0; nuls], b"b"].concat();
            let (runs, left) = scan(&[bytes(&text)], 4);
            assert_eq!(runs.len(), found, "{nuls}");
            assert_eq!(left.len(), if found == 0 { nuls + 2 } else { 2 }, "{nuls}");
        }
    }

    #[test]
    fn a_hole_and_the_nuls_on_both_sides_of_it_are_one_run() {
        let parts = [bytes(b"old\0\0"), Part::Hole(4096), bytes(b"\0"), bytes(b"\0new")];
        let run = Run { offset: 3, bytes: 4100, sparse: 4096 };
        assert_eq!(scan(&parts, 64), (vec![run], b"oldnew".to_vec()));
    }

    #[test]
    fn a_run_at_the_beginning_and_one_at_the_end_are_found() {
        let parts = [Part::Hole(100), bytes(b"text\0\0"), Part::Hole(100)];
        let runs = vec![
            Run { offset: 0, bytes: 100, sparse: 100 },
            Run { offset: 104, bytes: 102, sparse: 100 },
        ];
        assert_eq!(scan(&parts, 64), (runs, b"text".to_vec()));
    }

    #[test]
    fn an_empty_stream_has_none() {
        assert_eq!(scan(&[], 1), (vec![], vec![]));
        assert_eq!(scan(&[bytes(b"")], 1), (vec![], vec![]));
    }

    #[test]
    fn a_sink_that_refuses_ends_the_scan() {
        let mut calls = 0;
        let mut sink = |_: Piece<'_>| {
            calls += 1;
            Err("full")
        };
        assert_eq!(NulRuns::new(1).bytes(b"a\0b", &mut sink), Err("full"));
        assert_eq!(calls, 1);
    }

    fn part() -> impl Strategy<Value = Part> {
        let byte = prop_oneof![3 => Just(0u8), 1 => 1u8..=255];
        prop_oneof![
            prop::collection::vec(byte, 0..40).prop_map(Part::Bytes),
            prop::collection::vec(1u8..=255, 0..20).prop_map(Part::Bytes),
            (0usize..60).prop_map(|nuls| Part::Bytes(vec![0; nuls])),
            (0u64..60).prop_map(Part::Hole),
        ]
    }

    proptest! {
        #[test]
        fn any_mix_cut_anywhere_gives_what_a_look_at_each_byte_gives(
            parts in prop::collection::vec(part(), 0..12),
            min in 1u64..50,
        ) {
            prop_assert_eq!(scan(&parts, min), model(&parts, min));
        }

        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            parts in prop::collection::vec(part(), 0..8),
            chunk in 1usize..30,
            min in 1u64..50,
        ) {
            let cut: Vec<Part> = parts.iter().flat_map(|part| match part {
                Part::Bytes(bytes) => bytes.chunks(chunk).map(self::bytes).collect(),
                Part::Hole(bytes) => vec![Part::Hole(bytes / 2), Part::Hole(bytes - bytes / 2)],
            }).collect();
            prop_assert_eq!(scan(&cut, min), scan(&parts, min));
        }
    }
}
