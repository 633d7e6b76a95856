//! What the runtime knows of a pod.

use super::{Desired, Worker, last_words};
use crate::words;
use crate::world::{Sandbox, Seen, State, WHOLE_POD, World, whole_at_first};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Worker {
    /// The runtime's state of this pod.
    pub(super) async fn observe(&mut self, desired: Desired) -> Result<World, crate::cri::Failure> {
        let context = Arc::clone(&self.context);
        let uid = desired.pod.metadata.uid.clone().unwrap_or_default();
        let labels: BTreeMap<String, String> =
            [(words::OUR_NODE.to_owned(), context.name.clone()), (words::POD_UID.to_owned(), uid)]
                .into();
        let (sandboxes, containers) = futures::try_join!(
            context.runtime.sandboxes(&labels),
            context.runtime.containers(&labels)
        )?;
        let mut list = Vec::with_capacity(sandboxes.len());
        for sandbox in sandboxes {
            let is_ready = sandbox.state() == crate::cri::v1::PodSandboxState::SandboxReady;
            list.push(Sandbox {
                addresses: self.addresses_of(&sandbox.id, is_ready).await,
                attempt: sandbox.metadata.unwrap_or_default().attempt,
                id: sandbox.id,
                is_ready,
                created_at: sandbox.created_at,
            });
        }
        list.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
        let mut seen = Vec::with_capacity(containers.len());
        for container in &containers {
            if let Some(one) = self.detail(container).await? {
                seen.push(one);
            }
        }
        seen.sort_by_key(|one| std::cmp::Reverse(one.created_at));
        self.details.retain(|id, _| seen.iter().any(|one| one.id == *id));
        self.memory.resized.retain(|id, _| seen.iter().any(|one| one.id == *id));
        self.memory.renewed.retain(|id| seen.iter().any(|one| one.id == *id));
        self.memory.whole.get_or_insert_with(|| whole_at_first(&desired.pod));
        self.addresses.retain(|id, _| list.iter().any(|one| one.id == *id));
        let is_deleted = !desired.is_known || desired.pod.metadata.deletion_timestamp.is_some();
        let is_ending = is_deleted || self.memory.ending.is_some();
        if is_ending && self.memory.stopping_since.is_none() {
            self.memory.stopping_since = Some(context.setup.clock.now());
            // whatever held up the start does not hold up the end
            self.memory.troubles.remove(WHOLE_POD);
        }
        self.memory.health = self.probes.look(&desired, is_ending, &seen, &list);
        let network = context.network.borrow().clone();
        Ok(World {
            pod: desired.pod,
            is_known: desired.is_known,
            sandboxes: list,
            containers: seen,
            memory: self.memory.clone(),
            network_trouble: network,
            is_disk_short: *self.short.borrow_and_update(),
            postponed: desired.postponed,
            host_addresses: context.addresses.clone(),
            runtime_name: Arc::clone(&context.runtime_name),
        })
    }

    async fn addresses_of(&mut self, id: &str, is_ready: bool) -> Vec<String> {
        if let Some(known) = self.addresses.get(id) {
            return known.clone();
        }
        if !is_ready {
            return Vec::new();
        }
        let Ok(status) = self.context.runtime.sandbox(id).await else { return Vec::new() };
        let network = status.network.unwrap_or_default();
        let all =
            std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        let all: Vec<String> = all.filter(|ip| !ip.is_empty()).collect();
        self.addresses.insert(id.to_owned(), all.clone());
        all
    }

    /// Details of a container, asked for again only when its state changed. `None`: it has just gone.
    async fn detail(
        &mut self,
        container: &crate::cri::v1::Container,
    ) -> Result<Option<Seen>, crate::cri::Failure> {
        use crate::cri::v1::ContainerState::{ContainerCreated, ContainerRunning};
        let state = match container.state() {
            ContainerCreated => State::Created,
            ContainerRunning => State::Running,
            _ => State::Exited,
        };
        if let Some(known) = self.details.get(&container.id)
            && known.state == state
        {
            return Ok(Some(known.clone()));
        }
        let status = match self.context.runtime.container(&container.id).await {
            Ok(status) => status,
            Err(failure) if failure.is_absent => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let mut seen = Seen::of(&container.pod_sandbox_id, &status);
        if seen.state == State::Exited {
            let message = last_words::read(&status);
            if !message.is_empty() {
                seen.message = message;
            }
        }
        self.details.insert(seen.id.clone(), seen.clone());
        Ok(Some(seen))
    }
}
