//! What only pods have: binding and eviction.

use super::create::{self, meta, text};
use super::delete::check_preconditions;
use super::update;
use super::{Call, remove, shelf};
use crate::admit::json::{Json, JsonMut};
use crate::admit::strategy_for;
use crate::decode::options::{DeleteOptions, WriteOptions};
use crate::decode::{self, Wanted};
use crate::encode::Reply;
use crate::records::{Expected, Query, Record};
use crate::verbs::delete::seconds;
use api::selector::LabelSelector;
use api::status::{Cause, Details};
use api::{Resource, Status};
use axum::body::Body;
use serde_json::{Value, json};
use std::sync::Arc;

/// Evictions of one budget that its controller has not yet seen (upstream's `MaxDisruptedPodSize`).
const DISRUPTED_PODS_MAX: usize = 2000;

/// Seconds after which an eviction may be tried again while a budget is being computed.
const BUDGET_RETRY_SECONDS: u32 = 10;

fn pods() -> Option<&'static Resource> {
    api::resource::by_plural("", "v1", "pods")
}

fn created() -> Reply {
    let status = Status { status: "Success".to_owned(), ..Status::failure(201, "", "") };
    Reply::status(&status, crate::encode::negotiate::Format::Json)
}

/// Answers `POST …/pods/<name>/binding` and `POST …/bindings` (spec A91).
pub(crate) async fn bind(call: &mut Call, body: Body) -> Result<Reply, Status> {
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "CreateOptions")?;
    let wanted = Wanted {
        group: "",
        version: "v1",
        kind: "Binding",
        schema: "io.k8s.api.core.v1.Binding",
        custom: None,
    };
    let decoded = decode::object(&body, media, wanted, options.validation)?;
    call.warn(decoded.warnings);
    let binding = decoded.object;
    create::check_namespace(call, &binding)?;
    let name = text(&binding, "name");
    if !call.name().is_empty() && call.name() != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let target = |key: &str| {
        binding.pointer(&format!("/target/{key}")).and_then(Value::as_str).unwrap_or_default()
    };
    if !matches!(target("kind"), "" | "Node") {
        let message = format!(
            "target.kind: Unsupported value: {:?}: supported values: \"Node\", \"<empty>\"",
            target("kind")
        );
        return Err(Status::failure(500, "", message));
    }
    let node = target("name").to_owned();
    if node.is_empty() {
        return Err(Status::failure(500, "", "target.name: Required value"));
    }
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let row = pods().ok_or_else(super::no_such_path)?;
    call.row = row;
    call.strategy = strategy_for(row);
    call.target.name = name;
    assign(call, &binding, &node, options.dry_run).await?;
    Ok(created())
}

/// Puts a pod on a node. This is the server's own write: no strategy, no field manager.
async fn assign(call: &Call, binding: &Value, node: &str, dry_run: bool) -> Result<(), Status> {
    for _ in 0..update::ROUNDS_MAX {
        let record = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
            .ok_or_else(|| call.not_found())?;
        let mut pod = shelf::value(call.row, &record)?;
        let (uid, stored) = (text(binding, "uid"), text(&pod, "uid"));
        if !uid.is_empty() && uid != stored {
            return Err(update::wrong_uid(call, &uid, &stored));
        }
        let version = text(binding, "resourceVersion");
        if !version.is_empty() && version != record.revision.to_string() {
            let stored = record.revision.to_string();
            return Err(update::failed_precondition(call, "ResourceVersion", &version, &stored));
        }
        may_be_bound(&pod)
            .map_err(|why| Status::conflict("", "pods/binding", call.name(), &why))?;
        bound(&mut pod, binding, node, call.now);
        if dry_run {
            return Ok(());
        }
        if store(call, &record, call.row, &pod).await?.is_some() {
            return Ok(());
        }
    }
    Err(shelf::conflict(call.row, call.name()))
}

