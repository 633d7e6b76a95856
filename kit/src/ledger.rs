//! What a part wrote last, so that it never decides on older news than its own writes (spec B34).

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A write not seen by then is given up: the object may be gone, or the server restored (spec B33: 5 minutes).
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Last own writes, per key and kind. One task owns it.
#[derive(Clone, Debug, Default)]
pub struct Ledger<K: Ord> {
    written: BTreeMap<K, BTreeMap<&'static str, Written>>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    revision: u64,
    at: Timestamp,
}

/// A kind whose cache has not caught up yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The kind, as given to [`Ledger::wrote`].
    pub kind: &'static str,
    /// The revision that was written.
    pub wanted: u64,
    /// The revision that the cache has seen.
    pub seen: u64,
}

impl<K: Ord> Ledger<K> {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self { written: BTreeMap::new() }
    }

    /// Notes a write on behalf of `key`; the revision is the resource version the server answered.
    pub fn wrote(&mut self, key: K, kind: &'static str, revision: u64, now: Timestamp) {
        let entry = self.written.entry(key).or_default();
        let last = entry.entry(kind).or_insert(Written { revision, at: now });
        if revision >= last.revision {
            *last = Written { revision, at: now };
        }
    }

    /// The first kind whose cache is older than the last write for `key`; `seen` answers each cache's revision.
    /// What has been seen, or waited for longer than [`PATIENCE`], is forgotten.
    pub fn behind(
        &mut self,
        key: &K,
        now: Timestamp,
        seen: impl Fn(&'static str) -> u64,
    ) -> Option<Behind> {
        let kinds = self.written.get_mut(key)?;
        kinds.retain(|kind, written| {
            let waited =
                Duration::try_from(now.duration_since(written.at)).unwrap_or(Duration::ZERO);
            if waited >= PATIENCE && seen(kind) < written.revision {
                tracing::warn!(
                    kind,
                    revision = written.revision,
                    "own write was never seen; going on"
                );
                return false;
            }
            seen(kind) < written.revision
        });
        let behind = kinds.iter().next().map(|(kind, written)| Behind {
            kind,
            wanted: written.revision,
            seen: seen(kind),
        });
        if kinds.is_empty() {
            self.written.remove(key);
        }
        behind
    }

    /// Forgets a key that is gone.
    pub fn forget(&mut self, key: &K) {
        self.written.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_write_is_waited_for_until_it_is_seen_or_patience_ends() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut ledger = Ledger::new();
        ledger.wrote("a", "pods", 7, start);
        ledger.wrote("a", "pods", 5, start);
        assert_eq!(
            ledger.behind(&"a", start, |_| 6),
            Some(Behind { kind: "pods", wanted: 7, seen: 6 })
        );
        assert_eq!(ledger.behind(&"b", start, |_| 6), None);
        assert_eq!(ledger.behind(&"a", start, |_| 7), None);
        ledger.wrote("a", "pods", 9, start);
        assert_eq!(
            ledger.behind(&"a", start + Duration::from_secs(299), |_| 8).map(|b| b.wanted),
            Some(9)
        );
        assert_eq!(ledger.behind(&"a", start + PATIENCE, |_| 8), None);
    }
}
