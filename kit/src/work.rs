//! The two loops that nearly every controller has: changes to keys, keys to work.

use crate::cache::{Cache, Change, Object};
use crate::queue::Queue;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Turns every change of a cache into keys, without end. `keys` sees an object as it was and as it is; after a
/// [`Change::Resync`] it sees every object, and `resync` adds what else must be looked at (keys of things that may be
/// gone).
pub async fn feed<K: Object, Q: Ord + Clone + fmt::Debug>(
    cache: Cache<K>,
    queue: Queue<Q>,
    keys: impl Fn(&K) -> Vec<Q>,
    resync: impl Fn() -> Vec<Q>,
) {
    let mut changes = cache.subscribe();
    loop {
        match changes.next().await {
            Change::Applied { old, new } => {
                for key in old.iter().flat_map(|old| keys(old)).chain(keys(&new)) {
                    queue.add(key);
                }
            }
            Change::Deleted(old) => keys(&old).into_iter().for_each(|key| queue.add(key)),
            Change::Resync => {
                let seen: Vec<Arc<K>> = cache.list();
                let all = seen.iter().flat_map(|object| keys(object)).chain(resync());
                all.for_each(|key| queue.add(key));
            }
        }
    }
}

/// Works on the keys of a queue one after another, without end; start it several times for several workers.
/// `reconcile` answers when to look again, if nothing happens before; an error brings the key back after its back-off.
pub async fn work<Q, F, R, E>(queue: Queue<Q>, reconcile: F)
where
    Q: Ord + Clone + fmt::Debug,
    F: Fn(Q) -> R,
    R: Future<Output = Result<Option<Duration>, E>>,
    E: fmt::Display,
{
    loop {
        let job = queue.next().await;
        match reconcile(job.key.clone()).await {
            Ok(again) => {
                let key = job.key.clone();
                job.succeeded();
                if let Some(wait) = again {
                    queue.add_after(key, wait);
                }
            }
            Err(error) => {
                let error = brief(&error);
                // the first failures are mostly conflicts with newer news, which the retry resolves
                if job.failures() >= 2 {
                    tracing::warn!(?queue, key = ?job.key, %error, "reconcile failed; trying again");
                } else {
                    tracing::debug!(?queue, key = ?job.key, %error, "reconcile failed; trying again");
                }
                job.failed();
            }
        }
    }
}

/// An error in one line: kube prints an API error twice, the second time with all its fields.
pub fn brief(error: &impl fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.find(" (Status {") {
        text.truncate(at);
    }
    text
}
