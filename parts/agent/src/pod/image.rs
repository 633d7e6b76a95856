//! Images of a pod's containers (spec E20 to E23).

use super::{Worker, container, reference};
use crate::config::ImageUser;
use crate::cri::v1;
use crate::text::go_duration;
use crate::words::reason;
use crate::world::{RESIZE, World};
use k8s_openapi::api::core::v1::{Container, Pod};

/// An image that can be used.
#[derive(Debug)]
pub(super) struct Ready {
    /// What the runtime calls it.
    pub(super) id: String,
    pub(super) user: ImageUser,
}

/// Whether and when to ask the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(container: &Container) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some(_) => Policy::IfNotPresent,
        None => {
            let image = container.image.as_deref().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or_default();
            let is_latest =
                !last.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
            if is_latest { Policy::Always } else { Policy::IfNotPresent }
        }
    }
}

/// An image that is here is used without asking the registry, and its name can be read.
pub(super) fn is_taken_as_it_is(container: &Container) -> bool {
    policy(container) != Policy::Always
        && reference::fault(container.image.as_deref().unwrap_or_default()).is_none()
}

fn ready(image: v1::Image) -> Ready {
    Ready {
        id: image.id,
        user: ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username },
    }
}

impl Worker {
    /// Another image is tried at once: what was noted of the one before says nothing of it.
    pub(super) fn note_images(&mut self, pod: &Pod) {
        // another wish does not wait for the failure of the one before
        if self.generation != pod.metadata.generation {
            self.generation = pod.metadata.generation;
            self.memory.troubles.remove(RESIZE);
        }
        let spec = pod.spec.iter();
        let all = spec
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        for container in all {
            let image = container.image.clone().unwrap_or_default();
            let before = self.images.insert(container.name.clone(), image.clone());
            if before.is_some_and(|before| before != image) {
                self.memory.troubles.remove(&container.name);
                self.memory.restarts.remove(&container.name);
            }
        }
    }

