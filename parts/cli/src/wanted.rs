//! What is wanted: documents or a new image, and what the API would make of them in a dry run.

pub mod merge;

use crate::observe::{Fault, json, live, sets};
use crate::plan::Wanted;
use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::Value;

/// What signs our dry runs where the object has no apply manager of its own.
const MANAGER: &str = "pernode-plan";
/// Bytes of one input: the API takes 3 MiB for one object.
pub const INPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Annotation in which kubectl keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the API would make of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It would be taken, and look so; the second says what is not known.
    Taken(Wanted, Option<String>),
    /// It would be refused, in these words.
    Refused(String),
}

/// The DaemonSets of a text of YAML or JSON documents, and what else is in it.
///
/// # Errors
/// Text that is no YAML, or documents that are no objects.
pub fn documents(name: &str, text: &str) -> Result<(Vec<Value>, Vec<String>), Fault> {
    if text.len() > INPUT_BYTES_MAX {
        return Err(Fault::Usage(format!("{name}: larger than {INPUT_BYTES_MAX} bytes")));
    }
    let read: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Fault::Usage(format!("{name}: {error}")))?;
    let mut flat = Vec::new();
    for document in read {
        match document {
            Value::Null => {}
            Value::Object(ref members) if members.contains_key("items") => {
                flat.extend(document["items"].as_array().into_iter().flatten().cloned());
            }
            other => flat.push(other),
        }
    }
    let mut others = Vec::new();
    let mut found = Vec::new();
    for document in flat {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        let object = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if kind.is_empty() || object.is_empty() {
            return Err(Fault::Usage(format!("{name}: a document without kind or metadata.name")));
        }
        if kind == "DaemonSet" {
            found.push(document);
        } else {
            others.push(format!("{kind}/{object}"));
        }
    }
    Ok((found, others))
}

/// The live object with new images, `container=image` each, as `kubectl set image` would make it.
///
/// # Errors
/// A container that is not there.
pub fn with_images(live: &Value, images: &[(String, String)]) -> Result<Value, Fault> {
    let mut object = live.clone();
    for (name, image) in images {
        let mut is_found = false;
        for list in ["containers", "initContainers"] {
            let containers = object["spec"]["template"]["spec"][list].as_array_mut();
            for container in containers.into_iter().flatten() {
                if name == "*" || container["name"] == name.as_str() {
                    container["image"] = image.as_str().into();
                    is_found = true;
                }
            }
        }
        if !is_found {
            return Err(Fault::Usage(format!("unable to find container named \"{name}\"")));
        }
    }
    Ok(object)
}

/// What applying a document would make: as `kubectl apply` does, server-side where the object is kept so.
pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    document: Value,
) -> Result<Verdict, Fault> {
    let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(live) = live(client, namespace, &name).await? else {
        return create(client, namespace, document).await;
    };
    if let Some(manager) = apply_manager(&live) {
        let params = PatchParams { dry_run: true, force: true, ..PatchParams::apply(&manager) };
        let answer = sets(client, namespace).patch(&name, &params, &Patch::Apply(&document)).await;
        let merged = || merge::three_way(&live, &Value::Null, &document);
        return verdict(answer.map(|object| json(&object)), Some(live.clone()), merged);
    }
    let last = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let last: Value = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let merged = merge::three_way(&live, &last, &document);
    replace(client, namespace, live, merged).await
}

