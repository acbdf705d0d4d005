//! Whether a state can be gone on with, told before anything of it is taken over.
//!
//! Owns the rules: what they refuse would make a successor panic, stand still or close what is
//! another's.
//! **Invariant:** pure; what a predecessor writes of VMs that passed [`VmSpec::validate`] passes.

use super::{State, StateError, VmState};
use crate::config::{OnExit, VmSpec};
use crate::limits::{HELD_GAPS_MAX, OFFSET_MAX, TIME_MAX};
use crate::log::{Rotation, SavedLog};
use crate::vm::After;
use serde_json::{Map, Value};
use std::collections::HashSet;

impl State {
    /// The state, if a successor can go on with it.
    ///
    /// # Errors
    /// [`StateError::Unsound`].
    pub fn checked(self) -> Result<State, StateError> {
        let mut named = HashSet::new();
        if let Some(twice) = self.descriptors().into_iter().find(|number| !named.insert(*number)) {
            return Err(StateError::Unsound(format!("descriptor {twice} is named twice")));
        }
        if !are_possible_counts(&self.stats) {
            return Err(StateError::Unsound("counts more than there can be".into()));
        }
        self.vms.iter().try_for_each(VmState::check).map_err(StateError::Unsound)?;
        Ok(self)
    }
}

impl VmState {
    /// What was asked for.
    pub fn spec(&self) -> VmSpec {
        VmSpec {
            id: self.id.clone(),
            serial: self.serial.clone(),
            log: self.log.spec(),
            api: self.api.clone(),
            on_exit: if self.waits_on_exit { OnExit::Wait } else { OnExit::Close },
            dial_timeout: self.dial_timeout,
            expect_uid: self.expect_uid,
        }
    }

    /// Whether a successor can go on with it.
    ///
    /// # Errors
    /// What can't be.
    pub fn check(&self) -> Result<(), String> {
        self.spec().validate().map_err(|error| error.to_string())?;
        let wrong = |what: &str| Err(format!("VM {:?}: {what}", self.id));
        let machine = &self.machine;
        let shut_down_at = match machine.after {
            After::Gone { shut_down_at } => shut_down_at,
            _ => None,
        };
        let moments = [machine.since, machine.until, machine.ours_after].map(Some);
        let others = [machine.give_up, shut_down_at, self.log.age_due, self.log.held_since];
        // The clock's own time, and what a limit adds to it.
        if moments.into_iter().chain(others).flatten().any(|moment| moment > TIME_MAX * 2) {
            return wrong("names a moment that no clock reaches");
        }
        if !has_possible_numbers(&self.log) {
            return wrong("its log names a size or an offset that no log has");
        }
        let of_log = serde_json::to_value(self.log.counters).unwrap_or_default();
        if !are_possible_counts(&self.counters)
            || !of_log.as_object().is_some_and(are_possible_counts)
        {
            return wrong("counts more than there can be");
        }
        if !has_possible_gaps(&self.log) {
            return wrong("the losses of its log are not in order");
        }
        Ok(())
    }
}

/// Counters that can be counted on.
fn are_possible_counts(counters: &Map<String, Value>) -> bool {
    fn is_possible(count: &Value) -> bool {
        match count {
            Value::Object(counts) => counts.values().all(is_possible),
            Value::Array(counts) => counts.iter().all(is_possible),
            count => count.as_u64().is_none_or(|count| count <= OFFSET_MAX),
        }
    }
    counters.values().all(is_possible)
}

fn has_possible_numbers(log: &SavedLog) -> bool {
    let of_rotation = match log.rotation {
        Rotation::Idle | Rotation::Wanted | Rotation::Away { .. } => 0,
        Rotation::Copying { copied } => copied,
        Rotation::Copied { bytes } | Rotation::Placing { bytes } => bytes,
    };
    let (base, lines) = (log.base.unwrap_or(0), log.generation);
    let numbers = [log.size, log.begun_at, base, lines, log.start, of_rotation];
    numbers.iter().all(|number| *number <= OFFSET_MAX)
}

/// Losses lie among what is held, in order, and are few.
fn has_possible_gaps(log: &SavedLog) -> bool {
    let gaps = &log.gaps;
    let lost = gaps.iter().try_fold(0u64, |sum, gap| sum.checked_add(gap.loss.bytes));
    gaps.is_sorted_by_key(|gap| gap.before)
        && gaps.iter().all(|gap| gap.before <= log.held.len())
        && gaps.len() <= HELD_GAPS_MAX
        && lost.is_some_and(|lost| lost <= OFFSET_MAX)
}