fn may_be_bound(pod: &Value) -> Result<(), String> {
    let name = text(pod, "name");
    if !text(pod, "deletionTimestamp").is_empty() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    let gates = pod.pointer("/spec/schedulingGates").and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

fn bound(pod: &mut Value, binding: &Value, node: &str, now: jiff::Timestamp) {
    for (key, overwrite) in [("annotations", true), ("labels", false)] {
        let Some(added) = binding.pointer(&format!("/metadata/{key}")).and_then(Value::as_object)
        else {
            continue;
        };
        let held = meta(pod).object(key);
        for (name, value) in added {
            if overwrite || !held.has(name) {
                held.set(name, value.clone());
            }
        }
    }
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("nodeName".to_owned(), node.into());
    }
    if !pod.get("status").is_some_and(Value::is_object) {
        pod["status"] = json!({});
    }
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else { return };
    status.remove("nominatedNodeName");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let scheduled = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": seconds(now),
    });
    match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
        Some(found) => *found = scheduled,
        None => conditions.push(scheduled),
    }
}

/// Writes an object of ours; `None` when someone else was faster.
async fn store(
    call: &Call,
    record: &Record,
    row: &'static Resource,
    object: &Value,
) -> Result<Option<Arc<Record>>, Status> {
    let write = shelf::Write {
        row,
        namespace: &record.key.namespace,
        name: &record.key.name,
        expected: Expected::Revision(record.revision),
    };
    match write.put(&call.server.records, object, call.server.config.event_ttl).await {
        Ok(done) => Ok(Some(done.record)),
        Err(crate::records::CommitError::Conflict(_)) => Ok(None),
        Err(error) => Err(shelf::refusal(row, &record.key.name, &error)),
    }
}

/// Answers `POST …/pods/<name>/eviction`.
pub(crate) async fn evict(call: &Call, body: Body) -> Result<Reply, Status> {
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "CreateOptions")?;
    let wanted = Wanted {
        group: "policy",
        version: "v1",
        kind: "Eviction",
        schema: "io.k8s.api.policy.v1.Eviction",
        custom: None,
    };
    let decoded = decode::object(&body, media, wanted, options.validation)?;
    call.warn(decoded.warnings);
    let eviction = decoded.object;
    create::check_namespace(call, &eviction)?;
    if text(&eviction, "name") != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let asked = eviction.get("deleteOptions").filter(|asked| !asked.is_null());
    let mut asked = asked.map_or_else(|| Ok(DeleteOptions::default()), DeleteOptions::from_body)?;
    asked.dry_run |= options.dry_run;
    let record = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    let pod = shelf::value(call.row, &record)?;
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let free = matches!(phase, "Succeeded" | "Failed" | "Pending")
        || !text(&pod, "deletionTimestamp").is_empty();
    if !free {
        spend_budget(call, &record, &pod, asked.dry_run).await?;
    }
    check_preconditions(call.row, &pod, &asked)?;
    if !asked.dry_run {
        // a pod of the same name that came meanwhile was not judged, so it is not the one to go
        asked.uid.get_or_insert_with(|| text(&pod, "uid"));
        let marked = mark_evicted(call, &asked).await?;
        // what was asked about the version was answered; now it is ours
        asked.resource_version = asked.resource_version.map(|_| marked.to_string());
    }
    remove::delete(call, call.namespace(), call.name(), &asked).await?;
    Ok(created())
}

/// Writes on the pod why it goes (spec C50); answers its revision.
async fn mark_evicted(call: &Call, asked: &DeleteOptions) -> Result<u64, Status> {
    for _ in 0..update::ROUNDS_MAX {
        let record = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
            .ok_or_else(|| call.not_found())?;
        let mut pod = shelf::value(call.row, &record)?;
        if !doomed(call.row, &mut pod, asked, call.now)? {
            return Ok(record.revision);
        }
        if let Some(record) = store(call, &record, call.row, &pod).await? {
            return Ok(record.revision);
        }
    }
    Err(shelf::conflict(call.row, call.name()))
}