    /// Makes sure that a container's image is here. A failure is noted and told.
    pub(super) async fn ensure_image(
        &mut self,
        world: &World,
        container: &Container,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<Ready, ()> {
        let name = container.image.clone().unwrap_or_default();
        let policy = policy(container);
        if let Some(fault) = reference::fault(&name) {
            let text = format!(
                "Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": {fault}"
            );
            let (pod, why) = (&world.pod, reason::INVALID_IMAGE_NAME);
            self.context.tell(pod, &container.name, true, reason::INSPECT_FAILED, text.clone());
            self.tell_error(world, &container.name, why);
            self.failed(&container.name, why, text);
            return Err(());
        }
        let ahead = self.ahead.image(&container.name, &name);
        let asked = match ahead {
            Some(known) => Ok(Some(known)),
            None => self.context.runtime.image(&name).await,
        };
        let found = match asked {
            Ok(found) => found,
            Err(failure) => {
                let reason = reason::IMAGE_INSPECT_ERROR;
                let text = format!("Failed to inspect image \"{name}\": {failure}");
                let pod = &world.pod;
                self.context.tell(pod, &container.name, true, reason::INSPECT_FAILED, text.clone());
                self.tell_error(world, &container.name, reason);
                self.failed(&container.name, reason, text);
                return Err(());
            }
        };
        match (policy, found) {
            (Policy::Never | Policy::IfNotPresent, Some(image)) => {
                let text = format!("Container image \"{name}\" already present on machine");
                self.context.tell(&world.pod, &container.name, false, reason::PULLED, text);
                Ok(ready(image))
            }
            (Policy::Never, None) => {
                let text =
                    format!("Container image \"{name}\" is not present with pull policy of Never");
                let (pod, why) = (&world.pod, reason::ERR_IMAGE_NEVER_PULL);
                self.context.tell(pod, &container.name, true, why, text.clone());
                self.tell_error(world, &container.name, why);
                self.failed(&container.name, why, text);
                Err(())
            }
            (Policy::Always | Policy::IfNotPresent, _) => {
                self.pull(world, container, &name, sandbox_config).await
            }
        }
    }

    async fn pull(
        &mut self,
        world: &World,
        container: &Container,
        name: &str,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<Ready, ()> {
        // a pull may take long: what else was asked for ahead is asked for again
        self.ahead = super::ahead::Ahead::default();
        let context = std::sync::Arc::clone(&self.context);
        let asked = tokio::time::Instant::now();
        let text = format!("Pulling image \"{name}\"");
        context.tell(&world.pod, &container.name, false, reason::PULLING, text);
        let auth = context.credentials(&world.pod, name).await;
        // the semaphore lives as long as the agent and is never closed
        let _permit = context.pulls.acquire().await.map_err(drop)?;
        let begun = tokio::time::Instant::now();
        let pulled = context.runtime.pull(name, auth, sandbox_config).await;
        let (whole, own) = (asked.elapsed(), begun.elapsed());
        let problem = match pulled {
            Ok(_) => match context.runtime.image(name).await {
                Ok(Some(image)) => {
                    let text = format!(
                        "Successfully pulled image \"{name}\" in {} ({} including waiting). Image size: {} bytes.",
                        go_duration(round(own)),
                        go_duration(round(whole)),
                        image.size
                    );
                    context.tell(&world.pod, &container.name, false, reason::PULLED, text);
                    return Ok(ready(image));
                }
                Ok(None) => "the runtime pulled it and does not have it".to_owned(),
                Err(failure) => failure.message,
            },
            Err(failure) => failure.message,
        };
        let text = format!("Failed to pull image \"{name}\": {problem}");
        context.tell(&world.pod, &container.name, true, reason::FAILED, text);
        self.tell_error(world, &container.name, reason::ERR_IMAGE_PULL);
        self.failed(&container.name, reason::ERR_IMAGE_PULL, problem);
        Err(())
    }

    fn tell_error(&self, world: &World, container: &str, what: &str) {
        let text = format!("Error: {what}");
        self.context.tell(&world.pod, container, true, reason::FAILED, text);
    }

    /// A failed pull was shown as such for a while: from now on it is a wait.
    pub(super) fn settle_pulls(&mut self) {
        let desired = self.desired.borrow().clone();
        let spec = desired.pod.spec.clone().unwrap_or_default();
        let pulls = self.memory.troubles.iter_mut();
        for (name, trouble) in pulls.filter(|(_, t)| t.reason == reason::ERR_IMAGE_PULL) {
            let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            let one = all.find(|one| one.name == *name);
            let image = one.and_then(|one| one.image.as_deref()).unwrap_or_default();
            let text = format!("Back-off pulling image \"{image}\"");
            trouble.message = format!("{text}: ErrImagePull: {}", trouble.message);
            trouble.reason = reason::IMAGE_PULL_BACK_OFF;
            self.context.tell(&desired.pod, name, false, reason::BACK_OFF, text);
            let text = format!("Error: {}", reason::IMAGE_PULL_BACK_OFF);
            self.context.tell(&desired.pod, name, true, reason::FAILED, text);
        }
    }

    /// Looks a container up by name.
    pub(super) fn by_name(world: &World, name: &str) -> Option<Container> {
        container(world, name).cloned().or_else(|| world.ephemeral(name))
    }
}

/// To the millisecond.
fn round(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_policy_only_latest_asks_the_registry() {
        let cases = [
            ("busybox", Policy::Always),
            ("r:5000/busybox", Policy::Always),
            ("busybox:latest", Policy::Always),
            ("busybox:1.36", Policy::IfNotPresent),
            ("busybox@sha256:00", Policy::IfNotPresent),
        ];
        for (image, wanted) in cases {
            let one = Container { image: Some(image.to_owned()), ..Container::default() };
            assert_eq!(policy(&one), wanted, "{image}");
        }
    }
}
