//! Empty values that upstream does not write: `command: []`, `hostNetwork: false`, `reason: ""`. Dropped before anything
//! is compared or kept, so that saying nothing and saying "nothing" are the same (a template's bytes decide on rollouts).

use super::json::JsonMut;
use api::Resource;
use api::schema::{self, Node, Type};
use serde_json::Value;

/// Texts that mean something when empty.
const TEXTS_KEPT: &[&str] = &[
    "apiGroup",
    "appProtocol",
    "fsGroupChangePolicy",
    "gmsaCredentialSpec",
    "gmsaCredentialSpecName",
    "holderIdentity",
    "hostnameOverride",
    "initiatorName",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    "ipMode",
    "loadBalancerClass",
    "localhostProfile",
    "mountPropagation",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "preemptionPolicy",
    "preferredHolder",
    "procMount",
    "recursiveReadOnly",
    "reportingComponent",
    "reportingInstance",
    "resourceClaimName",
    "resourceClaimTemplateName",
    "restartPolicy",
    "runAsUserName",
    "runtimeClassName",
    "seLinuxChangePolicy",
    "service",
    "storageClassName",
    "strategy",
    "trafficDistribution",
    "supplementalGroupsPolicy",
    "type",
    "unhealthyPodEvictionPolicy",
    "volumeAttributesClassName",
    "volumeMode",
];

/// Flags that mean nothing when false.
const FLAGS_DROPPED: &[&str] = &[
    "chapAuthDiscovery",
    "chapAuthSession",
    "deprecated",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "globalDefault",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "nullable",
    "paused",
    "preserveUnknownFields",
    "publishNotReadyAddresses",
    "sslEnabled",
    "stdin",
    "stdinOnce",
    "tty",
    "uniqueItems",
    "unschedulable",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];

/// Numbers that mean nothing when 0.
const NUMBERS_DROPPED: &[&str] = &[
    "availableReplicas",
    "count",
    "currentReplicas",
    "failureThreshold",
    "fullyLabeledReplicas",
    "generation",
    "healthCheckNodePort",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "nodePort",
    "numberAvailable",
    "numberUnavailable",
    "observedGeneration",
    "periodSeconds",
    "readyReplicas",
    "signal",
    "sizeBytes",
    "successThreshold",
    "timeoutSeconds",
    "unavailableReplicas",
    "updatedNumberScheduled",
    "updatedReplicas",
];

/// The type of every object's metadata.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Drops the empty values of an object that upstream does not write.
pub fn omit_empty(resource: &Resource, object: &mut Value) {
    if resource.custom.is_some() {
        // Empty means empty here, but for the metadata, which is Go's.
        if let (Some(kind), Some(metadata)) =
            (schema::by_name(OBJECT_META), object.present("metadata"))
        {
            of_struct(kind, metadata);
        }
    } else if let Some(kind) = schema::of(resource) {
        of_struct(kind, object);
    }
    // A link that servers once gave and no longer keep.
    if let Some(metadata) = object.present("metadata") {
        metadata.unset("selfLink");
    }
}

fn of_struct(kind: &'static Type, value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.retain(|name, value| {
        let Some(field) = kind.field(name) else { return true };
        if name == "managedFields" {
            return true;
        }
        let flag_of_mount = name == "readOnly"
            && !matches!(kind.go_name(), "CSIVolumeSource" | "AzureDiskVolumeSource");
        within(&field.node, value);
        // A default in the schema stands at what Go always writes, but for names in references.
        let of_reference = name == "name" && matches!(field.node, Node::Text);
        if field.required || is_pointer(kind, name) || (field.default.is_some() && !of_reference) {
            return true;
        }
        let of_deployment = name == "replicas" && kind.name.ends_with("DeploymentStatus");
        match (&field.node, &*value) {
            (Node::Text, Value::String(text)) => {
                !text.is_empty()
                    || (TEXTS_KEPT.contains(&name.as_str()) && !is_plain_text(kind, name))
            }
            (Node::Bool, Value::Bool(false)) => {
                !FLAGS_DROPPED.contains(&name.as_str()) && !flag_of_mount
            }
            (Node::Int32 | Node::Int64, number) if number.as_i64() == Some(0) => {
                !NUMBERS_DROPPED.contains(&name.as_str())
                    && !of_deployment
                    && !is_plain_number(kind, name)
            }
            (Node::List(_), Value::Array(items)) => !items.is_empty(),
            (Node::Map(_), Value::Object(map)) => !map.is_empty(),
            _ => true,
        }
    });
}

/// Texts of names that are pointers elsewhere, which mean nothing when empty.
fn is_plain_text(kind: &Type, name: &str) -> bool {
    matches!((kind.go_name(), name), ("Subject", "apiGroup") | ("Event", "type"))
}

/// Numbers of names that are pointers elsewhere, which mean nothing when 0.
fn is_plain_number(kind: &Type, name: &str) -> bool {
    matches!(
        (kind.go_name(), name),
        ("ServiceBackendPort", "number")
            | ("AWSElasticBlockStoreVolumeSource" | "GCEPersistentDiskVolumeSource", "partition")
            | ("CustomResourceColumnDefinition", "priority")
    )
}

/// Fields that Go holds as pointers where others of the same name are none: empty, they are still said.
fn is_pointer(kind: &Type, name: &str) -> bool {
    matches!(
        (kind.name, name),
        ("io.k8s.api.discovery.v1.EndpointPort", "name")
            | ("io.k8s.api.storage.v1.VolumeNodeResources", "count")
            | ("io.k8s.api.storage.v1.CSIDriverSpec", "fsGroupPolicy")
            | ("io.k8s.api.networking.v1.NetworkPolicyPort", "protocol")
            | ("io.k8s.api.core.v1.CSIVolumeSource", "fsType")
    )
}

fn within(node: &Node, value: &mut Value) {
    match (node, value) {
        (Node::Struct(kind) | Node::SchemaOr(kind), value) => of_struct(kind, value),
        (Node::List(list), Value::Array(items)) => {
            for item in items {
                within(&list.items, item);
            }
        }
        (Node::Map(map), Value::Object(fields)) => {
            for value in fields.values_mut() {
                within(&map.values, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn saying_nothing_is_not_said() {
        let row = api::resource::by_plural("apps", "v1", "daemonsets").expect("daemonsets");
        let spec = |pod: Value| json!({"spec": {"template": {"metadata": {}, "spec": pod}}});
        let mut object = spec(json!({
            "hostNetwork": false, "hostUsers": false, "nodeSelector": {}, "tolerations": [],
            "containers": [{"name": "c", "image": "", "command": [], "resources": {}, "securityContext": {"privileged": false}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}}],
        }));
        omit_empty(row, &mut object);
        let want = spec(json!({
            "hostUsers": false,
            "containers": [{"name": "c", "resources": {}, "securityContext": {"privileged": false}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}}],
        }));
        assert_eq!(object, want);
    }

    #[test]
    fn what_is_any_json_stays_as_it_is() {
        let row = api::resource::by_plural("apps", "v1", "controllerrevisions").expect("revisions");
        let mut object = json!({"data": {"spec": {"a": [], "b": "", "c": {}}}, "revision": 0});
        let before = object.clone();
        omit_empty(row, &mut object);
        assert_eq!(object, before);
    }
}
