//! Defaults of pod specs (spec A14), and those of pods alone (spec A15).

use super::resources;
use crate::admit::admission::totals;
use crate::admit::amount;
use crate::admit::json::{Json, JsonMut};
use serde_json::{Value, json};

/// Defaults of a spec wherever it stands: written back into templates too.
pub(crate) fn fill_spec(spec: &mut Value) {
    spec.fill_text("restartPolicy", "Always");
    spec.fill("terminationGracePeriodSeconds", 30);
    spec.fill_text("dnsPolicy", "ClusterFirst");
    spec.fill("securityContext", json!({}));
    spec.fill_text("schedulerName", "default-scheduler");
    mirror_service_account(spec);
    for volume in spec.items("volumes") {
        fill_volume(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.items(list) {
            fill_container(container);
            if list == "ephemeralContainers" {
                fill_probes(container);
            }
        }
    }
    if let Some(wanted) = spec.present("resources") {
        fill_amounts(wanted);
    }
    if let Some(overhead) = spec.present("overhead") {
        round_all(overhead);
    }
}

/// Own stop signals of containers are off in 1.36.
pub(crate) fn drop_what_is_off(spec: &mut Value) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.items(list) {
            if let Some(lifecycle) = container.present("lifecycle") {
                lifecycle.unset("stopSignal");
            }
        }
    }
}

/// The old name of the service account says the same as the new one.
fn mirror_service_account(spec: &mut Value) {
    let (new, old) = (spec.text("serviceAccountName"), spec.text("serviceAccount"));
    let name = if new.is_empty() { old } else { new }.to_owned();
    if !name.is_empty() {
        spec.set("serviceAccountName", name.as_str());
        spec.set("serviceAccount", name);
    }
}

/// Defaults of pods that templates do not get.
pub(crate) fn fill_pod(spec: &mut Value) {
    spec.fill("enableServiceLinks", true);
    let on_host = spec.flag("hostNetwork");
    for list in ["containers", "initContainers"] {
        for container in spec.items(list) {
            copy_limits(container.present("resources"));
            if on_host {
                for port in container.items("ports") {
                    if port.int("hostPort").unwrap_or(0) == 0 && port.has("containerPort") {
                        let number = port.at("containerPort").clone();
                        port.set("hostPort", number);
                    }
                }
            }
        }
    }
    fill_whole_pod(spec);
}

/// A limit without a request is its own request.
fn copy_limits(wanted: Option<&mut Value>) {
    let Some(wanted) = wanted else { return };
    let limits: Vec<(String, Value)> =
        wanted.entries("limits").into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    if limits.is_empty() {
        return;
    }
    let requests = wanted.object("requests");
    for (name, limit) in limits {
        requests.fill(&name, limit);
    }
}

/// What a pod that asks for something as a whole asks for besides: limits on huge pages and requests as its containers
/// have them together, and requests as high as the limits.
fn fill_whole_pod(spec: &mut Value) {
    let own = spec.at("resources");
    if own.entries("limits").is_empty() && own.entries("requests").is_empty() {
        return;
    }
    let mut limits = totals::read(own.at("limits"));
    let mut requests = totals::read(own.at("requests"));
    let (states_limits, states_requests) = (limits.len(), requests.len());
    for (name, amount) in totals::of_containers(spec, "limits") {
        if name.starts_with("hugepages-") {
            limits.entry(name).or_insert(amount);
        }
    }
    for (name, amount) in totals::of_containers(spec, "requests") {
        if ["cpu", "memory"].contains(&name.as_str()) {
            requests.entry(name).or_insert(amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| resources::is_of_whole_pod(name)) {
        requests.entry(name.clone()).or_insert(*amount);
    }
    let own = spec.object("resources");
    if limits.len() > states_limits {
        own.set("limits", totals::write(&limits));
    }
    if requests.len() > states_requests {
        own.set("requests", totals::write(&requests));
    }
}

fn fill_container(container: &mut Value) {
    if container.text("imagePullPolicy").is_empty() {
        let policy = if is_latest(container.text("image")) { "Always" } else { "IfNotPresent" };
        container.set("imagePullPolicy", policy);
    }
    container.fill_text("terminationMessagePath", "/dev/termination-log");
    container.fill_text("terminationMessagePolicy", "File");
    container.fill("resources", json!({}));
    fill_amounts(&mut container["resources"]);
    for port in container.items("ports") {
        port.fill_text("protocol", "TCP");
    }
    for variable in container.items("env") {
        if let Some(from) = variable.present("valueFrom") {
            fill_references(from);
            if let Some(file) = from.present("fileKeyRef") {
                file.fill("optional", false);
            }
        }
    }
    fill_probes(container);
    if let Some(lifecycle) = container.present("lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.present(hook) {
                fill_handler(hook);
            }
        }
    }
    if let Some(context) = container.present("securityContext")
        && context.has("procMount")
        && context.text("procMount").is_empty()
    {
        context.set("procMount", "Default");
    }
}

