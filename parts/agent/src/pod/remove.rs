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
    /// its sandbox ("cannot delete running task"). Where nothing of the pod is to run any more, what does is ended by its
    /// cgroup; a pod that lives in another sandbox is left alone.
    pub(super) async fn remove_sandbox(&self, world: &World, id: &str) -> Result<(), String> {
        let runtime = &self.context.runtime;
        let mut failure = match runtime.remove_sandbox(id).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let is_alive = world.sandboxes.iter().any(|other| other.id != id && other.is_ready);
        if failure.is_late || is_away(&failure) || is_alive {
            return Err(failure.message);
        }
        tracing::warn!(
            sandbox = id,
            "the sandbox cannot be removed, what runs in it is ended: {failure}"
        );
        for seen in world.containers.iter().filter(|seen| seen.sandbox == id) {
            if let Err(failure) = runtime.stop_container(&seen.id, Duration::ZERO).await {
                tracing::debug!(container = seen.id, "not stopped: {failure}");
            }
        }
        let context = Arc::clone(&self.context);
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        let ended =
            blocking(move || crate::cgroups::end(&context.layout, &context.cgroup(&uid))).await;
        tracing::debug!("processes ended by their cgroup: {ended:?}");
        for _ in 0..TRIES {
            tokio::time::sleep(PAUSE).await;
            for seen in world.containers.iter().filter(|seen| seen.sandbox == id) {
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

    /// Removes a container. One that was made, as far as the runtime knows, may run all the same, as above: then its own
    /// group is ended.
    pub(super) async fn remove_container(&self, world: &World, id: &str) -> Result<(), String> {
        let runtime = &self.context.runtime;
        let Err(mut failure) = runtime.remove_container(id).await else { return Ok(()) };
        let is_unclear =
            world.containers.iter().any(|seen| seen.id == id && seen.state == State::Created);
        if failure.is_late || is_away(&failure) || !is_unclear || id.is_empty() {
            return Err(failure.message);
        }
        tracing::warn!(container = id, "cannot be removed, what runs in it is ended: {failure}");
        let context = Arc::clone(&self.context);
        let uid = world.pod.metadata.uid.clone().unwrap_or_default();
        let group = format!("{}/{id}", context.cgroup(&uid));
        let ended = blocking(move || crate::cgroups::end(&context.layout, &group)).await;
        tracing::debug!("processes ended by their cgroup: {ended:?}");
        for _ in 0..TRIES {
            tokio::time::sleep(PAUSE).await;
            match runtime.remove_container(id).await {
                Ok(()) => return Ok(()),
                Err(again) => failure = again,
            }
        }
        Err(failure.message)
    }
}