/// Puts the condition that says why a pod goes into its status, when it still is the pod that was asked for;
/// whether there is a status to put it into.
fn doomed(
    row: &Resource,
    pod: &mut Value,
    asked: &DeleteOptions,
    now: jiff::Timestamp,
) -> Result<bool, Status> {
    check_preconditions(row, pod, asked)?;
    let generation = pod.pointer("/metadata/generation").cloned().unwrap_or(Value::Null);
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else {
        return Ok(false);
    };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return Ok(false) };
    let known = conditions.iter().position(|c| c["type"] == "DisruptionTarget");
    let since = known.map(|at| &conditions[at]).filter(|c| c["status"] == "True");
    let since = since.and_then(|c| c["lastTransitionTime"].as_str()).map(str::to_owned);
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| seconds(now)),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    });
    if !generation.is_null() {
        condition["observedGeneration"] = generation;
    }
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    Ok(true)
}

/// Takes one disruption from the pod's budget, if it has one.
async fn spend_budget(
    call: &Call,
    pod_record: &Record,
    pod: &Value,
    dry_run: bool,
) -> Result<(), Status> {
    let Some(row) = api::resource::by_plural("policy", "v1", "poddisruptionbudgets") else {
        return Ok(());
    };
    for _ in 0..update::ROUNDS_MAX {
        let mut budgets = budgets_of(call, row, pod_record)?;
        if budgets.len() > 1 {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::failure(500, "", message));
        }
        let Some((record, mut budget)) = budgets.pop() else { return Ok(()) };
        if spared(pod, &budget) {
            return Ok(());
        }
        spend(&mut budget, call.name(), call.now)?;
        if dry_run || store(call, &record, row, &budget).await?.is_some() {
            return Ok(());
        }
    }
    Err(shelf::conflict(call.row, call.name()))
}

/// The budgets that select a pod.
fn budgets_of(
    call: &Call,
    row: &'static Resource,
    pod: &Record,
) -> Result<Vec<(Arc<Record>, Value)>, Status> {
    let query = Query { namespace: call.namespace(), ..Query::all(row.storage) };
    let found =
        call.server.records.list(&query).map_err(|gone| Status::internal(&gone.to_string()))?;
    let mut budgets = Vec::new();
    for record in found.records {
        let budget = shelf::value(row, &record)?;
        let selector = budget.pointer("/spec/selector").cloned().unwrap_or(Value::Null);
        let selects = !selector.is_null()
            && LabelSelector::from_json(&selector).is_ok_and(|s| s.matches(&pod.facts.labels));
        if selects {
            budgets.push((record, budget));
        }
    }
    Ok(budgets)
}

/// Whether a pod that is not ready may go without spending, as its budget's policy says.
fn spared(pod: &Value, budget: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready =
        conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let count =
        |key: &str| budget.pointer(&format!("/status/{key}")).and_then(Value::as_i64).unwrap_or(0);
    let always = budget.pointer("/spec/unhealthyPodEvictionPolicy").and_then(Value::as_str)
        == Some("AlwaysAllow");
    !ready
        && (always
            || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0))
}

