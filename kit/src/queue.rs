//! Keys that want work: each once, after its delay, by one worker at a time.

use crate::Setup;
use crate::backoff::exponential;
use crate::metrics::named;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Keys that may wait, delayed ones included. 200,000 is two keys for each of 100,000 nodes.
    pub len_max: usize,
    /// Wait after the first failure of a key (spec B37: 5 ms).
    pub backoff_initial: Duration,
    /// Longest wait of a key (spec B37: 1000 s).
    pub backoff_max: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            len_max: 200_000,
            backoff_initial: Duration::from_millis(5),
            backoff_max: Duration::from_secs(1000),
        }
    }
}

/// A queue of keys. Clones are the same queue.
pub struct Queue<K: Ord> {
    shared: Arc<Shared<K>>,
}

struct Shared<K: Ord> {
    name: String,
    limits: QueueLimits,
    setup: Setup,
    state: Mutex<State<K>>,
    wake: Notify,
}

struct State<K: Ord> {
    ready: VecDeque<K>,
    /// Keys in `ready`.
    waiting: BTreeSet<K>,
    /// Keys with a worker; true: asked for again meanwhile.
    working: BTreeMap<K, bool>,
    /// When delayed keys are due, in order of time, then of asking.
    due: BTreeMap<(Instant, u64), K>,
    delayed: BTreeMap<K, (Instant, u64)>,
    failures: BTreeMap<K, u32>,
    asked: u64,
    overflowed: bool,
}

impl<K: Ord + Clone + fmt::Debug> Queue<K> {
    /// An empty queue; its name appears in figures and logs.
    pub fn new(name: &str, limits: QueueLimits, setup: &Setup) -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            working: BTreeMap::new(),
            due: BTreeMap::new(),
            delayed: BTreeMap::new(),
            failures: BTreeMap::new(),
            asked: 0,
            overflowed: false,
        };
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                limits,
                setup: setup.clone(),
                state: Mutex::new(state),
                wake: Notify::new(),
            }),
        }
    }

    /// Asks for work on a key as soon as possible.
    pub fn add(&self, key: K) {
        let mut state = self.shared.state.lock();
        if let Some(again) = state.working.get_mut(&key) {
            *again = true;
            return;
        }
        if state.waiting.contains(&key) || self.full(&mut state, &key) {
            return;
        }
        if let Some(when) = state.delayed.remove(&key) {
            state.due.remove(&when);
        }
        state.waiting.insert(key.clone());
        state.ready.push_back(key);
        self.shared.setup.metrics.queue_adds.get_or_create(&named(&self.shared.name)).inc();
        self.measure(&state);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Asks for work on a key after a delay. The earlier of two wishes counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.shared.state.lock();
        let when = Instant::now() + delay;
        let known = state.delayed.get(&key).copied();
        if state.waiting.contains(&key)
            || known.is_some_and(|(at, _)| at <= when)
            || self.full(&mut state, &key)
        {
            return;
        }
        if let Some(known) = known {
            state.due.remove(&known);
        }
        state.asked += 1;
        let slot = (when, state.asked);
        state.due.insert(slot, key.clone());
        state.delayed.insert(key, slot);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// The next key. Safe to drop while waiting; several workers may wait.
    pub async fn next(&self) -> Job<K> {
        loop {
            let notified = self.shared.wake.notified();
            let due = match self.take() {
                Ok(key) => return Job { queue: self.clone(), key, failed: None },
                Err(due) => due,
            };
            match due {
                None => notified.await,
                Some(due) => tokio::select! {
                    biased;
                    () = notified => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// How many keys wait, delayed ones included.
    pub fn len(&self) -> usize {
        let state = self.shared.state.lock();
        state.ready.len() + state.delayed.len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether keys were refused since the last call; if so, ask for all of them again.
    pub fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.shared.state.lock().overflowed)
    }

    /// Failures in a row of a key.
    pub fn failures(&self, key: &K) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    fn take(&self) -> Result<K, Option<Instant>> {
        let mut state = self.shared.state.lock();
        let now = Instant::now();
        while let Some(entry) = state.due.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            state.delayed.remove(&key);
            if let Some(again) = state.working.get_mut(&key) {
                *again = true;
            } else if state.waiting.insert(key.clone()) {
                state.ready.push_back(key);
            }
        }
        let Some(key) = state.ready.pop_front() else {
            return Err(state.due.first_key_value().map(|((at, _), _)| *at));
        };
        state.waiting.remove(&key);
        state.working.insert(key.clone(), false);
        self.measure(&state);
        let more = !state.ready.is_empty();
        drop(state);
        if more {
            self.shared.wake.notify_one();
        }
        Ok(key)
    }

    fn full(&self, state: &mut State<K>, key: &K) -> bool {
        let full = state.ready.len() + state.delayed.len() >= self.shared.limits.len_max;
        if full {
            state.overflowed = true;
            let name = &self.shared.name;
            self.shared.setup.metrics.queue_overflows.get_or_create(&named(name)).inc();
            tracing::error!(
                queue = name,
                ?key,
                len_max = self.shared.limits.len_max,
                "queue is full"
            );
        }
        full
    }

    fn measure(&self, state: &State<K>) {
        let depth = i64::try_from(state.ready.len()).unwrap_or(i64::MAX);
        self.shared.setup.metrics.queue_depth.get_or_create(&named(&self.shared.name)).set(depth);
    }

    /// Ends the work on a key; answers the wait before its retry.
    fn finish(&self, key: &K, failed: Option<bool>) -> Option<Duration> {
        let mut state = self.shared.state.lock();
        let again = state.working.remove(key).unwrap_or(false);
        let wait = match failed {
            Some(true) => {
                let failures = state.failures.entry(key.clone()).or_default();
                let limits = &self.shared.limits;
                let wait = exponential(limits.backoff_initial, limits.backoff_max, *failures);
                *failures = failures.saturating_add(1);
                let retries = &self.shared.setup.metrics.queue_retries;
                retries.get_or_create(&named(&self.shared.name)).inc();
                Some(wait)
            }
            Some(false) => {
                state.failures.remove(key);
                None
            }
            None => None,
        };
        drop(state);
        if again {
            self.add(key.clone());
        } else if let Some(wait) = wait {
            self.add_after(key.clone(), wait);
        }
        wait
    }
}

impl<K: Ord> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Ord> fmt::Debug for Queue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.shared.name)
    }
}

