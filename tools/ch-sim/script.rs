//! What a guest prints: a pure function of the words on its kernel command line.
//!
//! The words and the text are those of the real test guest, so one test can run against both:
//! `lines=` (0: for ever), `delay=`, `echo=`, `reboot=`, `wait=`, `lsr=`. `boots=N` is ch-sim's
//! own: with `reboot=1`, power off at the end of boot N.
//!
//! **Invariant:** byte `n` of a boot never depends on anything but the script and `n`; what is
//! echoed comes after it and is recorded literally.

use std::time::Duration;

const HEAD: &[u8] = b"GUEST-UP\n";
const TAIL: &[u8] = b"GUEST-DONE\n";
const LINE: &[u8] = b"SEQ 00000000 the quick brown fox jumps over the lazy dog\n";
/// Where the number's last digit stands in a line.
const LAST_DIGIT: usize = 11;
const DIGITS: usize = 8;

/// What one of the guest's pause loops takes: `wait=1000000` is 5 ms.
const LOOP_NS: u64 = 5;

/// A guest's orders, from its kernel command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// How many numbered lines; 0: for ever.
    pub lines: u32,
    /// Pause after each line.
    pub delay: Duration,
    /// Whether input is echoed after the lines, until a `q`.
    pub echo: bool,
    /// Whether the end is a reset instead of a power-off.
    pub reboot: bool,
    /// Pause before the end.
    pub wait: Duration,
    /// With `reboot`: power off at the end of this boot; 0: never.
    pub boots: u32,
}

impl Script {
    /// Reads the words out of a kernel command line. Unknown ones are ignored, as the guest does.
    pub fn parse(cmdline: &str) -> Self {
        let word = |name: &str, default: u32| number_after(cmdline, name).unwrap_or(default);
        let pause = |name: &str| Duration::from_nanos(u64::from(word(name, 0)) * LOOP_NS);
        Self {
            lines: word("lines=", 100),
            delay: pause("delay="),
            echo: word("echo=", 0) != 0,
            reboot: word("reboot=", 0) != 0,
            wait: pause("wait="),
            boots: word("boots=", 0),
        }
    }

    /// Bytes until the guest echoes or ends; `None`: it prints for ever.
    pub fn scripted_len(&self) -> Option<u64> {
        (self.lines != 0).then(|| self.lines_end() + TAIL.len() as u64)
    }

    /// The byte at this offset of a boot's output.
    ///
    /// An offset past the scripted end gives a newline; callers ask the record of what was echoed.
    pub fn byte_at(&self, offset: u64) -> u8 {
        let head = HEAD.len() as u64;
        if offset < head {
            return HEAD[offset as usize];
        }
        if self.lines != 0 && offset >= self.lines_end() {
            let at = (offset - self.lines_end()) as usize;
            return TAIL.get(at).copied().unwrap_or(b'\n');
        }
        let number = (offset - head) / LINE.len() as u64;
        let column = ((offset - head) % LINE.len() as u64) as usize;
        if column <= LAST_DIGIT - DIGITS || column > LAST_DIGIT {
            return LINE[column];
        }
        // The guest counts in 32 bits and prints the last eight digits.
        let number = (number as u32) / 10_u32.pow((LAST_DIGIT - column) as u32);
        b'0' + (number % 10) as u8
    }

    /// Whether the guest pauses for `delay` after the byte at this offset.
    pub fn ends_a_line(&self, offset: u64) -> bool {
        let head = HEAD.len() as u64;
        offset >= head
            && (self.lines == 0 || offset < self.lines_end())
            && (offset - head) % LINE.len() as u64 == LINE.len() as u64 - 1
    }

    fn lines_end(&self) -> u64 {
        HEAD.len() as u64 + u64::from(self.lines) * LINE.len() as u64
    }
}

/// The number right after the first `name`, wherever that stands: so does the guest search.
fn number_after(cmdline: &str, name: &str) -> Option<u32> {
    let at = cmdline.find(name)? + name.len();
    let digits = cmdline[at..].bytes().take_while(u8::is_ascii_digit);
    Some(digits.fold(0_u32, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(cmdline: &str) -> String {
        let script = Script::parse(cmdline);
        let len = script.scripted_len().expect("an end");
        (0..len).map(|at| char::from(script.byte_at(at))).collect()
    }

    #[test]
    fn the_text_is_the_real_guests() {
        assert_eq!(
            whole("lines=2"),
            "GUEST-UP\nSEQ 00000000 the quick brown fox jumps over the lazy dog\n\
             SEQ 00000001 the quick brown fox jumps over the lazy dog\nGUEST-DONE\n"
        );
        assert!(whole("lines=1235").contains("\nSEQ 00001234 the"));
        assert_eq!(whole("lines=200").len(), 11420);
    }

    #[test]
    fn lines_0_has_no_end_and_the_default_is_100() {
        assert_eq!(Script::parse("lines=0").scripted_len(), None);
        assert_eq!(Script::parse("").lines, 100);
        assert_eq!(Script::parse("lines=0").byte_at(9 + 57 * 12 + 11), b'2');
    }

    #[test]
    fn pauses_are_of_5_ns_a_loop() {
        let script = Script::parse("console=off delay=200 wait=1000000 reboot=1 boots=3");
        assert_eq!(script.delay, Duration::from_micros(1));
        assert_eq!(script.wait, Duration::from_millis(5));
        assert!(script.reboot && !script.echo && script.boots == 3);
    }

    #[test]
    fn a_pause_follows_each_numbered_line_only() {
        let script = Script::parse("lines=2");
        let ends: Vec<u64> = (0..134).filter(|&at| script.ends_a_line(at)).collect();
        assert_eq!(ends, [9 + 56, 9 + 57 + 56]);
    }
}
