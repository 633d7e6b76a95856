//! What changed lately in one collection: a bounded ring of events.

use crate::row::Row;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long and how much is remembered, for each collection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events kept at most. Default 65,536: five minutes of 218 events a second in one collection.
    pub events_max: usize,
    /// Bytes of values kept at most. Default 16 MiB: 4,096 events of a 4 KiB pod, that is about five rounds of
    /// events of an 800-pod rollout; a quiet cluster of three nodes writes under 1 MiB in five minutes.
    pub bytes_max: usize,
    /// Age kept at most. Default five minutes, as upstream's compaction interval.
    pub age_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events_max: 65_536,
            bytes_max: 16 * 1024 * 1024,
            age_max: Duration::from_secs(5 * 60),
        }
    }
}

/// What an event costs beside its bytes: the event, the row, their counts and the place in the ring.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happened {
    /// It was not there before.
    Added,
    /// It was there with another value.
    Modified,
    /// It is no longer there.
    Deleted,
}

/// One change.
#[derive(Debug)]
pub struct Event<F> {
    /// What happened.
    pub happened: Happened,
    /// The new row; for a deletion the last state, with the revision of the deletion in it.
    pub row: Arc<Row<F>>,
    /// The row before.
    pub previous: Option<Arc<Row<F>>>,
    /// The new row's bytes between the words of [`crate::Frames`].
    pub frame: Bytes,
}

impl<F> Event<F> {
    /// The revision of the change.
    pub fn revision(&self) -> u64 {
        self.row.revision
    }

    fn weight(&self) -> usize {
        self.frame.len() + EVENT_OVERHEAD_BYTES
    }
}

/// Between two marks lies at least this part of the age that is kept: 64 marks and the two at the ends are all there
/// are, and a mark is late by 5 s of five minutes at most.
const MARKS: u32 = 64;

/// Which revision was the last at which time: how old a revision is, also in collections that nobody writes to.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Oldest first.
    marks: VecDeque<(Duration, u64)>,
    floor: u64,
}

impl Marks {
    /// The last revision of the time that is no longer remembered. What was at it and later can be asked about.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Notes that `revision` is the last now.
    pub(crate) fn note(&mut self, now: Duration, revision: u64, age_max: Duration) {
        while let Some((at, revision)) = self.marks.front().copied() {
            if now.saturating_sub(at) <= age_max {
                break;
            }
            self.floor = self.floor.max(revision);
            self.marks.pop_front();
        }
        let since = self.marks.back().map(|(at, _)| now.saturating_sub(*at));
        if since.is_none_or(|since| since >= age_max / MARKS) {
            self.marks.push_back((now, revision));
        }
    }
}

/// The ring of one collection. Every event above `floor` is in it.
#[derive(Debug)]
pub(crate) struct Ring<F> {
    events: VecDeque<(Duration, Arc<Event<F>>)>,
    bytes: usize,
    floor: u64,
}

impl<F> Ring<F> {
    pub(crate) fn new(floor: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, floor }
    }

    /// Asks about this revision and later ones can be answered.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, event: Arc<Event<F>>, now: Duration, limits: &Limits) {
        self.bytes += event.weight();
        self.events.push_back((now, event));
        self.trim(now, limits);
    }

    pub(crate) fn trim(&mut self, now: Duration, limits: &Limits) {
        while let Some((born, event)) = self.events.front() {
            let old = now.saturating_sub(*born) > limits.age_max;
            if !old && self.events.len() <= limits.events_max && self.bytes <= limits.bytes_max {
                break;
            }
            self.bytes -= event.weight();
            self.floor = event.revision();
            self.events.pop_front();
        }
        if self.events.is_empty() {
            self.events.shrink_to(64);
        }
    }

    /// Events after a revision, oldest first.
    pub(crate) fn after(&self, revision: u64) -> impl Iterator<Item = &Arc<Event<F>>> {
        let start = self.events.partition_point(|(_, event)| event.revision() <= revision);
        self.events.range(start..).map(|(_, event)| event)
    }

    /// Events after a revision, newest first.
    pub(crate) fn back_to(&self, revision: u64) -> impl Iterator<Item = &Arc<Event<F>>> {
        self.events
            .iter()
            .rev()
            .map(|(_, event)| event)
            .take_while(move |e| e.revision() > revision)
    }

    pub(crate) fn at(&self, revision: u64) -> Option<&Arc<Event<F>>> {
        let at = self.events.partition_point(|(_, event)| event.revision() < revision);
        self.events.get(at).map(|(_, event)| event).filter(|event| event.revision() == revision)
    }
}
