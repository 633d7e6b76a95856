//! The status: counters summed over the nodes (spec 2.8).

use super::place::Counts;
use crate::set::{Set, Status};

impl Counts {
    /// Adds another node's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields().into_iter().zip(other.values()) {
            *mine += theirs;
        }
    }

    /// Takes back what was added.
    pub fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.fields().into_iter().zip(other.values()) {
            *mine -= theirs;
        }
    }

    fn fields(&mut self) -> [&mut usize; 6] {
        let Self { desired, current, misscheduled, ready, available, updated } = self;
        [desired, current, misscheduled, ready, available, updated]
    }

    fn values(&self) -> [usize; 6] {
        let Self { desired, current, misscheduled, ready, available, updated } = *self;
        [desired, current, misscheduled, ready, available, updated]
    }
}

/// The status that the counts call for. The observed generation is that of the set as it was read, also
/// where a step of the plan fails later (spec B31); the collision count is carried on.
pub fn status(set: &Set, counts: &Counts) -> Status {
    Status {
        current_number_scheduled: counts.current,
        number_misscheduled: counts.misscheduled,
        desired_number_scheduled: counts.desired,
        number_ready: counts.ready,
        observed_generation: set.generation.max(set.status.observed_generation),
        updated_number_scheduled: counts.updated,
        number_available: counts.available,
        number_unavailable: counts.desired.saturating_sub(counts.available),
        collision_count: set.status.collision_count,
    }
}
