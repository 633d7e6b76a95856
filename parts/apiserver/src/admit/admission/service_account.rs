//! ServiceAccount: every pod runs as somebody, and finds a token for the API where programs look for it.

use super::{Attributes, Operation, View};
use crate::admit::json::{Json, JsonMut};
use api::Status;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// As whom pods run that do not say.
const DEFAULT: &str = "default";
/// Where programs look for the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Names of the volume are this and letters.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Marks pods that a node made up from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// On a service account: its pods use only the secrets that it lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// Life of the token in seconds: an hour, and the seven seconds by which the issuer knows clients that may not
/// renew it (`verbs::token`).
const TOKEN_SECONDS: i64 = 3607;

/// The lists of containers that exist when a pod is made, with the words for one of them.
const LISTS: [(&str, &str); 2] =
    [("initContainers", "init container"), ("containers", "container")];

fn is_mirror(pod: &Value) -> bool {
    pod.at("metadata").at("annotations").has(MIRROR)
}

fn account_of(
    pod: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<Arc<Value>, Status> {
    let (namespace, name) = (attributes.namespace, pod.at("spec").text("serviceAccountName"));
    view.get("", "serviceaccounts", namespace, name).ok_or_else(|| {
        attributes.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ))
    })
}

/// Gives a new pod its account, the token's volume and the account's pull secrets.
pub(super) fn assign(
    pod: &mut Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    if is_mirror(pod) {
        return validate(pod, attributes, view);
    }
    let spec = pod.object("spec");
    spec.fill_text("serviceAccountName", DEFAULT);
    let name = spec.text("serviceAccountName").to_owned();
    spec.set("serviceAccount", name);
    let account = account_of(pod, attributes, view)?;
    let spec = pod.object("spec");
    let wanted =
        [spec.at("automountServiceAccountToken"), account.at("automountServiceAccountToken")];
    let mounts = wanted.iter().find_map(|said| said.as_bool()).unwrap_or(true);
    if mounts {
        mount(spec, attributes.suffix);
    }
    let secrets = account.list("imagePullSecrets");
    if spec.list("imagePullSecrets").is_empty() && !secrets.is_empty() {
        spec.set("imagePullSecrets", secrets.to_vec());
    }
    validate(pod, attributes, view)
}

/// Mounts the token in every container that has nothing at its place.
fn mount(spec: &mut Value, suffix: &str) {
    let volumes = spec.list("volumes").iter();
    let found =
        volumes.map(|volume| volume.text("name")).find(|name| name.starts_with(VOLUME_PREFIX));
    let is_there = found.is_some();
    let name = found.map_or_else(|| format!("{VOLUME_PREFIX}{suffix}"), str::to_owned);
    let mut needed = false;
    for (list, _) in LISTS {
        for container in spec.items(list) {
            let mut mounts = container.list("volumeMounts").to_vec();
            if mounts.iter().all(|mount| mount.text("mountPath") != MOUNT_PATH) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                container.set("volumeMounts", mounts);
                needed = true;
            }
        }
    }
    if needed && !is_there {
        let mut volumes = spec.list("volumes").to_vec();
        volumes
            .push(json!({"name": name, "projected": {"sources": sources(), "defaultMode": 0o644}}));
        spec.set("volumes", volumes);
    }
}

/// Token, CA and namespace.
fn sources() -> Value {
    json!([
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
        ]}},
    ])
}

