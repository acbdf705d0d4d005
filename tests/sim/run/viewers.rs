//! What those who asked for our own API were sent.
//!
//! **Invariant:** the truth is what the VMM sent: a viewer has a piece of it, without a gap or a
//! doubled byte, or, where bytes were lost or removed, what is left of it in its order.

use super::{Checked, Run};
use crate::kernel::viewers::{Asked, Pace, Viewer};
use crate::vmm::{Outside, Vmm};
use seriald::config::LogSpec;

impl Run {
    /// Whoever reads has the last byte by now.
    pub(super) fn judge_live_viewers(&self, last: usize) -> Checked<()> {
        let kernel = self.kernel.borrow();
        for (number, viewer) in kernel.control.viewers.iter().enumerate() {
            let Some(vm) = viewer.vm().filter(|vm| self.wanted.contains(vm)) else { continue };
            let is_limited = self.script.specs[vm].log.rate_bytes.is_some();
            if !viewer.is_there() || viewer.pace != Pace::Prompt || is_limited {
                continue;
            }
            let (status, body) = answer(&viewer.taken)?;
            let sent = &kernel.vmms[vm].sent;
            // The log of a VM that was let go of is over; the connection waits for what is asked next.
            let is_over = viewer.taken.ends_with(b"0\r\n\r\n");
            if status < 300 && !is_over && !body.ends_with(&sent[sent.len().saturating_sub(last)..])
            {
                let got = String::from_utf8_lossy(&body[body.len().saturating_sub(20)..]);
                return Err(format!("viewer {number} lacks the last bytes, it has {got:?}"));
            }
        }
        Ok(())
    }

    /// Whether somebody has yet to read what he was sent.
    pub(super) fn has_slow_viewers(&self) -> bool {
        let kernel = self.kernel.borrow();
        let is_slow = |one: &Viewer| one.is_there() && matches!(one.pace, Pace::Slow { .. });
        kernel.control.viewers.iter().any(is_slow)
    }

    /// Nobody is kept who takes nothing.
    pub(super) fn judge_stuck_viewers(&self) -> Checked<()> {
        let kernel = self.kernel.borrow();
        let stuck = |one: &Viewer| one.is_there() && one.is_blocked && one.pace == Pace::Never;
        match kernel.control.viewers.iter().position(stuck) {
            Some(number) => Err(format!("viewer {number} takes nothing, and is kept")),
            None => Ok(()),
        }
    }

    /// All that was sent to anybody.
    pub(super) fn judge_viewers(&self) -> Checked<()> {
        let kernel = self.kernel.borrow();
        for (number, viewer) in kernel.control.viewers.iter().enumerate() {
            let Some(vm) = viewer.vm() else { continue };
            let (status, body) = answer(&viewer.taken)?;
            if status >= 300 {
                continue;
            }
            let (vmm, log) = (&kernel.vmms[vm], &self.script.specs[vm].log);
            if vmm.outside != Outside::default() {
                // Until it is noticed that others cut a log, its bytes are taken for older ones.
                continue;
            }
            let is_it = match may_have_gaps(vmm, log) || self.script.kinds.reloads {
                true => is_in_order(&body, &vmm.sent),
                false => body.is_empty() || vmm.sent.windows(body.len()).any(|part| part == body),
            };
            if !is_it {
                let (n, asked) = (body.len(), viewer.asked);
                return Err(format!(
                    "vm {vm}: viewer {number} has {n} bytes that were not sent so: {asked:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Viewer {
    fn vm(&self) -> Option<usize> {
        match self.asked {
            Asked::List => None,
            Asked::Log(vm) | Asked::Console { vm, .. } => Some(vm),
        }
    }

    fn is_there(&self) -> bool {
        self.is_held && !self.has_left
    }
}

/// Whether bytes may be missing between others.
fn may_have_gaps(vmm: &Vmm, log: &LogSpec) -> bool {
    let lost = vmm.lost > 0 || vmm.may_lack_records || vmm.held_in_crash;
    let crashed = !vmm.crashes.is_empty();
    let removed = log.keep < 1000 || log.max_total_bytes.is_some() || log.max_backup_age.is_some();
    lost || crashed || removed || log.after_rotate.is_some()
}

fn is_in_order(part: &[u8], sent: &[u8]) -> bool {
    let mut left = sent.iter();
    part.iter().all(|byte| left.any(|sent| sent == byte))
}

/// The status and the body so far; 0: not even the head is there.
fn answer(taken: &[u8]) -> Checked<(u16, Vec<u8>)> {
    let Some(end) = taken.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Ok((0, Vec::new()));
    };
    let (head, body) = (String::from_utf8_lossy(&taken[..end]), &taken[end + 4..]);
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("a viewer was sent {head:?}"))?;
    match head.contains("chunked") {
        true => Ok((status, unchunked(body)?)),
        false => Ok((status, body.to_vec())),
    }
}

fn unchunked(mut rest: &[u8]) -> Checked<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("a chunk of {size:?}"))?;
        let piece = &rest[end + 2..];
        body.extend_from_slice(&piece[..size.min(piece.len())]);
        rest = piece.get(size + 2..).unwrap_or_default();
    }
    Ok(body)
}