/// What replacing the live object by another would make.
pub(crate) async fn replace(
    client: &Client,
    namespace: &str,
    live: Value,
    wanted: Value,
) -> Result<Verdict, Fault> {
    let name = live["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut object: DynamicObject = typed(wanted.clone())?;
    // a status that is written meanwhile is no conflict
    object.metadata.resource_version = None;
    let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    let answer = sets(client, namespace).replace(&name, &params, &object).await;
    verdict(answer.map(|object| json(&object)), Some(live), || wanted)
}

async fn create(client: &Client, namespace: &str, mut document: Value) -> Result<Verdict, Fault> {
    document["metadata"]["namespace"] = namespace.into();
    let object: DynamicObject = typed(document.clone())?;
    let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    let answer = sets(client, namespace).create(&params, &object).await;
    verdict(answer.map(|object| json(&object)), None, || document)
}

fn typed(object: Value) -> Result<DynamicObject, Fault> {
    serde_json::from_value(object).map_err(|error| Fault::Usage(format!("the document: {error}")))
}

/// A 4xx is the API's verdict about the object, but for one about who asks: then the verdict is not known.
fn verdict(
    answer: Result<Value, kube::Error>,
    live: Option<Value>,
    without: impl FnOnce() -> Value,
) -> Result<Verdict, Fault> {
    match answer {
        Ok(object) => Ok(Verdict::Taken(Wanted { object, live }, None)),
        Err(kube::Error::Api(status)) if is_about_the_caller(&status) => {
            let gap = format!(
                "no dry run, so defaults and what admission would say are not known: {}",
                status.message
            );
            Ok(Verdict::Taken(Wanted { object: without(), live }, Some(gap)))
        }
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
            Ok(Verdict::Refused(status.message.clone()))
        }
        Err(error) => Err(Fault::api("dry run", error)),
    }
}

/// RBAC's refusal, as opposed to admission's, which is a 403 too: "cannot create resource".
fn is_about_the_caller(status: &kube::core::Status) -> bool {
    status.code == 403
        && status.message.contains("cannot ")
        && status.message.contains(" resource ")
}

/// The manager that keeps the object by server-side apply: kubectl's before others. An object that kubectl keeps by
/// its annotation has none.
fn apply_manager(live: &Value) -> Option<String> {
    if live["metadata"]["annotations"][LAST_APPLIED].is_string() {
        return None;
    }
    let entries = live["metadata"]["managedFields"].as_array()?;
    let applies =
        entries.iter().filter(|e| e["operation"] == "Apply" && e["subresource"].is_null());
    let mut names: Vec<&str> = applies.filter_map(|entry| entry["manager"].as_str()).collect();
    names.sort_by_key(|name| *name != "kubectl");
    names.first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn daemonsets_are_found_among_documents_and_lists() {
        let text = "kind: ConfigMap\nmetadata: {name: c}\n---\nkind: List\nitems:\n- {kind: DaemonSet, metadata: {name: a}}\n---\n{\"kind\": \"DaemonSet\", \"metadata\": {\"name\": \"b\"}}\n";
        let (found, others) = documents("f", text).unwrap();
        let names: Vec<&str> =
            found.iter().filter_map(|o| o["metadata"]["name"].as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(others, ["ConfigMap/c"]);
        assert!(documents("f", "a: [").is_err());
        assert!(documents("f", "kind: DaemonSet\n").is_err());
    }

    #[test]
    fn images_are_set_by_container_name() {
        let live = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x"}],
            "initContainers": [{"name": "b", "image": "x"}]}}}});
        let changed = with_images(&live, &[("b".into(), "y".into())]).unwrap();
        assert_eq!(changed["spec"]["template"]["spec"]["initContainers"][0]["image"], "y");
        assert_eq!(changed["spec"]["template"]["spec"]["containers"][0]["image"], "x");
        assert!(with_images(&live, &[("c".into(), "y".into())]).is_err());
    }

    #[test]
    fn the_apply_manager_is_kubectls_where_there_is_one() {
        let entry =
            |manager: &str, operation: &str| json!({"manager": manager, "operation": operation});
        let live = json!({"metadata": {"managedFields": [
            entry("a", "Update"), entry("b", "Apply"), entry("kubectl", "Apply")]}});
        assert_eq!(apply_manager(&live).as_deref(), Some("kubectl"));
        let mut kept = live;
        kept["metadata"]["annotations"] = json!({LAST_APPLIED: "{}"});
        assert_eq!(apply_manager(&kept), None);
    }
}
