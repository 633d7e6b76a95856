//! Pods that wait for a node: which is next, and when one is tried again (spec C14).

use kit::Key;
use kit::backoff::exponential;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// First wait after a failed attempt.
const BACKOFF_INITIAL: Duration = Duration::from_secs(1);
/// Longest wait after a failed attempt.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod that nothing woke is tried again after this.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

/// Position in line: higher priority first, then arrival.
type Rank = (Reverse<i32>, u64);

/// The pods that wait.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    entries: BTreeMap<Key, Entry>,
    /// To be tried now.
    active: BTreeSet<(Rank, Key)>,
    /// To be tried at a time.
    timed: BTreeSet<(Instant, Key)>,
    /// Pods by the nodes they look at; those that look at all are under the empty name.
    pinned: BTreeMap<String, BTreeSet<Key>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry {
    uid: String,
    rank: Rank,
    pins: Vec<String>,
    failures: u32,
    /// Not before; events that come earlier are kept until then.
    ready_at: Instant,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// In `timed` until then.
    Timed(Instant),
    /// Being bound.
    Away,
}

impl Backlog {
    /// A pod without a node was seen. Known ones keep their place unless their priority changed.
    pub(crate) fn see(&mut self, key: &Key, uid: &str, priority: i32, pins: Option<Vec<String>>) {
        if let Some(known) = self.entries.get(key) {
            if known.uid == uid && known.rank.0 == Reverse(priority) {
                return;
            }
            self.forget(key);
        }
        self.arrivals += 1;
        let rank = (Reverse(priority), self.arrivals);
        let pins = pins.unwrap_or_else(|| vec![String::new()]);
        for node in &pins {
            self.pinned.entry(node.clone()).or_default().insert(key.clone());
        }
        self.active.insert((rank, key.clone()));
        let entry = Entry {
            uid: uid.to_owned(),
            rank,
            pins,
            failures: 0,
            ready_at: Instant::now(),
            place: Place::Active,
        };
        self.entries.insert(key.clone(), entry);
    }

    /// The pod is bound, finished or gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.leave(key);
        let Some(entry) = self.entries.remove(key) else { return };
        for node in &entry.pins {
            if let Some(keys) = self.pinned.get_mut(node) {
                keys.remove(key);
                if keys.is_empty() {
                    self.pinned.remove(node);
                }
            }
        }
    }

    /// The next pod to try; it is away until [`Backlog::failed`] or [`Backlog::forget`].
    pub(crate) fn next(&mut self) -> Option<Key> {
        let (_, key) = self.active.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.place = Place::Away;
        }
        Some(key)
    }

    /// Whether a pod can be tried now.
    pub(crate) fn has_next(&self) -> bool {
        !self.active.is_empty()
    }

    /// The attempt failed for want of a node: the pod waits for news, and for its back-off.
    pub(crate) fn failed(&mut self, key: &Key, now: Instant) {
        self.postpone(key, now, FORGOTTEN_AFTER);
    }

    /// The attempt failed for trouble of ours: the pod comes back by itself.
    pub(crate) fn troubled(&mut self, key: &Key, now: Instant) {
        self.postpone(key, now, Duration::ZERO);
    }

    fn postpone(&mut self, key: &Key, now: Instant, at_least: Duration) {
        self.leave(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let wait = exponential(BACKOFF_INITIAL, BACKOFF_MAX, entry.failures);
        entry.failures = entry.failures.saturating_add(1);
        entry.ready_at = now + wait;
        let until = now + wait.max(at_least);
        entry.place = Place::Timed(until);
        self.timed.insert((until, key.clone()));
    }

    /// Something changed on a node: pods that look at it are tried again, after their back-off.
    pub(crate) fn wake(&mut self, node: &str, now: Instant) {
        let looking = [node, ""].into_iter().filter_map(|node| self.pinned.get(node));
        let keys: Vec<Key> = looking.flatten().cloned().collect();
        for key in keys {
            self.wake_one(&key, now);
        }
    }

    /// One pod changed in a way that may matter.
    pub(crate) fn wake_one(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get(key) else { return };
        let Place::Timed(until) = entry.place else { return };
        let at = entry.ready_at.max(now);
        if at < until {
            self.leave(key);
            if let Some(entry) = self.entries.get_mut(key) {
                entry.place = Place::Timed(at);
                self.timed.insert((at, key.clone()));
            }
        }
    }

    /// Moves pods whose time has come; answers when the next one's comes.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, _)) = self.timed.first() {
            if *at > now {
                return Some(*at);
            }
            let Some((_, key)) = self.timed.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Active;
                self.active.insert((entry.rank, key));
            }
        }
        None
    }

    /// All pods that wait.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.entries.keys().cloned().collect()
    }

    fn leave(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key) else { return };
        match entry.place {
            Place::Active => drop(self.active.remove(&(entry.rank, key.clone()))),
            Place::Timed(at) => drop(self.timed.remove(&(at, key.clone()))),
            Place::Away => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("d", name)
    }

    fn order(backlog: &mut Backlog) -> Vec<String> {
        std::iter::from_fn(|| backlog.next()).map(|key| key.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priority_goes_first_then_arrival() {
        let mut backlog = Backlog::default();
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
            backlog.see(&key(name), name, priority, None);
        }
        backlog.see(&key("c"), "c", 9, None);
        assert_eq!(order(&mut backlog), ["c", "b", "d", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_pod_waits_for_news_of_its_node_and_for_its_back_off() {
        let mut backlog = Backlog::default();
        let start = Instant::now();
        backlog.see(&key("a"), "a", 0, Some(vec!["n1".into()]));
        backlog.next();
        backlog.failed(&key("a"), start);
        let second = Duration::from_secs(1);
        assert_eq!(backlog.tick(start + second * 2), Some(start + FORGOTTEN_AFTER));
        backlog.wake("n2", start);
        assert_eq!(backlog.tick(start), Some(start + FORGOTTEN_AFTER));
        backlog.wake("n1", start);
        assert_eq!(backlog.tick(start), Some(start + second));
        assert_eq!(backlog.tick(start + second), None);
        assert_eq!(order(&mut backlog), ["a"]);
        backlog.failed(&key("a"), start);
        backlog.wake("n1", start);
        assert_eq!(backlog.tick(start), Some(start + second * 2));
        // news after the back-off counts at once
        backlog.tick(start + second * 2);
        backlog.next();
        backlog.failed(&key("a"), start);
        backlog.wake("n1", start + second * 30);
        assert_eq!(backlog.tick(start + second * 30), None);
        assert!(backlog.has_next());
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_pod_leaves_nothing_behind() {
        let mut backlog = Backlog::default();
        for step in 0..3 {
            backlog.see(&key("a"), "a", 0, Some(vec!["n".into()]));
            if step > 0 {
                backlog.next();
            }
            if step > 1 {
                backlog.troubled(&key("a"), Instant::now());
            }
            backlog.forget(&key("a"));
            let rest = (backlog.entries.len(), backlog.active.len(), backlog.timed.len());
            assert_eq!((rest, backlog.pinned.len()), ((0, 0, 0), 0), "after step {step}");
        }
    }
}