/// Refuses pods without an account, and secrets that their account does not list where it insists.
pub(super) fn validate(
    pod: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    let resource = attributes.resource;
    if (resource.group, resource.plural) != ("", "pods") {
        return Ok(());
    }
    let spec = pod.at("spec");
    match (attributes.operation, attributes.subresource) {
        (Operation::Update, "ephemeralcontainers") => {
            if is_mirror(pod) || spec.text("serviceAccountName").is_empty() {
                return Ok(());
            }
            let account = account_of(pod, attributes, view)?;
            if !enforces(&account) {
                return Ok(());
            }
            let listed = named(account.list("secrets"));
            let why = containers_fault(
                spec,
                &listed,
                &account,
                &[("ephemeralContainers", "ephemeral container")],
            );
            return why.map_or(Ok(()), |why| Err(attributes.forbidden(&why)));
        }
        (Operation::Create, "") => {}
        _ => return Ok(()),
    }
    if is_mirror(pod) {
        return mirror_fault(spec).map_or(Ok(()), |why| Err(attributes.forbidden(why)));
    }
    if spec.text("serviceAccountName").is_empty() {
        let name = pod.at("metadata").text("name");
        let why = format!("no service account specified for pod {}/{name}", attributes.namespace);
        return Err(attributes.forbidden(&why));
    }
    let account = account_of(pod, attributes, view)?;
    if !enforces(&account) {
        return Ok(());
    }
    secrets_fault(spec, &account).map_or(Ok(()), |why| Err(attributes.forbidden(&why)))
}

fn mirror_fault(spec: &Value) -> Option<&'static str> {
    if !spec.text("serviceAccountName").is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    let sources =
        || spec.list("volumes").iter().flat_map(|volume| volume.at("projected").list("sources"));
    let in_volumes = spec.list("volumes").iter().any(|volume| volume.has("secret"))
        || sources().any(|source| source.has("secret"));
    let in_containers = LISTS.iter().flat_map(|(list, _)| spec.list(list)).any(|container| {
        let from = |item: &Value| item.at("valueFrom").has("secretKeyRef");
        container.list("env").iter().any(from)
            || container.list("envFrom").iter().any(|item| item.has("secretRef"))
    });
    if in_volumes || in_containers || !spec.list("imagePullSecrets").is_empty() {
        return Some("a mirror pod may not reference secrets");
    }
    sources()
        .any(|source| source.has("serviceAccountToken"))
        .then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

fn enforces(account: &Value) -> bool {
    let said = account.at("metadata").at("annotations").text(ENFORCE);
    matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn named(list: &[Value]) -> BTreeSet<&str> {
    list.iter().map(|item| item.text("name")).collect()
}

fn secrets_fault(spec: &Value, account: &Value) -> Option<String> {
    let name = account.at("metadata").text("name");
    let listed = named(account.list("secrets"));
    for volume in spec.list("volumes").iter().filter(|volume| volume.has("secret")) {
        let secret = volume.at("secret").text("secretName");
        if !listed.contains(secret) {
            return Some(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
            ));
        }
    }
    if let Some(why) = containers_fault(spec, &listed, account, &LISTS) {
        return Some(why);
    }
    let listed = named(account.list("imagePullSecrets"));
    let mut pulls = spec.list("imagePullSecrets").iter().enumerate();
    pulls.find(|(_, secret)| !listed.contains(secret.text("name"))).map(|(at, secret)| {
        format!(
            "imagePullSecrets[{at}].name=\"{}\" is not allowed because service account {name} does not reference that imagePullSecret",
            secret.text("name")
        )
    })
}

fn containers_fault(
    spec: &Value,
    listed: &BTreeSet<&str>,
    account: &Value,
    lists: &[(&str, &str)],
) -> Option<String> {
    let account = account.at("metadata").text("name");
    for (list, word) in lists {
        for container in spec.list(list) {
            let name = container.text("name");
            let about = |how: String, secret: &str| {
                format!(
                    "{word} {name} with {how} referencing secret.secretName=\"{secret}\" is not allowed because service account {account} does not reference that secret"
                )
            };
            for env in container.list("env") {
                let from = env.at("valueFrom");
                let secret = from.at("secretKeyRef").text("name");
                if from.has("secretKeyRef") && !listed.contains(secret) {
                    return Some(about(format!("envVar {}", env.text("name")), secret));
                }
            }
            for from in container.list("envFrom") {
                let secret = from.at("secretRef").text("name");
                if from.has("secretRef") && !listed.contains(secret) {
                    return Some(about("envFrom".to_owned(), secret));
                }
            }
        }
    }
    None
}
