//! Environment, command and arguments of a container (spec E32, E64). Pure.

use crate::resources::{Kind, milli};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret, Service,
    ServiceAccountTokenProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

mod services;

/// ConfigMaps and Secrets that a pod names, as far as they exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, ConfigMap>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Tokens of the pod's service account, or why there is none.
    pub(crate) tokens: BTreeMap<TokenKey, Result<String, String>>,
    /// The services of the pod's namespace, where its containers are told of them; `None`: not known.
    pub(crate) services: Option<Vec<Service>>,
}

/// What a token of the pod's service account is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    /// Empty: the API server.
    pub(crate) audience: String,
    /// How long it is asked to be good.
    pub(crate) seconds: i64,
}

impl TokenKey {
    /// From the volume that wants it; an hour where nothing is said (spec E54).
    pub(crate) fn of(source: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// Facts about where the pod runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) pod_addresses: Vec<String>,
    pub(crate) host_addresses: Vec<String>,
    /// What the node has for pods, for containers without a limit.
    pub(crate) allocatable: fit::Amounts,
    /// Host and port of the API server, as clients in pods reach it.
    pub(crate) server: (String, u16),
}

/// Replaces `$(NAME)` by its value; `$$` is one `$`; unknown names stay as they are.
pub(crate) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('(')
            && let Some(end) = after.find(')')
        {
            let name = &after[..end];
            if let Some(value) = value(name) {
                out.push_str(&value);
            } else {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
            rest = &after[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The environment in order; later entries of a name replace earlier ones in place.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    place: &Place,
) -> Result<Vec<(String, String)>, String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut set = |known: &mut BTreeMap<String, String>, name: &str, value: String| {
        if known.insert(name.to_owned(), value).is_none() {
            order.push(name.to_owned());
        }
    };
    for (name, value) in server(&place.server) {
        set(&mut known, name, value);
    }
    for (name, value) in services::variables(sources.services.as_deref().unwrap_or_default()) {
        set(&mut known, &name, value);
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(wanted) = &from.config_map_ref {
            match sources.config_maps.get(&wanted.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        set(&mut known, &format!("{prefix}{key}"), value.clone());
                    }
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(format!("configmap \"{}\" not found", wanted.name)),
            }
        }
        if let Some(wanted) = &from.secret_ref {
            match sources.secrets.get(&wanted.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        let value = String::from_utf8_lossy(&value.0).into_owned();
                        set(&mut known, &format!("{prefix}{key}"), value);
                    }
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(format!("secret \"{}\" not found", wanted.name)),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => {
                let text = variable.value.as_deref().unwrap_or_default();
                Some(expand(text, |name| known.get(name).cloned()))
            }
            Some(from) => value_from(pod, container, from, sources, place)?,
        };
        if let Some(value) = value {
            set(&mut known, &variable.name, value);
        }
    }
    Ok(order.into_iter().filter_map(|name| known.remove_entry(&name)).collect())
}

/// How clients inside the cluster find the API server: the variables of the service `kubernetes`.
fn server((host, port): &(String, u16)) -> Vec<(&'static str, String)> {
    if host.is_empty() {
        return Vec::new();
    }
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let place = format!("tcp://{bracketed}:{port}");
    vec![
        ("KUBERNETES_SERVICE_HOST", host.clone()),
        ("KUBERNETES_SERVICE_PORT", port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", port.to_string()),
        ("KUBERNETES_PORT", place.clone()),
        ("KUBERNETES_PORT_443_TCP", place),
        ("KUBERNETES_PORT_443_TCP_PROTO", "tcp".to_owned()),
        ("KUBERNETES_PORT_443_TCP_PORT", port.to_string()),
        ("KUBERNETES_PORT_443_TCP_ADDR", host.clone()),
    ]
}

fn value_from(
    pod: &Pod,
    container: &Container,
    from: &k8s_openapi::api::core::v1::EnvVarSource,
    sources: &Sources,
    place: &Place,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &from.field_ref {
        return field_value(pod, field, place).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_value(pod, container, resource, place).map(Some);
    }
    if let Some(wanted) = &from.config_map_key_ref {
        let is_optional = wanted.optional == Some(true);
        let Some(map) = sources.config_maps.get(&wanted.name) else {
            let missing = Err(format!("configmap \"{}\" not found", wanted.name));
            return if is_optional { Ok(None) } else { missing };
        };
        return match map.data.as_ref().and_then(|data| data.get(&wanted.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if is_optional => Ok(None),
            None => Err(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                wanted.key, wanted.name
            )),
        };
    }
    if let Some(wanted) = &from.secret_key_ref {
        let is_optional = wanted.optional == Some(true);
        let Some(secret) = sources.secrets.get(&wanted.name) else {
            let missing = Err(format!("secret \"{}\" not found", wanted.name));
            return if is_optional { Ok(None) } else { missing };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&wanted.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if is_optional => Ok(None),
            None => Err(format!(
                "couldn't find key {} in Secret {namespace}/{}",
                wanted.key, wanted.name
            )),
        };
    }
    Err("valueFrom names a source that this agent does not know".to_owned())
}

/// A field of the pod (spec E64).
pub(crate) fn field_value(
    pod: &Pod,
    field: &ObjectFieldSelector,
    place: &Place,
) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    let quoted = |map: Option<&BTreeMap<String, String>>| {
        let lines: Vec<String> =
            map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
        lines.join("\n")
    };
    let inside = |prefix: &str| {
        path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']").map(str::to_owned)
    };
    match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => Ok(quoted(meta.labels.as_ref())),
        "metadata.annotations" => Ok(quoted(meta.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => text(place.host_addresses.first()),
        "status.hostIPs" => Ok(place.host_addresses.join(",")),
        "status.podIP" => text(place.pod_addresses.first()),
        "status.podIPs" => Ok(place.pod_addresses.join(",")),
        _ => {
            if let Some(key) = inside("metadata.labels") {
                return text(meta.labels.as_ref().and_then(|map| map.get(&key)));
            }
            if let Some(key) = inside("metadata.annotations") {
                return text(meta.annotations.as_ref().and_then(|map| map.get(&key)));
            }
            Err(format!("unsupported fieldPath: {path}"))
        }
    }
}

/// A request or limit of a container, in units of the divisor, rounded up.
pub(crate) fn resource_value(
    pod: &Pod,
    container: &Container,
    wanted: &ResourceFieldSelector,
    place: &Place,
) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let container = match wanted.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => container,
        Some(name) => spec
            .into_iter()
            .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
            .find(|container| container.name == name)
            .ok_or_else(|| format!("container {name} not found"))?,
    };
    let (kind, name) = match wanted.resource.split_once('.') {
        Some(("limits", name)) => (Kind::Limit, name),
        Some(("requests", name)) => (Kind::Request, name),
        _ => return Err(format!("unsupported container resource : {}", wanted.resource)),
    };
    let mut amount = milli(container, name, kind);
    if let (0, Kind::Limit, Some(spec)) = (amount, kind, spec) {
        amount = crate::resources::limit(spec, container, name);
    }
    if amount == 0 && matches!(kind, Kind::Limit) {
        amount = match name {
            "cpu" | "memory" | "ephemeral-storage" => place.allocatable.get(name),
            _ => 0,
        };
    }
    let divisor = wanted.divisor.as_ref().map_or(1000, thousandths);
    let divisor = if divisor <= 0 { 1000 } else { divisor };
    Ok(((amount + divisor - 1) / divisor).to_string())
}

