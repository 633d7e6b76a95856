//! A set of named tasks that ends as one.

use futures::FutureExt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Named tasks. Clones are the same set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, (String, Option<AbortHandle>)>,
    panicked: Option<String>,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that is dropped, at whatever it awaits, when the set stops.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.spawn_graceful(name, async move {
            // biased: a stopping set must not start another round of work
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs a task that watches [`Tasks::token`] itself and ends in its own time.
    pub fn spawn_graceful(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = name.into();
        let id = {
            let mut state = self.state.lock();
            state.next += 1;
            let id = state.next;
            state.running.insert(id, (name.clone(), None));
            id
        };
        let set = self.clone();
        let handle = self.tracker.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let mut state = set.state.lock();
            state.running.remove(&id);
            if ended.is_err() {
                tracing::error!(task = name, "task panicked; everything is being stopped");
                state.panicked.get_or_insert(name);
                set.token.cancel();
            }
        });
        if let Some(entry) = self.state.lock().running.get_mut(&id) {
            entry.1 = Some(handle.abort_handle());
        }
    }

    /// Cancelled when the set is to stop.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Asks every task to stop, without waiting.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Returns when the set is to stop, by [`Tasks::stop`] or by a panic.
    pub async fn stopping(&self) {
        self.token.cancelled().await;
    }

    /// The name of the first task that panicked.
    pub fn panicked(&self) -> Option<String> {
        self.state.lock().panicked.clone()
    }

    /// Stops the set and waits for its tasks; those still running after `patience` are aborted and named.
    pub async fn finish(&self, patience: Duration) -> Vec<String> {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        self.abort()
    }

    /// Ends every task at once, as a crash would; answers their names.
    pub fn abort(&self) -> Vec<String> {
        self.token.cancel();
        let running = std::mem::take(&mut self.state.lock().running);
        running
            .into_values()
            .map(|(name, handle)| {
                if let Some(handle) = handle {
                    handle.abort();
                }
                name
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_stops_the_set_and_is_named() {
        let tasks = Tasks::new();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("fragile", async { panic!("on purpose") });
        tasks.stopping().await;
        assert_eq!(tasks.panicked().as_deref(), Some("fragile"));
        assert_eq!(tasks.finish(Duration::from_secs(1)).await, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_named() {
        let tasks = Tasks::new();
        tasks.spawn_graceful("stubborn", std::future::pending());
        assert_eq!(tasks.finish(Duration::from_secs(5)).await, ["stubborn"]);
    }
}
