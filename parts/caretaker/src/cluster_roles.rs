//! Duty: ClusterRoles that gather the rules of others by label.
//!
//! Upstream's controller: `clusterrole-aggregation-controller`.

mod plan;

use crate::{Options, words};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kit::{Cache, Key, Queue, QueueLimits};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

struct Gatherer {
    client: Client,
    roles: Cache<ClusterRole>,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let duty = Arc::new(Gatherer {
        client: (options.client_for)(words::CONTROLLER_ROLES),
        roles: options.caches.of(),
    });
    let queue: Queue<Key> = Queue::new("cluster roles", QueueLimits::default(), &options.setup);
    let roles = duty.roles.clone();
    // any role may be part of any that gathers
    let keys = move |_: &ClusterRole| {
        let all = roles.list();
        let gathering = all.iter().filter(|role| role.aggregation_rule.is_some());
        gathering.map(|role| Key::of(role.as_ref())).collect()
    };
    let tasks = &options.setup.tasks;
    tasks.spawn("cluster roles feed", kit::feed(duty.roles.clone(), queue.clone(), keys, Vec::new));
    let work = kit::work(queue, move |key: Key| {
        let duty = Arc::clone(&duty);
        async move { duty.reconcile(&key).await }
    });
    tasks.spawn("cluster roles", work);
}

impl Gatherer {
    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(role) = self.roles.get(key) else { return Ok(None) };
        let Some(rules) = plan::gathered(&role, &self.roles.list()) else { return Ok(None) };
        let patch = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": key.name}, "rules": rules,
        });
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        let params = PatchParams::apply(words::CONTROLLER_ROLES).force();
        crate::gone(api.patch(&key.name, &params, &Patch::Apply(patch)).await)?;
        Ok(None)
    }
}