fn thousandths(quantity: &Quantity) -> i128 {
    let one = BTreeMap::from([("one".to_owned(), quantity.clone())]);
    fit::Amounts::parse(Some(&one)).get("one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "a\"b"}},
            "spec": {"nodeName": "edge-1", "containers": [container]}
        }))
        .unwrap()
    }

    fn allocatable() -> fit::Amounts {
        let list = json!({"cpu": "2", "memory": "1Gi", "ephemeral-storage": "3Gi"});
        fit::Amounts::parse(Some(&serde_json::from_value(list).unwrap()))
    }

    fn run(
        container: serde_json::Value,
        sources: &Sources,
    ) -> Result<Vec<(String, String)>, String> {
        let pod = pod(container);
        let place = Place {
            pod_addresses: vec!["10.1.0.5".to_owned()],
            host_addresses: vec!["192.0.2.1".to_owned()],
            allocatable: allocatable(),
            server: (String::new(), 0),
        };
        environment(&pod, &pod.spec.as_ref().unwrap().containers[0], sources, &place)
    }

    #[test]
    fn variables_expand_from_earlier_ones_only() {
        let env = json!([
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(C)-$$(A)-$A"},
            {"name": "C", "value": "$(B)"}
        ]);
        let got = run(json!({"name": "c", "env": env}), &Sources::default()).unwrap();
        assert_eq!(got[1], ("B".to_owned(), "1-$(C)-$(A)-$A".to_owned()));
        assert_eq!(got[2].1, got[1].1);
    }

    #[test]
    fn expansion_leaves_broken_references_alone() {
        let none = |_: &str| None;
        for text in ["$", "$(", "$(A", "$)", "a$", "$$$", "ü$(ä"] {
            let wanted = if text == "$$$" { "$$" } else { text };
            assert_eq!(expand(text, none), wanted);
        }
    }

    #[test]
    fn fields_and_resources_come_from_the_pod_and_its_node() {
        let env = json!([
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "DISK", "valueFrom": {"resourceFieldRef": {"resource": "limits.ephemeral-storage", "divisor": "1Gi"}}}
        ]);
        let resources = json!({"requests": {"cpu": "1500m"}});
        let got =
            run(json!({"name": "c", "env": env, "resources": resources}), &Sources::default())
                .unwrap();
        let values: Vec<&str> = got.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["edge-1", "10.1.0.5", "a\"b", "2", "1024", "3"]);
    }

    #[test]
    fn a_missing_key_is_named_as_upstream_names_it() {
        let env =
            json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]);
        let container = json!({"name": "c", "env": env});
        let mut sources = Sources::default();
        assert_eq!(run(container.clone(), &sources).unwrap_err(), "configmap \"m\" not found");
        sources.config_maps.insert("m".to_owned(), ConfigMap::default());
        assert_eq!(run(container, &sources).unwrap_err(), "couldn't find key k in ConfigMap ns/m");
    }

    #[test]
    fn an_optional_key_that_is_missing_leaves_the_variable_out() {
        let from = json!({"secretKeyRef": {"name": "s", "key": "k", "optional": true}});
        let env = json!([{"name": "A", "valueFrom": from}]);
        assert_eq!(run(json!({"name": "c", "env": env}), &Sources::default()).unwrap(), []);
    }
}
