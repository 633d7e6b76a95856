//! What every pod's task needs from the node.

use crate::cgroups::Layout;
use crate::config::Setting;
use crate::cri::{Runtime, v1};
use crate::env::{Place, Sources};
use crate::reports::Reports;
use crate::tokens::Tokens;
use k8s_openapi::api::core::v1::{ConfigMap, Container, ObjectReference, Pod, Secret, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use kit::{Events, Note};
use kube::api::{Api, ListParams};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Images fetched at the same time. Upstream's default is one; with four a slow registry holds up only its own pods.
pub(crate) const PULLS_MAX: usize = 4;

/// Longest wait for what a pod names: a server that takes a request and never answers it must not hold up the pod for ever.
/// Ten seconds, as for a connection; whoever asks tries again with growing pauses.
const ANSWER_MAX: Duration = Duration::from_secs(10);

async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    within(ANSWER_MAX, work).await
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = |_| Err(format!("the server did not answer in {patience:?}"));
    tokio::time::timeout(patience, work).await.unwrap_or_else(late)
}

/// How long a container's restart waits for news of services: without them it has those of its start before.
const SERVICES_NEWS_MAX: Duration = Duration::from_millis(500);

/// The node, as its pods see it.
pub(crate) struct Context {
    pub(crate) setup: kit::Setup,
    pub(crate) client: kube::Client,
    pub(crate) runtime: Runtime,
    pub(crate) events: Events,
    pub(crate) reports: Reports,
    pub(crate) name: String,
    /// `--root-dir`.
    pub(crate) root: PathBuf,
    pub(crate) layout: Layout,
    pub(crate) cgroup_root: String,
    /// systemd owns the cgroups.
    pub(crate) is_systemd: bool,
    pub(crate) addresses: Vec<String>,
    /// What the node has for pods, as it was when the agent began.
    pub(crate) allocatable: fit::Amounts,
    /// `--pod-max-pids`.
    pub(crate) pod_max_pids: Option<u64>,
    /// Bytes.
    pub(crate) memory: u64,
    /// `containerd`, as in `containerd://ID`.
    pub(crate) runtime_name: Arc<str>,
    /// Why pods with a network of their own cannot start.
    pub(crate) network: watch::Receiver<Option<String>>,
    pub(crate) pulls: Arc<Semaphore>,
    pub(crate) tokens: Tokens,
    /// The node is short of disk or files at this moment: what is left of pods that are over goes.
    pub(crate) is_disk_short: watch::Sender<bool>,
    pub(crate) images: crate::images::Images,
    /// The kernel enforces AppArmor profiles.
    pub(crate) has_apparmor: bool,
    /// Host and port of the API server, for clients in pods.
    pub(crate) server: (String, u16),
    /// `/var/log/pods`
    pub(crate) pod_logs: PathBuf,
    /// `/var/log/containers`
    pub(crate) container_logs: PathBuf,
}

impl Context {
    /// The pod's cgroup, as the runtime wants it.
    pub(crate) fn cgroup(&self, uid: &str) -> String {
        if self.is_systemd {
            crate::cgroups::systemd_slice(uid)
        } else {
            crate::cgroups::pod_path(&self.cgroup_root, uid)
        }
    }

    /// What the node adds to a pod's configuration.
    pub(crate) fn setting(&self, uid: &str) -> Setting {
        let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Setting {
            node: self.name.clone(),
            cgroup_parent: self.cgroup(uid),
            logs: self.pod_logs.clone(),
            seccomp: self.root.join("seccomp"),
            memory: self.memory,
            resolv: crate::config::resolv(&resolv),
        }
    }

    /// Where a pod runs.
    pub(crate) fn place(&self, pod_addresses: Vec<String>) -> Place {
        Place {
            pod_addresses,
            host_addresses: self.addresses.clone(),
            allocatable: self.allocatable.clone(),
            server: self.server.clone(),
        }
    }

    /// Tells users something about a container, or about the pod if `container` is empty.
    pub(crate) fn tell(
        &self,
        pod: &Pod,
        container: &str,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let mut regarding: ObjectReference = kit::reference(pod);
        if !container.is_empty() {
            let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
            let is_init = inits.into_iter().any(|one| one.name == container);
            let added = pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
            let is_ephemeral = added.into_iter().any(|one| one.name == container);
            let list = match (is_init, is_ephemeral) {
                (true, _) => "initContainers",
                (_, true) => "ephemeralContainers",
                _ => "containers",
            };
            regarding.field_path = Some(format!("spec.{list}{{{container}}}"));
        }
        let note = if warning {
            Note::warning(regarding, reason, message)
        } else {
            Note::normal(regarding, reason, message)
        };
        self.events.publish(note);
    }

    /// Everything that the pod names by ConfigMap and Secret, and its tokens. What does not exist is left out; another failure is told.
    pub(crate) async fn sources(&self, pod: &Pod) -> Result<Sources, String> {
        let now = self.setup.clock.now();
        let tokens = async { Ok(self.tokens.of(&self.client, pod, now).await) };
        let (fetched, tokens) = futures::join!(self.fetch(pod, names(pod)), in_time(tokens));
        Ok(Sources { tokens: tokens?, ..fetched? })
    }

    /// What the environment of one container names. `known`: the services of its start before; `is_first`: it has none to
    /// fall back on, and does not start before the server has told them.
    pub(crate) async fn environment_of(
        &self,
        pod: &Pod,
        container: &Container,
        known: Option<Vec<Service>>,
        is_first: bool,
    ) -> Result<Sources, String> {
        let mut names = Names::default();
        names.add(container);
        let patience = if is_first { ANSWER_MAX } else { SERVICES_NEWS_MAX };
        let told = within(patience, self.services_of(pod));
        let (fetched, services) = futures::join!(self.fetch(pod, names), told);
        let services = match services {
            Ok(services) => Some(services),
            Err(problem) if is_first => {
                return Err(format!(
                    "services have not yet been read at least once, cannot construct envvars: {problem}"
                ));
            }
            Err(problem) => {
                tracing::warn!(container = container.name, "no news of the services: {problem}");
                known
            }
        };
        Ok(Sources { services, ..fetched? })
    }

