//! New resources for containers that run.

use super::files::blocking;
use super::{Done, Worker};
use crate::resources::{self, PodLimits};
use crate::words::reason;
use crate::world::{RESIZE, World, lasting};
use crate::{cgroups, config};
use std::sync::Arc;

/// Limits that hold while some containers have their new resources and others not yet.
fn loosest(one: PodLimits, other: PodLimits) -> PodLimits {
    let largest = |one: Option<i64>, other: Option<i64>| Some(one?.max(other?));
    PodLimits {
        shares: one.shares.max(other.shares),
        quota: largest(one.quota, other.quota),
        memory: largest(one.memory, other.memory),
        pids: one.pids,
    }
}

impl Worker {
    /// The pod's group is widened first and narrowed last, as no container may have more than its pod.
    pub(super) async fn resize(&mut self, world: &World, ids: Vec<String>) -> Done {
        match self.try_resize(world, &ids).await {
            Ok(()) => {
                self.memory.troubles.remove(RESIZE);
                let text = "Pod resize completed".to_owned();
                self.context.tell(&world.pod, "", false, reason::RESIZE_COMPLETED, text);
                Ok(())
            }
            Err(problem) => {
                self.context.tell(&world.pod, "", true, reason::RESIZE_ERROR, problem.clone());
                self.failed(RESIZE, reason::RESIZE_ERROR, problem);
                Err(())
            }
        }
    }

    /// One event for each wish that has to wait.
    pub(super) fn tell_postponed(&mut self, world: &World) {
        let Some(why) = &world.postponed else { return };
        let wish = world.pod.metadata.generation.unwrap_or_default();
        let wish = u32::try_from(wish).unwrap_or(u32::MAX);
        let reason = match why.reason {
            "Infeasible" => reason::RESIZE_INFEASIBLE,
            _ => reason::RESIZE_DEFERRED,
        };
        if self.told.insert((reason.to_owned(), wish)) {
            self.context.tell(&world.pod, "", true, reason, why.message.clone());
        }
    }

    /// What the pod's group has to let through: what its containers run with, and what they are made with now.
    pub(super) fn room(&self, world: &World) -> PodLimits {
        let pids = self.context.pod_max_pids;
        let limits = |spec| PodLimits { pids, ..resources::pod_limits(spec) };
        loosest(limits(&world.spec_as_it_runs()), limits(&world.spec_as_granted()))
    }

    /// Before a container is made: it may have been given more since the group was.
    pub(super) async fn widen(&self, world: &World) -> Result<(), String> {
        let group = self.context.cgroup(world.pod.metadata.uid.as_deref().unwrap_or_default());
        self.limit_pod(&group, self.room(world)).await
    }

    async fn try_resize(&mut self, world: &World, ids: &[String]) -> Result<(), String> {
        let context = Arc::clone(&self.context);
        let pids = context.pod_max_pids;
        let limits = |spec| PodLimits { pids, ..resources::pod_limits(spec) };
        let (old, new) = (limits(&world.spec_as_it_runs()), limits(world.spec()));
        let group = context.cgroup(world.pod.metadata.uid.as_deref().unwrap_or_default());
        if let (Some(wanted), Some(before)) = (new.memory, old.memory)
            && wanted < before
            && !context.is_systemd
        {
            let used = cgroups::memory(&context.layout, &group);
            if used > u64::try_from(wanted).unwrap_or(0) {
                return Err(format!(
                    "attempting to set pod memory limit ({wanted}) below current usage ({used})"
                ));
            }
        }
        self.limit_pod(&group, loosest(old, new)).await?;
        for container in lasting(world.spec()) {
            let latest = world.latest(&container.name).filter(|seen| ids.contains(&seen.id));
            let Some(seen) = latest else { continue };
            let limits = config::limits(world.spec(), container, context.memory);
            let done = context.runtime.update_container(&seen.id, limits).await;
            done.map_err(|failure| format!("container {}: {failure}", container.name))?;
            let own = container.resources.clone().unwrap_or_default();
            self.memory.resized.insert(seen.id.clone(), own);
        }
        self.limit_pod(&group, new).await?;
        self.memory.whole = Some(world.spec().resources.clone().unwrap_or_default());
        Ok(())
    }

    async fn limit_pod(&self, group: &str, limits: PodLimits) -> Result<(), String> {
        if self.context.is_systemd {
            return Ok(());
        }
        let (context, group) = (Arc::clone(&self.context), group.to_owned());
        let done = blocking(move || cgroups::make(&context.layout, &group, &limits)).await?;
        done.map_err(|error| format!("the pod's cgroup: {error}"))
    }
}
