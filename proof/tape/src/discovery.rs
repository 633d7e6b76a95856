//! The kinds in scope: discovery documents of the real server are cut to them before they are compared.

use serde_json::Value;

/// Resources by group and version.
const SCOPE: &[(&str, &str)] = &[
    (
        "v1",
        "bindings configmaps events limitranges namespaces namespaces/finalize namespaces/status nodes \
         nodes/status pods pods/binding pods/ephemeralcontainers pods/eviction pods/log pods/exec pods/attach \
         pods/portforward pods/resize pods/status podtemplates resourcequotas resourcequotas/status secrets \
         serviceaccounts serviceaccounts/token services services/status",
    ),
    (
        "apps/v1",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
         replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    ("events.k8s.io/v1", "events"),
    ("scheduling.k8s.io/v1", "priorityclasses"),
    ("coordination.k8s.io/v1", "leases"),
    ("rbac.authorization.k8s.io/v1", "roles rolebindings clusterroles clusterrolebindings"),
    ("policy/v1", "poddisruptionbudgets poddisruptionbudgets/status"),
    ("node.k8s.io/v1", "runtimeclasses"),
    ("storage.k8s.io/v1", "csidrivers"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions customresourcedefinitions/status"),
    ("authentication.k8s.io/v1", "tokenreviews selfsubjectreviews"),
    (
        "authorization.k8s.io/v1",
        "subjectaccessreviews selfsubjectaccessreviews localsubjectaccessreviews selfsubjectrulesreviews",
    ),
];

fn has_version(group_version: &str) -> bool {
    SCOPE.iter().any(|(known, _)| *known == group_version)
}

fn has_group(group: &str) -> bool {
    SCOPE.iter().any(|(known, _)| known.rsplit_once('/').map_or("", |(group, _)| group) == group)
}

fn has(group_version: &str, resource: &str) -> bool {
    let found = SCOPE.iter().find(|(known, _)| *known == group_version);
    found.is_some_and(|(_, resources)| resources.split_whitespace().any(|known| known == resource))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Vec<Value>> {
    value.get_mut(key).and_then(Value::as_array_mut)
}

/// Leaves only groups, versions and resources in scope.
pub fn cut(body: &mut Value) {
    match text(body, "kind") {
        "APIGroupList" => {
            if let Some(groups) = list(body, "groups") {
                groups.retain(|group| has_group(text(group, "name")));
                groups.iter_mut().for_each(cut_group);
                groups.sort_by_key(|group| text(group, "name").to_owned());
            }
        }
        "APIGroup" => cut_group(body),
        "APIResourceList" => {
            let version = text(body, "groupVersion").to_owned();
            if let Some(resources) = list(body, "resources") {
                resources.retain(|resource| has(&version, text(resource, "name")));
            }
        }
        "APIGroupDiscoveryList" => {
            if let Some(items) = list(body, "items") {
                items.retain(|item| has_group(text(&item["metadata"], "name")));
                items.iter_mut().for_each(cut_item);
                items.sort_by_key(|item| text(&item["metadata"], "name").to_owned());
            }
        }
        _ => {}
    }
}

fn cut_group(group: &mut Value) {
    if let Some(versions) = list(group, "versions") {
        versions.retain(|version| has_version(text(version, "groupVersion")));
    }
}

fn cut_item(item: &mut Value) {
    let group = text(&item["metadata"], "name").to_owned();
    let named = |version: &Value| match group.as_str() {
        "" => text(version, "version").to_owned(),
        group => format!("{group}/{}", text(version, "version")),
    };
    let Some(versions) = list(item, "versions") else { return };
    versions.retain(|version| has_version(&named(version)));
    for version in versions {
        let known = named(version);
        let Some(resources) = list(version, "resources") else { continue };
        resources.retain_mut(|resource| {
            let plural = text(resource, "resource").to_owned();
            let mut some = false;
            if let Some(subresources) = list(resource, "subresources") {
                subresources
                    .retain(|sub| has(&known, &format!("{plural}/{}", text(sub, "subresource"))));
                some = !subresources.is_empty();
            }
            some || has(&known, &plural)
        });
    }
}
