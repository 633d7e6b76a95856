//! What upstream's controllers inside the API server do: names are accepted or not, kinds are established, and a
//! definition that is deleted takes its objects along.

use super::kinds::{COLLECTION, has_own_place};
use crate::admit::crd::{approved, is_true};
use crate::admit::json::{Json, JsonMut};
use crate::decode::options::DeleteOptions;
use crate::encode;
use crate::merge::{self, Manager};
use crate::records::{CommitError, Expected, Key, Query, Record, Start, WatchRequest};
use crate::server::Inner;
use crate::verbs::{delete, shelf};
use api::{Resource, Status, schema};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Who writes conditions.
const MANAGER: &str = "kube-apiserver";
/// After which a pass that could not write is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Looks after definitions. [`Keeper::run`] has to run for them to be served.
#[derive(Debug)]
pub(crate) struct Keeper {
    server: Arc<Inner>,
}

impl Keeper {
    pub(crate) fn new(server: Arc<Inner>) -> Self {
        Self { server }
    }

    /// Settles every definition, and again whenever something changed, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            let start = Start::After(self.server.records.revision());
            let settled = self.settle().await;
            let again = async {
                match settled {
                    Ok(()) => std::future::pending().await,
                    Err(error) => {
                        tracing::warn!(%error, "definitions could not be settled; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            let changed = async {
                // Where the history is gone there was a change.
                if let Ok(mut watch) =
                    self.server.records.watch(WatchRequest::all(COLLECTION, start))
                {
                    drop(watch.next().await);
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.server.kinds.poke.notified() => {}
                () = changed => {}
                () = again => {}
            }
        }
    }

    /// Settles every definition. One that cannot be settled keeps no other from it: the first error is told.
    async fn settle(&self) -> Result<(), Status> {
        let mut first = Ok(());
        let mut all = Vec::new();
        for record in self.definitions()? {
            match encode::parse(&record.bytes) {
                Ok(definition) => all.push((record, definition)),
                Err(error) => first = first.and(Err(error)),
            }
        }
        for at in 0..all.len() {
            let Some((record, definition)) = all.get(at) else { break };
            let settled = if definition.at("metadata").has("deletionTimestamp") {
                self.empty(record, definition).await
            } else {
                let changed = self.accepted(record, definition, &all);
                match changed {
                    None => Ok(()),
                    Some(changed) => {
                        let written = self.write(record, definition, changed.clone()).await;
                        if let (Ok(()), Some((_, known))) = (&written, all.get_mut(at)) {
                            // Names that were accepted just now are taken for those that come after.
                            *known = changed;
                        }
                        written
                    }
                }
            };
            first = first.and(settled);
        }
        first
    }

    fn definitions(&self) -> Result<Vec<Arc<Record>>, Status> {
        let found = self.server.records.list(&Query::all(COLLECTION));
        Ok(found.map_err(|error| Status::expired(error.to_string()))?.records)
    }

    /// Judges names, and establishes the kind once they are accepted; `None` where nothing changes.
    fn accepted(
        &self,
        record: &Record,
        definition: &Value,
        all: &[(Arc<Record>, Value)],
    ) -> Option<Value> {
        let group = definition.at("spec").text("group");
        let others = all
            .iter()
            .filter(|(other, known)| {
                other.key != record.key && known.at("spec").text("group") == group
            })
            .map(|(_, known)| known.at("status").at("acceptedNames").clone());
        let others: Vec<Value> = others.chain(built_in(group)).collect();
        let now = delete::seconds(self.server.now());
        let mut changed = definition.clone();
        judge(&mut changed, &others, &now);
        (changed != *definition).then_some(changed)
    }

    /// Deletes the objects of a definition that goes; the last of them takes it along.
    async fn empty(&self, record: &Record, definition: &Value) -> Result<(), Status> {
        let finalizers = definition.at("metadata").list("finalizers");
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            return Ok(());
        }
        let left = self.delete_all(definition).await?;
        let mut changed = definition.clone();
        let now = delete::seconds(self.server.now());
        if left > 0 {
            let why = ("InstanceDeletionInProgress", "CustomResource deletion is in progress");
            condition(&mut changed, ("Terminating", "True"), why, &now);
            return if changed == *definition {
                Ok(())
            } else {
                self.write(record, definition, changed).await
            };
        }
        let rest: Vec<Value> =
            finalizers.iter().filter(|finalizer| *finalizer != CLEANUP).cloned().collect();
        if rest.is_empty() {
            return self.remove(row()?, record).await;
        }
        condition(
            &mut changed,
            ("Terminating", "False"),
            ("InstanceDeletionCompleted", "removed all instances"),
            &now,
        );
        changed.object("metadata").set("finalizers", rest);
        self.write(record, definition, changed).await
    }

    /// Deletes what can be deleted; how many stay, held by finalizers.
    async fn delete_all(&self, definition: &Value) -> Result<usize, Status> {
        let (spec, names) = (definition.at("spec"), definition.at("status").at("acceptedNames"));
        if !has_own_place(definition) {
            // Nothing of it was ever served, and what lies there is not its own.
            return Ok(0);
        }
        let collection = format!("{}/{}", spec.text("group"), names.text("plural"));
        let found = self.server.records.list(&Query::all(&collection));
        let found = found.map_err(|error| Status::expired(error.to_string()))?.records;
        if found.is_empty() {
            return Ok(0);
        }
        let kinds = self.server.kinds.now();
        let name = definition.at("metadata").text("name");
        let Some(row) = kinds.definition(name).and_then(|served| served.stored) else {
            return Err(Status::internal(&format!("nothing is known of the objects of {name}")));
        };
        let strategy = crate::admit::strategy_for(row);
        let mut left = 0;
        for record in found {
            let object = shelf::value(row, &record)?;
            let options = DeleteOptions::default();
            match delete::plan(row, strategy, &object, &options, self.server.now())? {
                delete::Plan::Remove | delete::Plan::MarkAndRemove(_) => {
                    self.remove(row, &record).await?;
                }
                delete::Plan::Mark(marked) => {
                    left += 1;
                    if marked != object {
                        self.put(row, &record, &marked).await?;
                    }
                }
                delete::Plan::Pending => left += 1,
            }
        }
        Ok(left)
    }

    /// Writes the status of a definition.
    async fn write(&self, record: &Record, old: &Value, mut changed: Value) -> Result<(), Status> {
        let row = row()?;
        if let Some(kind) = schema::of(row) {
            let version = row.api_version();
            let now = self.server.now();
            let manager =
                Manager { name: MANAGER, api_version: &version, subresource: "status", now };
            merge::track_update(Some(old), &mut changed, &manager, kind);
        }
        self.put(row, record, &changed).await
    }

    fn change<'a>(row: &'static Resource, record: &'a Record) -> shelf::Write<'a> {
        shelf::Write {
            row,
            namespace: &record.key.namespace,
            name: &record.key.name,
            expected: Expected::Revision(record.revision),
        }
    }

    async fn put(
        &self,
        row: &'static Resource,
        record: &Record,
        object: &Value,
    ) -> Result<(), Status> {
        let ttl = self.server.config.event_ttl;
        let done = Self::change(row, record).put(&self.server.records, object, ttl).await;
        self.done(row, &record.key, done.map(|_| ()))
    }

    async fn remove(&self, row: &'static Resource, record: &Record) -> Result<(), Status> {
        let ttl = self.server.config.event_ttl;
        let done = Self::change(row, record).remove(&self.server.records, None, ttl).await;
        self.done(row, &record.key, done.map(|_| ()))
    }

    /// Somebody else's write in between is no failure: it wakes the keeper again.
    fn done(&self, row: &Resource, key: &Key, done: Result<(), CommitError>) -> Result<(), Status> {
        match done {
            Ok(()) => self.server.observe(key),
            Err(CommitError::Conflict(_) | CommitError::Missing) => {
                self.server.kinds.poke.notify_one();
            }
            Err(error) => return Err(shelf::refusal(row, &key.name, &error)),
        }
        Ok(())
    }
}

fn row() -> Result<&'static Resource, Status> {
    api::resource::by_plural("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        .ok_or_else(|| Status::internal("definitions are not served"))
}

/// The names of the table's kinds in a group, as definitions say them: they are taken.
fn built_in(group: &str) -> impl Iterator<Item = Value> {
    api::resource::ALL.iter().filter(move |row| row.group == group).map(|row| {
        json!({
            "plural": row.plural,
            "singular": row.singular,
            "shortNames": row.short_names,
            "kind": row.kind,
            "listKind": format!("{}List", row.kind),
        })
    })
}

/// Sets accepted names and conditions. `others` are the names accepted of other kinds in the group.
pub(crate) fn judge(definition: &mut Value, others: &[Value], now: &str) {
    let wanted = definition.at("spec").at("names").clone();
    let mut accepted = definition.at("status").at("acceptedNames").clone();
    let mut words: Vec<&str> = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    for other in others {
        words.extend([other.text("plural"), other.text("singular")]);
        words.extend(other.list("shortNames").iter().filter_map(Value::as_str));
        kinds.extend([other.text("kind"), other.text("listKind")]);
    }
    let mut conflict: Option<(&str, String)> = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (key, taken, reason) in [
        ("plural", &words, "PluralConflict"),
        ("singular", &words, "SingularConflict"),
        ("shortNames", &words, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let asked: Vec<&str> = match wanted.at(key) {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            Value::String(name) => vec![name.as_str()],
            _ => Vec::new(),
        };
        let bad: Vec<String> = asked
            .iter()
            .filter(|name| wanted.at(key) != accepted.at(key) && taken.contains(name))
            .map(|name| in_use(name))
            .collect();
        if bad.is_empty() {
            accepted.restore(key, &wanted);
        } else {
            let message =
                if bad.len() == 1 { bad.concat() } else { format!("[{}]", bad.join(", ")) };
            conflict = conflict.or(Some((reason, message)));
        }
    }
    accepted.restore("categories", &wanted);
    definition.object("status").set("acceptedNames", accepted);
    if let Some((reason, message)) = &conflict {
        condition(definition, ("NamesAccepted", "False"), (reason, message), now);
        if !is_true(definition, "Established") {
            let why = ("NotAccepted", "not all names are accepted");
            condition(definition, ("Established", "False"), why, now);
        }
    } else {
        let why = ("NoConflicts", "no conflicts found");
        condition(definition, ("NamesAccepted", "True"), why, now);
        if !is_true(definition, "Established") {
            let why = ("InitialNamesAccepted", "the initial names have been accepted");
            condition(definition, ("Established", "True"), why, now);
        }
    }
    if let Some(Ok(said)) = approved(definition) {
        let (status, reason) = if said.starts_with("not approved") {
            ("False", "UnapprovedAnnotation")
        } else {
            ("True", "ApprovedAnnotation")
        };
        let which = "KubernetesAPIApprovalPolicyConformant";
        condition(definition, (which, status), (reason, &said), now);
    }
}

/// Sets a condition; its time moves when its status does.
pub(crate) fn condition(
    definition: &mut Value,
    (kind, status): (&str, &str),
    (reason, message): (&str, &str),
    now: &str,
) {
    let mut all = definition.at("status").list("conditions").to_vec();
    let found = all.iter_mut().find(|condition| condition.text("type") == kind);
    match found {
        Some(condition) => {
            if condition.text("status") != status {
                condition.set("lastTransitionTime", now);
            }
            condition.set("status", status);
            condition.set("reason", reason);
            condition.set("message", message);
        }
        None => all.push(json!({
            "type": kind,
            "status": status,
            "lastTransitionTime": now,
            "reason": reason,
            "message": message,
        })),
    }
    definition.object("status").set("conditions", all);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, group: &str) -> Value {
        let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")});
        json!({
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "names": names},
            "status": {"acceptedNames": {}},
        })
    }