/// A key being worked on. Dropping it ends the work; say first how it went.
#[derive(Debug)]
pub struct Job<K: Ord + Clone + fmt::Debug> {
    queue: Queue<K>,
    /// The key.
    pub key: K,
    failed: Option<bool>,
}

impl<K: Ord + Clone + fmt::Debug> Job<K> {
    /// It went well: the key's failures are forgotten.
    pub fn succeeded(mut self) {
        self.failed = Some(false);
    }

    /// It went wrong: the key returns after its back-off.
    pub fn failed(mut self) {
        self.failed = Some(true);
    }

    /// Failures in a row before this job.
    pub fn failures(&self) -> u32 {
        self.queue.failures(&self.key)
    }

    /// What is asked for has changed: failures with what was asked for before do not count any more.
    pub fn start_afresh(&self) {
        self.queue.shared.state.lock().failures.remove(&self.key);
    }
}

impl<K: Ord + Clone + fmt::Debug> Drop for Job<K> {
    fn drop(&mut self) {
        self.queue.finish(&self.key, self.failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(len_max: usize) -> Queue<&'static str> {
        let clock = crate::Clock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let limits = QueueLimits { len_max, ..QueueLimits::default() };
        Queue::new("test", limits, &Setup::new(clock, 0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_once_at_a_time_and_again_if_asked_for_meanwhile() {
        let queue = queue(10);
        queue.add("a");
        queue.add("a");
        let job = queue.next().await;
        assert!(queue.is_empty());
        queue.add("a");
        assert!(queue.take().is_err(), "still being worked on");
        job.succeeded();
        assert_eq!(queue.next().await.key, "a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn delays_are_kept_and_the_earlier_wish_counts() {
        let queue = queue(10);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        queue.add_after("slow", second * 9);
        queue.add_after("a", second * 5);
        queue.add_after("a", second * 3);
        queue.add_after("a", second * 7);
        assert_eq!((queue.next().await.key, start.elapsed()), ("a", second * 3));
        queue.add("slow");
        assert_eq!((queue.next().await.key, start.elapsed()), ("slow", second * 3));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_key_returns_ever_later_until_it_succeeds() {
        let queue = queue(10);
        queue.add("a");
        let mut waits = Vec::new();
        for _ in 0..4 {
            let before = Instant::now();
            queue.next().await.failed();
            waits.push(before.elapsed().as_millis());
        }
        assert_eq!(waits, [0, 5, 10, 20]);
        queue.next().await.succeeded();
        queue.add("a");
        queue.next().await.failed();
        let before = Instant::now();
        drop(queue.next().await);
        assert_eq!(before.elapsed(), Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_starts_afresh_returns_as_soon_as_after_its_first_failure() {
        let queue = queue(10);
        queue.add("a");
        for _ in 0..18 {
            queue.next().await.failed();
        }
        let job = queue.next().await;
        job.start_afresh();
        job.failed();
        let before = Instant::now();
        drop(queue.next().await);
        assert_eq!(before.elapsed(), Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_and_says_so() {
        let queue = queue(2);
        for key in ["a", "b", "c", "a"] {
            queue.add(key);
        }
        assert_eq!(queue.len(), 2);
        assert!(queue.take_overflow());
        assert!(!queue.take_overflow());
    }

    #[tokio::test(start_paused = true)]
    async fn every_waiting_worker_gets_a_key() {
        let queue = queue(10);
        let workers = (0..3).map(|_| queue.next());
        let add = async {
            tokio::task::yield_now().await;
            for key in ["a", "b", "c"] {
                queue.add(key);
            }
        };
        let (jobs, ()) = futures::join!(futures::future::join_all(workers), add);
        let keys: BTreeSet<_> = jobs.iter().map(|job| job.key).collect();
        assert_eq!(keys, BTreeSet::from(["a", "b", "c"]));
    }
}
