//! The one task that writes: takes all that waits, commits it with one sync, publishes, answers.

use super::{Action, Change, CommitError, Committed, Facts, Key, Now, Shared, is_lazy};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{Expected, Outcome, Refused, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Changes in one batch at most: 512 pods of 4 KiB are 2 MiB, a few milliseconds of writing.
const BATCH_CHANGES_MAX: usize = 512;
/// Bytes in one batch at most, but for a last object of up to 3 MiB.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a lazy write may wait for the disk (design 8.3: at most a second). Half of it, so that a slow sync
/// still ends in time.
const LAZY_AGE_MAX: Duration = Duration::from_millis(500);
/// How often old history and expired objects are looked for.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// Expired objects deleted in one batch; when there are more, the next follows after [`TIDY_PAUSE`]: 2,000 a
/// second, so that other writers hardly wait.
const EXPIRED_MAX: usize = 200;
/// Between two batches of expired objects.
const TIDY_PAUSE: Duration = Duration::from_millis(100);

/// A change, and who waits for it.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<Committed, CommitError>>,
}

/// Owns the writing side of the store. Its [`Committer::run`] has to run for writes to happen.
pub struct Committer {
    shared: Arc<Shared>,
    /// Away while a sync runs; gone for good if that panicked.
    writer: Option<Writer<Facts>>,
    waiting: mpsc::Receiver<Wish>,
    now: Now,
    born: Instant,
    lazy_due: Option<Instant>,
    tidy_due: Instant,
    expiry: BTreeSet<(jiff::Timestamp, Key)>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        writer: Writer<Facts>,
        waiting: mpsc::Receiver<Wish>,
        now: Now,
    ) -> Self {
        let mut expiry = BTreeSet::new();
        shared.store.each(|row| {
            if let Some(expires) = row.facts.expires {
                expiry.insert((expires, row.key.clone()));
            }
        });
        Self {
            shared,
            writer: Some(writer),
            waiting,
            now,
            born: Instant::now(),
            lazy_due: None,
            tidy_due: Instant::now() + TIDY_INTERVAL,
            expiry,
        }
    }

    /// Commits until `stop`, then answers what still waits, writes what was held back, and closes the log.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let lazy_due = self.lazy_due;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = async {
                    match lazy_due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                } => self.commit(Vec::new()).await,
                () = tokio::time::sleep_until(self.tidy_due) => self.tidy().await,
                wish = self.waiting.recv() => match wish {
                    Some(wish) => {
                        let wishes = self.gather(wish);
                        self.commit(wishes).await;
                    }
                    None => break,
                },
            }
        }
        self.waiting.close();
        while let Some(wish) = self.waiting.recv().await {
            let wishes = self.gather(wish);
            self.commit(wishes).await;
        }
        self.close().await;
    }

    /// The first of those who wait and all others, up to a batch.
    fn gather(&mut self, first: Wish) -> Vec<Wish> {
        let mut bytes = first.change.weight();
        let mut wishes = vec![first];
        while wishes.len() < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(wish) = self.waiting.try_recv() else { break };
            bytes += wish.change.weight();
            wishes.push(wish);
        }
        wishes
    }

    async fn commit(&mut self, wishes: Vec<Wish>) {
        let (changes, answers): (Vec<_>, Vec<_>) =
            wishes.into_iter().map(|wish| (wish.change.into_store(), wish.answer)).unzip();
        let result = self.write(changes).await;
        match result {
            Ok(outcomes) => {
                self.publish(&outcomes);
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    // A caller that no longer waits has nothing to be told.
                    let _told = answer.send(answer_of(outcome)).is_ok();
                }
            }
            Err(error) => {
                for answer in answers {
                    let _told = answer.send(Err(error.clone())).is_ok();
                }
            }
        }
    }

    /// One batch through the store; on a thread of its own when that may block.
    async fn write(
        &mut self,
        changes: Vec<store::Change<Facts>>,
    ) -> Result<Vec<Outcome<Facts>>, CommitError> {
        let age = self.born.elapsed();
        let flush = self.lazy_due.is_some_and(|due| due <= Instant::now());
        let Some(mut writer) = self.writer.take() else { return Err(self.shared.stopped()) };
        let done = if writer.blocks() {
            tokio::task::spawn_blocking(move || {
                let result = writer.commit(changes, age, flush);
                (writer, result)
            })
            .await
        } else {
            let result = writer.commit(changes, age, flush);
            Ok((writer, result))
        };
        let Ok((writer, result)) = done else {
            *self.shared.fault.write() = Some("the writer stopped unexpectedly".to_owned());
            return Err(self.shared.stopped());
        };
        let held = writer.lazy_rows() > 0;
        self.lazy_due = match (held, self.lazy_due.filter(|_| !flush)) {
            (false, _) => None,
            (true, Some(due)) => Some(due),
            // What a flush left over goes with the next batch.
            (true, None) if flush && result.is_ok() => Some(Instant::now()),
            (true, None) => Some(Instant::now() + LAZY_AGE_MAX),
        };
        *self.shared.fault.write() = writer.read_only().map(ToOwned::to_owned);
        self.writer = Some(writer);
        self.shared.counts.batches.fetch_add(1, Ordering::Relaxed);
        result.map_err(|error| match error {
            store::CommitError::NotWritten(why) => {
                tracing::error!(%why, "the store did not write a batch");
                CommitError::NotWritten(why)
            }
            store::CommitError::Unknown(why) => {
                tracing::error!(%why, "the store is read-only from now on: restart the server");
                CommitError::ReadOnly(why)
            }
            store::CommitError::ReadOnly(why) => CommitError::ReadOnly(why),
        })
    }

    fn publish(&mut self, outcomes: &[Outcome<Facts>]) {
        let events = || outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
        for event in events() {
            if let Some(expires) = event.previous.as_ref().and_then(|row| row.facts.expires) {
                self.expiry.remove(&(expires, event.row.key.clone()));
            }
            if event.happened != store::Happened::Deleted
                && let Some(expires) = event.row.facts.expires
            {
                self.expiry.insert((expires, event.row.key.clone()));
            }
        }
        let count = u64::try_from(events().count()).unwrap_or(u64::MAX);
        self.shared.counts.changes.fetch_add(count, Ordering::Relaxed);
        self.shared.hub.publish(events(), self.shared.store.revision());
    }

    /// Forgets old history; deletes some of what has expired.
    async fn tidy(&mut self) {
        self.shared.store.trim(self.born.elapsed());
        let now = (self.now)();
        let expired: Vec<_> = self
            .expiry
            .iter()
            .take_while(|(expires, _)| *expires <= now)
            .take(EXPIRED_MAX)
            .map(|(_, key)| store::Change {
                key: key.clone(),
                expected: Expected::Present,
                action: store::Action::Delete { last: None },
            })
            .collect();
        let pause = if expired.len() == EXPIRED_MAX { TIDY_PAUSE } else { TIDY_INTERVAL };
        self.tidy_due = Instant::now() + pause;
        if expired.is_empty() {
            return;
        }
        match self.write(expired).await {
            Ok(outcomes) => self.publish(&outcomes),
            // What could not be deleted is still there to be found again, later.
            Err(_) => self.tidy_due = Instant::now() + TIDY_INTERVAL,
        }
    }

    async fn close(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let closed = if writer.blocks() {
            tokio::task::spawn_blocking(move || writer.close()).await
        } else {
            Ok(writer.close())
        };
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the store was not closed in good order"),
            Err(_) => tracing::warn!("the writer stopped unexpectedly while closing the store"),
        }
    }
}

impl Change {
    fn weight(&self) -> usize {
        match &self.action {
            Action::Put { value, .. } | Action::Delete { last: Some((value, _)) } => value.len(),
            Action::Delete { last: None } => 0,
        }
    }

    fn into_store(self) -> store::Change<Facts> {
        let lazy = is_lazy(&self.key);
        let action = match self.action {
            Action::Put { value, facts } => store::Action::Put { value, facts, lazy },
            Action::Delete { last } => store::Action::Delete { last },
        };
        store::Change { key: self.key, expected: self.expected, action }
    }
}

fn answer_of(outcome: Outcome<Facts>) -> Result<Committed, CommitError> {
    match outcome {
        Ok(event) => {
            Ok(Committed { record: Arc::clone(&event.row), previous: event.previous.clone() })
        }
        Err(Refused::Exists(row)) => Err(CommitError::Exists(row)),
        Err(Refused::Conflict(row)) => Err(CommitError::Conflict(row)),
        Err(Refused::Missing) => Err(CommitError::Missing),
        Err(Refused::BadKey) => Err(CommitError::BadKey),
    }
}