/// Whether an image is named without a digest, and with no tag or the tag `latest`. What is no name is not.
fn is_latest(image: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
    if !image.chars().all(fits) {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !image.is_empty(),
    }
}

fn fill_amounts(wanted: &mut Value) {
    for list in ["limits", "requests"] {
        if let Some(list) = wanted.present(list) {
            round_all(list);
        }
    }
}

/// Quantities finer than a thousandth are rounded up, and all are written canonically.
pub(crate) fn round_all(list: &mut Value) {
    for value in list.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        let text = amount::canonical_milli(value);
        if !text.is_empty() {
            *value = text.into();
        }
    }
}

fn fill_probes(container: &mut Value) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.present(probe) else { continue };
        for (key, value) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            if probe.int(key).unwrap_or(0) == 0 {
                probe.set(key, value);
            }
        }
        fill_handler(probe);
        if let Some(grpc) = probe.present("grpc") {
            grpc.fill("service", "");
        }
    }
}

fn fill_handler(handler: &mut Value) {
    if let Some(http) = handler.present("httpGet") {
        http.fill_text("path", "/");
        http.fill_text("scheme", "HTTP");
    }
}

/// References to fields say in which version; divisors are always there.
fn fill_references(holder: &mut Value) {
    if let Some(field) = holder.present("fieldRef") {
        field.fill_text("apiVersion", "v1");
    }
    if let Some(resource) = holder.present("resourceFieldRef") {
        let divisor = match amount::canonical(resource.at("divisor")) {
            text if text.is_empty() => "0".to_owned(),
            text => text,
        };
        resource.set("divisor", divisor);
    }
}

const MODE: i64 = 0o644;

fn fill_volume(volume: &mut Value) {
    if !super::volumes::has_source(volume) {
        volume.set("emptyDir", json!({}));
    }
    if let Some(dir) = volume.present("emptyDir")
        && dir.has("sizeLimit")
    {
        let limit = amount::canonical(dir.at("sizeLimit"));
        dir.set("sizeLimit", limit);
    }
    if let Some(path) = volume.present("hostPath") {
        path.fill("type", "");
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        let Some(source) = volume.present(key) else { continue };
        source.fill("defaultMode", MODE);
        if key == "projected" && source.list("sources").is_empty() {
            source.set("sources", Value::Null);
        }
        for item in source.items("items") {
            fill_references(item);
        }
        for one in source.items("sources") {
            fill_projection(one);
        }
    }
    let image_policy = volume.at("image").as_object().map(|_| {
        if is_latest(volume.at("image").text("reference")) { "Always" } else { "IfNotPresent" }
    });
    if let (Some(policy), Some(image)) = (image_policy, volume.present("image")) {
        image.fill_text("pullPolicy", policy);
    }
    fill_rare(volume);
}

fn fill_projection(source: &mut Value) {
    if let Some(token) = source.present("serviceAccountToken") {
        token.fill("expirationSeconds", 3600);
    }
    if let Some(downward) = source.present("downwardAPI") {
        for item in downward.items("items") {
            fill_references(item);
        }
    }
}

/// Sources that few use.
fn fill_rare(volume: &mut Value) {
    if let Some(iscsi) = volume.present("iscsi") {
        iscsi.fill_text("iscsiInterface", "default");
    }
    if let Some(rbd) = volume.present("rbd") {
        rbd.fill_text("pool", "rbd");
        rbd.fill_text("user", "admin");
        rbd.fill_text("keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = volume.present("azureDisk") {
        disk.fill("cachingMode", "ReadWrite");
        disk.fill("kind", "Shared");
        disk.fill("fsType", "ext4");
        disk.fill("readOnly", false);
    }
    if let Some(io) = volume.present("scaleIO") {
        io.fill_text("storageMode", "ThinProvisioned");
        io.fill_text("fsType", "xfs");
    }
    if let Some(ephemeral) = volume.present("ephemeral")
        && let Some(template) = ephemeral.present("volumeClaimTemplate")
    {
        template.object("metadata");
        super::volumes::claim::fill(template.object("spec"));
    }
}