    /// The services that the pod's containers are told of (`enableServiceLinks`), as they are now.
    async fn services_of(&self, pod: &Pod) -> Result<Vec<Service>, String> {
        if pod.spec.as_ref().and_then(|spec| spec.enable_service_links) == Some(false) {
            return Ok(Vec::new());
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let listed = api.list(&ListParams::default()).await;
        listed.map(|list| list.items).map_err(|error| error.to_string())
    }

    async fn fetch(&self, pod: &Pod, names: Names) -> Result<Sources, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let mut sources = Sources::default();
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        for name in names.maps {
            if let Some(map) =
                in_time(async { api.get_opt(&name).await.map_err(|error| error.to_string()) })
                    .await?
            {
                sources.config_maps.insert(name, map);
            }
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        for name in names.secrets {
            if let Some(secret) =
                in_time(async { api.get_opt(&name).await.map_err(|error| error.to_string()) })
                    .await?
            {
                sources.secrets.insert(name, secret);
            }
        }
        Ok(sources)
    }

    /// The runtime's handler that the pod asks for by its class; empty for the runtime's own choice.
    pub(crate) async fn handler(&self, pod: &Pod) -> Result<String, String> {
        let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
        let Some(class) = class.filter(|class| !class.is_empty()) else {
            return Ok(String::new());
        };
        let api: Api<RuntimeClass> = Api::all(self.client.clone());
        let asked = async { api.get_opt(class).await.map_err(|error| error.to_string()) };
        match in_time(asked).await {
            Ok(Some(found)) => Ok(found.handler),
            Ok(None) => Err(format!("RuntimeClass \"{class}\" not found")),
            Err(error) => Err(format!("looking up the RuntimeClass \"{class}\": {error}")),
        }
    }

    /// Credentials for an image from the pod's pull secrets, if one of them knows its registry.
    pub(crate) async fn credentials(&self, pod: &Pod, image: &str) -> Option<v1::AuthConfig> {
        let spec = pod.spec.as_ref()?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        for wanted in spec.image_pull_secrets.iter().flatten() {
            let asked =
                async { api.get_opt(&wanted.name).await.map_err(|error| error.to_string()) };
            let secret = in_time(asked).await.ok().flatten();
            let Some(secret) = secret else {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    wanted.name
                );
                self.tell(pod, "", true, "FailedToRetrieveImagePullSecret", message);
                continue;
            };
            let data = secret.data.unwrap_or_default();
            if let Some(config) = data.get(".dockerconfigjson")
                && let Some(found) = registry_auth(&config.0, image)
            {
                return Some(found);
            }
        }
        None
    }
}

/// The entry for an image's registry in a docker configuration.
fn registry_auth(config: &[u8], image: &str) -> Option<v1::AuthConfig> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let registry = match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    };
    let entry = config.get("auths")?.as_object()?.iter().find_map(|(key, entry)| {
        let host = key.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        let is_docker = registry == "docker.io" && host == "index.docker.io";
        (host == registry || is_docker).then_some(entry)
    })?;
    let text = |key: &str| entry.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    Some(v1::AuthConfig {
        username: text("username"),
        password: text("password"),
        auth: text("auth"),
        ..v1::AuthConfig::default()
    })
}

/// Names of ConfigMaps and Secrets.
#[derive(Debug, Default)]
struct Names {
    maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Names {
    /// Those in a container's environment.
    fn add(&mut self, container: &Container) {
        for from in container.env_from.iter().flatten() {
            self.maps.extend(from.config_map_ref.iter().map(|one| one.name.clone()));
            self.secrets.extend(from.secret_ref.iter().map(|one| one.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|one| one.value_from.as_ref()) {
            self.maps.extend(from.config_map_key_ref.iter().map(|one| one.name.clone()));
            self.secrets.extend(from.secret_key_ref.iter().map(|one| one.name.clone()));
        }
    }
}

/// Those that a pod names anywhere.
fn names(pod: &Pod) -> Names {
    let mut all = Names::default();
    let Some(spec) = &pod.spec else { return all };
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        all.add(container);
    }
    for volume in spec.volumes.iter().flatten() {
        all.maps.extend(volume.config_map.iter().map(|one| one.name.clone()));
        all.secrets.extend(volume.secret.iter().filter_map(|one| one.secret_name.clone()));
        for one in volume.projected.iter().flat_map(|one| one.sources.iter().flatten()) {
            all.maps.extend(one.config_map.iter().map(|one| one.name.clone()));
            all.secrets.extend(one.secret.iter().map(|one| one.name.clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_needs_nothing_of_the_pods_volumes() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "m"}}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
            "volumes": [{"name": "v", "configMap": {"name": "kube-root-ca.crt"}}]}}))
        .unwrap();
        let mut own = Names::default();
        own.add(&pod.spec.as_ref().unwrap().containers[0]);
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!((list(&own.maps), list(&own.secrets)), ("m".into(), "s".into()));
        assert_eq!(list(&names(&pod).maps), "kube-root-ca.crt m");
    }

    #[test]
    fn credentials_are_found_by_registry() {
        let config =
            br#"{"auths": {"https://r.example:5000/v2/": {"username": "u", "password": "p"}}}"#;
        assert_eq!(registry_auth(config, "r.example:5000/a/b:1").unwrap().username, "u");
        assert_eq!(registry_auth(config, "busybox"), None);
    }
}
