//! Which events become objects: equal ones are counted, similar ones combined, floods cut (spec B81). Pure.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Keys remembered in each of the three tables; upstream's number.
pub const KEYS_MAX: usize = 4096;
/// Different messages of one reason before they are combined.
pub const SIMILAR_MAX: usize = 10;
/// How long messages count as similar.
pub const SIMILAR_WINDOW: Duration = Duration::from_mins(10);
/// Events at once for one object and source.
pub const BURST_MAX: f64 = 25.0;
/// One more event after each of these.
pub const REFILL: Duration = Duration::from_mins(5);

/// Prefix of a combined message.
pub const COMBINED_PREFIX: &str = "(combined from similar events): ";

/// What makes two events of one source similar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Kind, namespace, name and uid of the object.
    pub object: [String; 4],
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// Reason.
    pub reason: String,
}

/// What to do with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write a new object.
    Create {
        /// The message to write.
        message: String,
    },
    /// Raise the count of an object written before.
    Count {
        /// Its name.
        name: String,
        /// The new count.
        count: i32,
        /// The message to write.
        message: String,
    },
    /// Too many from this object.
    Drop,
}

/// The memory of one source.
#[derive(Debug, Default)]
pub struct Correlator {
    buckets: BTreeMap<[String; 4], Bucket>,
    similar: BTreeMap<Subject, Similar>,
    written: BTreeMap<(Subject, String), Written>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    at: Timestamp,
}

#[derive(Debug)]
struct Written {
    name: String,
    count: i32,
    at: Timestamp,
}

impl Correlator {
    /// Decides about an event. After a [`Verdict::Create`] say [`Correlator::created`].
    pub fn judge(&mut self, subject: &Subject, message: &str, now: Timestamp) -> Verdict {
        let (text, slot) = self.combine(subject, message, now);
        if !self.spend(&subject.object, now) {
            return Verdict::Drop;
        }
        match self.written.get_mut(&(subject.clone(), slot)) {
            Some(written) => {
                written.count = written.count.saturating_add(1);
                written.at = now;
                Verdict::Count { name: written.name.clone(), count: written.count, message: text }
            }
            None => Verdict::Create { message: text },
        }
    }

    /// Remembers the object made for a message, so that the next equal one is counted there.
    pub fn created(&mut self, subject: &Subject, message: &str, name: &str, now: Timestamp) {
        let slot = slot_of(message);
        let written = Written { name: name.to_owned(), count: 1, at: now };
        self.written.insert((subject.clone(), slot), written);
        trim(&mut self.written, |written| written.at);
    }

    /// Forgets an object that is no longer there.
    pub fn gone(&mut self, subject: &Subject, message: &str) {
        self.written.remove(&(subject.clone(), slot_of(message)));
    }

    /// The message to show, and under what it is counted.
    fn combine(&mut self, subject: &Subject, message: &str, now: Timestamp) -> (String, String) {
        let fresh = || Similar { messages: BTreeSet::new(), at: now };
        let similar = self.similar.entry(subject.clone()).or_insert_with(fresh);
        if since(similar.at, now) > SIMILAR_WINDOW {
            *similar = fresh();
        }
        similar.at = now;
        // an eleventh message stays out, so the table is bounded
        if similar.messages.len() < SIMILAR_MAX {
            similar.messages.insert(message.to_owned());
        }
        let combined = !similar.messages.contains(message);
        trim(&mut self.similar, |similar| similar.at);
        let text =
            if combined { format!("{COMBINED_PREFIX}{message}") } else { message.to_owned() };
        let slot = slot_of(&text);
        (text, slot)
    }

    fn spend(&mut self, object: &[String; 4], now: Timestamp) -> bool {
        let full = || Bucket { tokens: BURST_MAX, at: now };
        let bucket = self.buckets.entry(object.clone()).or_insert_with(full);
        let gained = since(bucket.at, now).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(BURST_MAX);
        bucket.at = now;
        let pass = bucket.tokens >= 1.0;
        if pass {
            bucket.tokens -= 1.0;
        }
        trim(&mut self.buckets, |bucket| bucket.at);
        pass
    }
}

/// Combined messages share one object, whatever they say.
fn slot_of(message: &str) -> String {
    if message.starts_with(COMBINED_PREFIX) {
        COMBINED_PREFIX.to_owned()
    } else {
        message.to_owned()
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

/// Over the bound, the older half goes: cheap on average, and no list of uses to keep.
fn trim<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, at: impl Fn(&V) -> Timestamp) {
    if map.len() <= KEYS_MAX {
        return;
    }
    let mut times: Vec<Timestamp> = map.values().map(&at).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    let mut excess = map.len() - KEYS_MAX / 2;
    map.retain(|_, value| {
        let drop = excess > 0 && at(value) <= middle;
        excess -= usize::from(drop);
        !drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn subject(reason: &str) -> Subject {
        let object = ["Pod", "default", "a", "uid"].map(str::to_owned);
        Subject { object, kind: "Normal", reason: reason.to_owned() }
    }

    #[test]
    fn an_equal_event_raises_the_count() {
        let mut events = Correlator::default();
        let subject = subject("R");
        assert_eq!(
            events.judge(&subject, "m", start()),
            Verdict::Create { message: "m".to_owned() }
        );
        events.created(&subject, "m", "a.1", start());
        let counted = |count| Verdict::Count { name: "a.1".into(), count, message: "m".into() };
        assert_eq!(events.judge(&subject, "m", start()), counted(2));
        assert_eq!(events.judge(&subject, "m", start()), counted(3));
        events.gone(&subject, "m");
        assert_eq!(events.judge(&subject, "m", start()), Verdict::Create { message: "m".into() });
    }

    #[test]
    fn the_eleventh_similar_message_is_combined() {
        let mut events = Correlator::default();
        let subject = subject("R");
        for n in 0..10 {
            let message = format!("m{n}");
            assert_eq!(events.judge(&subject, &message, start()), Verdict::Create { message });
        }
        let message = format!("{COMBINED_PREFIX}m10");
        assert_eq!(
            events.judge(&subject, "m10", start()),
            Verdict::Create { message: message.clone() }
        );
        events.created(&subject, &message, "a.11", start());
        assert!(matches!(
            events.judge(&subject, "m11", start()),
            Verdict::Count { count: 2, message, .. } if message == format!("{COMBINED_PREFIX}m11")
        ));
        // a quiet window later, messages stand for themselves again
        let later = start() + Duration::from_secs(601);
        assert!(
            matches!(events.judge(&subject, "m12", later), Verdict::Create { message } if message == "m12")
        );
    }

    #[test]
    fn a_flood_is_cut_after_25_and_then_one_passes_every_five_minutes() {
        let mut events = Correlator::default();
        let judge =
            |events: &mut Correlator, now| events.judge(&subject("R"), "m", now) != Verdict::Drop;
        let passed = (0..100).filter(|_| judge(&mut events, start())).count();
        assert_eq!(passed, 25);
        assert!(!judge(&mut events, start() + Duration::from_secs(299)));
        assert!(judge(&mut events, start() + Duration::from_secs(301)));
        assert!(!judge(&mut events, start() + Duration::from_secs(301)));
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut events = Correlator::default();
        for n in 0..3 * KEYS_MAX {
            let mut subject = subject("R");
            subject.object[2] = n.to_string();
            events.judge(&subject, "m", start());
            events.created(&subject, "m", "x", start());
        }
        assert!(events.buckets.len() <= KEYS_MAX);
        assert!(events.similar.len() <= KEYS_MAX);
        assert!(events.written.len() <= KEYS_MAX);
    }
}
