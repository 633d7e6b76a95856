//! Sandboxes that a runtime does not let go at once.

use super::Worker;
use super::files::blocking;
use crate::world::{State, World};
use std::sync::Arc;
use std::time::Duration;

/// Tries after everything in the sandbox was ended, and the pause between them: the runtime hears of the end of a process
/// from its shim, usually within 50 ms. Two seconds in all; then the step has failed and is taken up again later.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Whether there was nobody to ask: the runtime begins anew, and says more in a moment.
fn is_away(failure: &crate::cri::Failure) -> bool {
    failure.code == tonic::Code::Unavailable
}

impl Worker {
    /// Removes a sandbox with its containers. An agent that was killed within the start of a container may leave one that
    /// runs and that its runtime takes for one that was only made: containerd 1.6 then neither stops nor removes it, nor
    /// its sandbox ("cannot delete running task"). Then the task itself is deleted. If that is not it, and nothing of the
    /// pod is to run any more, what does is ended by its cgroup; a pod that lives in another sandbox is left alone.
    pub(super) async fn remove_sandbox(&self, world: &World, id: &str) -> Result<(), String> {
        let runtime = &self.context.runtime;
        let Err(mut failure) = runtime.remove_sandbox(id).await else { return Ok(()) };
        if failure.is_late || is_away(&failure) {
            return Err(failure.message);
        }
        let inside = || world.containers.iter().filter(|seen| seen.sandbox == id);
        let mut any_deleted = false;
        for task in inside().map(|seen| seen.id.as_str()).chain([id]) {
            any_deleted |= self.end_task(task).await;
        }
        if any_deleted {
            match runtime.remove_sandbox(id).await {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
        if world.sandboxes.iter().any(|other| other.id != id && other.is_ready) {
            return Err(failure.message);
        }
        tracing::warn!(
            sandbox = id,
            "the sandbox cannot be removed, what runs in it is ended: {failure}"
        );
        for seen in inside() {
            if let Err(failure) = runtime.stop_container(&seen.id, Duration::ZERO).await {
                tracing::debug!(container = seen.id, "not stopped: {failure}");
            }
        }
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        self.end_group(self.context.cgroup(&uid)).await;
        for _ in 0..TRIES {
            tokio::time::sleep(PAUSE).await;
            for seen in inside() {
                if let Err(failure) = runtime.remove_container(&seen.id).await {
                    tracing::debug!(container = seen.id, "not removed: {failure}");
                }
            }
            match runtime.remove_sandbox(id).await {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
        Err(failure.message)
    }

    /// Removes a container that is not to run. One that was made, as far as the runtime knows, may run all the same, as
    /// above: then its task is deleted, or its own group is ended.
    pub(super) async fn remove_container(&self, world: &World, id: &str) -> Result<(), String> {
        let runtime = &self.context.runtime;
        let Err(mut failure) = runtime.remove_container(id).await else { return Ok(()) };
        let seen = world.containers.iter().find(|seen| seen.id == id);
        let is_running = seen.is_none_or(|seen| seen.state == State::Running);
        if failure.is_late || is_away(&failure) || is_running || id.is_empty() {
            return Err(failure.message);
        }
        if self.end_task(id).await {
            match runtime.remove_container(id).await {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
        if seen.is_none_or(|seen| seen.state != State::Created) {
            return Err(failure.message);
        }
        tracing::warn!(container = id, "cannot be removed, what runs in it is ended: {failure}");
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        self.end_group(format!("{}/{id}", self.context.cgroup(&uid))).await;
        for _ in 0..TRIES {
            tokio::time::sleep(PAUSE).await;
            match runtime.remove_container(id).await {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
        Err(failure.message)
    }

    /// Whether there was a task that only the runtime's service for tasks knew, and it is gone.
    async fn end_task(&self, id: &str) -> bool {
        let done = self.context.runtime.end_task(id).await;
        match &done {
            Ok(()) => tracing::warn!(container = id, "a task that nobody waited for was deleted"),
            Err(failure) => tracing::debug!(container = id, "no task deleted: {failure}"),
        }
        done.is_ok()
    }

    async fn end_group(&self, group: String) {
        let context = Arc::clone(&self.context);
        let ended = blocking(move || crate::cgroups::end(&context.layout, &group)).await;
        tracing::debug!("processes ended by their cgroup: {ended:?}");
    }
}
