//! What the first container needs beside its sandbox is asked for while the sandbox is made.

use super::{Worker, image};
use crate::context::Context;
use crate::cri::v1;
use crate::env::Sources;
use crate::world::World;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Until when an answer counts as one of now, from when it was asked for: longer than most sandboxes take on a machine
/// that makes a hundred at once, and a sixth of what upstream's agent lets a ConfigMap be behind at most (one minute).
const FRESH: Duration = Duration::from_secs(10);

/// Answers for one container, each used once, and only soon: a start that has to wait for its image, or was tried in vain,
/// asks again.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    container: String,
    /// When they were asked for.
    asked: Option<Instant>,
    image: Option<(String, v1::Image)>,
    sources: Option<Sources>,
}

impl Ahead {
    /// The image of this name, if it was found.
    pub(super) fn image(&mut self, container: &str, name: &str) -> Option<v1::Image> {
        let is_fresh = self.is_fresh();
        let (known, image) =
            self.image.take_if(|_| self.container == container).filter(|_| is_fresh)?;
        (known == name).then_some(image)
    }

    /// What the container's environment names.
    pub(super) fn sources(&mut self, container: &str) -> Option<Sources> {
        let is_fresh = self.is_fresh();
        self.sources.take_if(|_| self.container == container).filter(|_| is_fresh)
    }

    fn is_fresh(&self) -> bool {
        self.asked.is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// The container that is started first in a new sandbox.
fn first(pod: &Pod) -> Option<&Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).next()
}

/// What is there at once. A failure is found again, and told, when the container is started.
async fn look(context: Arc<Context>, pod: Arc<Pod>, asks_for_environment: bool) -> Ahead {
    let Some(container) = first(&pod) else { return Ahead::default() };
    let asked = Some(Instant::now());
    let name = container.image.clone().unwrap_or_default();
    let image = async {
        let found = if image::is_taken_as_it_is(container) {
            context.runtime.image(&name).await.ok().flatten()
        } else {
            None
        };
        found.map(|image| (name.clone(), image))
    };
    let sources = async {
        if asks_for_environment {
            context.environment_of(&pod, container, None, true).await.ok()
        } else {
            None
        }
    };
    let (image, sources) = futures::join!(image, sources);
    Ahead { container: container.name.clone(), asked, image, sources }
}

impl Worker {
    /// Waits for a sandbox, and looks ahead meanwhile. What is not known when the sandbox is there is given up.
    pub(super) async fn while_made<T>(
        &mut self,
        world: &World,
        making: impl Future<Output = T>,
    ) -> T {
        let is_new = world.containers.is_empty() && self.environments.is_empty();
        let looking = look(Arc::clone(&self.context), Arc::clone(&world.pod), is_new);
        let mut ahead = Box::pin(looking);
        let mut making = Box::pin(making);
        let mut found = None;
        let made = loop {
            tokio::select! {
                biased;
                made = &mut making => break made,
                known = &mut ahead, if found.is_none() => found = Some(known),
            }
        };
        self.ahead = found.unwrap_or_default();
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_one_container_and_one_image_and_is_used_once() {
        let mut ahead = Ahead {
            container: "c".into(),
            asked: Some(Instant::now()),
            image: Some(("a:1".into(), v1::Image { id: "i".into(), ..v1::Image::default() })),
            sources: Some(Sources::default()),
        };
        assert!(ahead.sources("other").is_none() && ahead.image("other", "a:1").is_none());
        assert!(ahead.sources("c").is_some() && ahead.sources("c").is_none());
        assert!(ahead.image("c", "a:2").is_none(), "another image is asked for by now");
        assert!(ahead.image("c", "a:1").is_none(), "and the old answer is given up");
    }

    #[test]
    fn init_containers_come_first() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}}))
        .unwrap();
        assert_eq!(first(&pod).unwrap().name, "i");
    }
}