fn spend(budget: &mut Value, pod: &str, now: jiff::Timestamp) -> Result<(), Status> {
    let name = text(budget, "name");
    let generation = budget.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let Some(status) = budget.get_mut("status").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let count = |key: &str| status.get(key).and_then(Value::as_i64).unwrap_or(0);
    let (allowed, healthy, desired) =
        (count("disruptionsAllowed"), count("currentHealthy"), count("desiredHealthy"));
    if count("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(would_violate(&why, BUDGET_RETRY_SECONDS));
    }
    if allowed < 0 {
        return Err(Status::forbidden(
            "policy",
            "poddisruptionbudgets",
            &name,
            "pdb disruptions allowed is negative",
        ));
    }
    let disrupted =
        status.get("disruptedPods").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if disrupted > DISRUPTED_PODS_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden("policy", "poddisruptionbudgets", &name, why));
    }
    if allowed == 0 {
        let denied = denial(status);
        let why = if let Some(("SyncFailed", said)) = denied {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {said}"
            )
        } else if healthy <= desired {
            format!(
                "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            )
        } else if let Some((reason, said)) = denied {
            format!(
                "The disruption budget {name} does not allow evicting pods currently ({reason}): {said}"
            )
        } else {
            format!("The disruption budget {name} does not allow evicting pods currently")
        };
        return Err(would_violate(&why, 0));
    }
    status.insert("disruptionsAllowed".to_owned(), (allowed - 1).into());
    let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if let Some(disrupted) = disrupted.as_object_mut() {
        disrupted.insert(pod.to_owned(), seconds(now).into());
    }
    if allowed == 1 {
        insufficient(status, generation, now);
    }
    Ok(())
}

/// Reason and message of a budget that says by its condition that nothing may be disrupted.
fn denial(status: &serde_json::Map<String, Value>) -> Option<(&str, &str)> {
    let conditions = status.get("conditions").and_then(Value::as_array)?;
    let found = conditions.iter().find(|condition| condition["type"] == "DisruptionAllowed")?;
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
    (text("status") == "False" && !text("message").is_empty())
        .then(|| (text("reason"), text("message")))
}

fn insufficient(
    status: &mut serde_json::Map<String, Value>,
    generation: i64,
    now: jiff::Timestamp,
) {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let condition = json!({
        "type": "DisruptionAllowed",
        "status": "False",
        "observedGeneration": generation,
        "lastTransitionTime": seconds(now),
        "reason": "InsufficientPods",
        "message": "",
    });
    match conditions.iter_mut().find(|condition| condition["type"] == "DisruptionAllowed") {
        Some(found) => *found = condition,
        None => conditions.push(condition),
    }
}

fn would_violate(why: &str, retry_after_seconds: u32) -> Status {
    let cause = Cause {
        reason: "DisruptionBudget".to_owned(),
        message: why.to_owned(),
        field: String::new(),
    };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::failure(429, "TooManyRequests", message).with_details(Details {
        causes: vec![cause],
        retry_after_seconds,
        ..Details::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_not_the_one_asked_for_is_not_marked() {
        let now = jiff::Timestamp::from_second(1_790_000_000).unwrap_or_default();
        let row = pods().unwrap_or_else(|| unreachable!("pods are served"));
        let pod = json!({
            "metadata": {"name": "p", "uid": "new", "resourceVersion": "8"},
            "status": {"phase": "Running"},
        });
        let doom = |asked: DeleteOptions| {
            let mut marked = pod.clone();
            let done = doomed(row, &mut marked, &asked, now);
            (done.map_err(|refused| (refused.code, refused.message)), marked)
        };
        let uid = |uid: &str| Some(uid.to_owned());
        let (refused, left) = doom(DeleteOptions { uid: uid("old"), ..DeleteOptions::default() });
        let why = "the UID in the precondition (old) does not match the UID in record (new)";
        assert!(matches!(&refused, Err((409, told)) if told.contains(why)), "{refused:?}");
        assert_eq!(left, pod);
        let (refused, left) =
            doom(DeleteOptions { resource_version: uid("7"), ..DeleteOptions::default() });
        let why = "the ResourceVersion in the precondition (7) does not match";
        assert!(matches!(&refused, Err((409, told)) if told.contains(why)), "{refused:?}");
        assert_eq!(left, pod);
        let asked = DeleteOptions { uid: uid("new"), ..DeleteOptions::default() };
        let (done, left) = doom(DeleteOptions { resource_version: uid("8"), ..asked });
        assert_eq!(done, Ok(true));
        assert_eq!(left["status"]["conditions"][0]["type"], "DisruptionTarget");
    }
}