    fn judged(plural: &str, kind: &str, group: &str) -> Value {
        let mut definition = definition(plural, kind, group);
        let others: Vec<Value> = built_in(group).collect();
        judge(&mut definition, &others, "2026-01-01T00:00:00Z");
        definition
    }

    #[test]
    fn names_of_built_in_kinds_are_never_accepted() {
        for (plural, kind, group) in [
            ("clusterroles", "ClusterRole", "rbac.authorization.k8s.io"),
            ("leases", "Lease", "coordination.k8s.io"),
            ("customresourcedefinitions", "Other", "apiextensions.k8s.io"),
            ("others", "Lease", "coordination.k8s.io"),
        ] {
            let found = judged(plural, kind, group);
            assert!(!is_true(&found, "NamesAccepted"), "{plural}.{group}");
            assert!(!is_true(&found, "Established"), "{plural}.{group}");
        }
        let found = judged("clusterroles", "ClusterRole", "example.com");
        assert!(is_true(&found, "Established") && has_own_place(&found));
    }

    #[test]
    fn a_written_status_gives_no_definition_the_place_of_another_kind() {
        let mut definition = definition("leases", "Lease", "coordination.k8s.io");
        let names = definition.at("spec").at("names").clone();
        definition.object("status").set("acceptedNames", names);
        assert!(!has_own_place(&definition));
        let mut definition = self::definition("widgets", "Widget", "example.com");
        definition
            .object("status")
            .set("acceptedNames", json!({"plural": "gadgets", "kind": "Widget"}));
        assert!(!has_own_place(&definition), "gadgets.example.com may be another's");
    }
}
