//! Containers that are added to a pod that runs, to look into it (`kubectl debug`). They start once, whatever the others
//! do, and never again; the pod's phase and readiness do not depend on them.

use super::World;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer};

/// The same as any other container, with what such a one may have.
fn plain(one: &EphemeralContainer) -> Container {
    let one = one.clone();
    Container {
        name: one.name,
        image: one.image,
        image_pull_policy: one.image_pull_policy,
        command: one.command,
        args: one.args,
        working_dir: one.working_dir,
        env: one.env,
        env_from: one.env_from,
        volume_mounts: one.volume_mounts,
        volume_devices: one.volume_devices,
        security_context: one.security_context,
        resources: one.resources,
        stdin: one.stdin,
        stdin_once: one.stdin_once,
        tty: one.tty,
        termination_message_path: one.termination_message_path,
        termination_message_policy: one.termination_message_policy,
        ..Container::default()
    }
}

impl World {
    fn added(&self) -> impl Iterator<Item = &EphemeralContainer> {
        self.spec().ephemeral_containers.iter().flatten()
    }

    /// All of them.
    pub(crate) fn ephemerals(&self) -> Vec<Container> {
        self.added().map(plain).collect()
    }

    /// One of them.
    pub(crate) fn ephemeral(&self, name: &str) -> Option<Container> {
        self.added().find(|one| one.name == name).map(plain)
    }

    /// Whether this is the name of one.
    pub(crate) fn is_ephemeral(&self, name: &str) -> bool {
        self.added().any(|one| one.name == name)
    }

    /// The runtime's id of the container whose processes this one is to see; `Err` names one that is not there.
    pub(crate) fn target_of(&self, name: &str) -> Result<Option<String>, String> {
        let wanted = self.added().find(|one| one.name == name);
        let wanted = wanted.and_then(|one| one.target_container_name.as_deref());
        let Some(target) = wanted.filter(|target| !target.is_empty()) else { return Ok(None) };
        match self.latest(target) {
            Some(seen) => Ok(Some(seen.id.clone())),
            None => Err(format!("unable to find target container {target}")),
        }
    }
}
