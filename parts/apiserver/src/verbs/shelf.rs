//! Between requests and records: keys, facts and the words for writes that did not happen.

use crate::admit::admission::{self, Labels};
use crate::admit::{Strategy, strategy_for};
use crate::encode;
use crate::records::{
    Action, Change, CommitError, Committed, Expected, Facts, Key, Query, Record, Records,
};
use api::{Resource, Status};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Seconds after which a caller may try again when too many writes wait: the queue drains in about two
/// (`records::WAITING_WRITES_MAX`), most of it much sooner.
const BUSY_RETRY_SECONDS: u32 = 1;

/// Where an object lives.
pub(crate) fn key(row: &Resource, namespace: &str, name: &str) -> Key {
    Key::new(row.storage, if row.namespaced { namespace } else { "" }, name)
}

/// The row of a resource as it is stored; differs from the one asked for where two groups share storage.
pub(crate) fn stored_row(row: &'static Resource) -> &'static Resource {
    if row.custom.is_some() {
        return row;
    }
    let place = row.storage.split_once('/');
    let plain = |found: &&Resource| place == Some((found.group, found.plural));
    api::resource::ALL.iter().find(plain).unwrap_or(row)
}

/// What reads and watches need to know of an object.
pub(crate) fn facts(
    row: &Resource,
    strategy: &dyn Strategy,
    object: &Value,
    event_ttl: Duration,
) -> Facts {
    Facts {
        fields: strategy.fields(object).into_iter().collect::<BTreeMap<_, _>>(),
        expires: if row.storage == "/events" { expiry(object, event_ttl) } else { None },
        ..plain_facts(object)
    }
}

/// What every object has.
fn plain_facts(object: &Value) -> Facts {
    let meta = object.get("metadata").unwrap_or(&Value::Null);
    let labels = meta.get("labels").and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Facts {
        uid: meta.get("uid").map(text).unwrap_or_default(),
        labels: labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        ..Facts::default()
    }
}

/// An event is kept for a while after it was last seen.
fn expiry(event: &Value, ttl: Duration) -> Option<jiff::Timestamp> {
    let times =
        ["/metadata/creationTimestamp", "/lastTimestamp", "/eventTime", "/series/lastObservedTime"];
    let moments =
        times.iter().filter_map(|at| event.pointer(at)?.as_str()?.parse::<jiff::Timestamp>().ok());
    let last = moments.max()?;
    last.checked_add(jiff::SignedDuration::try_from(ttl).ok()?).ok()
}

/// Facts of an object found at start.
pub(crate) fn facts_of(key: &Key, bytes: &[u8], event_ttl: Duration) -> Result<Facts, String> {
    let row = api::resource::ALL.iter().find(|row| row.storage == &*key.collection);
    let object: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Some(row) = row else {
        // Definitions are read after the store is open, and nothing more is extracted from their objects.
        let group = key.collection.split('/').next().unwrap_or_default();
        return if group.contains('.') {
            Ok(plain_facts(&object))
        } else {
            Err(format!("no kind is stored in {}", key.collection))
        };
    };
    let row = stored_row(row);
    Ok(facts(row, strategy_for(row), &object, event_ttl))
}

/// A write about to be made.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    pub(crate) row: &'static Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) expected: Expected,
}

impl Write<'_> {
    /// Stores an object.
    pub(crate) async fn put(
        self,
        records: &Records,
        object: &Value,
        event_ttl: Duration,
    ) -> Result<Committed, CommitError> {
        let row = stored_row(self.row);
        let stored = encode::convert::stored(self.row, object);
        let facts = facts(row, strategy_for(row), &stored, event_ttl);
        let action = Action::Put { value: encode::stamped(&stored), facts };
        self.commit(records, action).await
    }

    /// Removes an object; `last` is its last state where that differs from what is stored.
    pub(crate) async fn remove(
        self,
        records: &Records,
        last: Option<&Value>,
        event_ttl: Duration,
    ) -> Result<Committed, CommitError> {
        let row = stored_row(self.row);
        let last = last.map(|object| {
            let stored = encode::convert::stored(self.row, object);
            let facts = facts(row, strategy_for(row), &stored, event_ttl);
            (encode::stamped(&stored), facts)
        });
        self.commit(records, Action::Delete { last }).await
    }

    async fn commit(self, records: &Records, action: Action) -> Result<Committed, CommitError> {
        let key = key(self.row, self.namespace, self.name);
        records.commit(Change { key, expected: self.expected, action }).await
    }
}

/// What a caller is told about a write that did not happen.
pub(crate) fn refusal(row: &Resource, name: &str, error: &CommitError) -> Status {
    match error {
        CommitError::Exists(_) => Status::already_exists(row.group, row.plural, name),
        CommitError::Conflict(_) => conflict(row, name),
        CommitError::Missing => Status::not_found(row.group, row.plural, name),
        CommitError::BadKey => Status::bad_request(format!("name {name:?} cannot be stored")),
        CommitError::Busy => Status::too_many_requests(
            "too many requests, please try again later",
            BUSY_RETRY_SECONDS,
        ),
        CommitError::NotWritten(_) | CommitError::ReadOnly(_) => {
            Status::internal(&error.to_string())
        }
        CommitError::Stopped => {
            Status::failure(503, "ServiceUnavailable", "the server is shutting down")
        }
    }
}

/// 409: someone else wrote in between.
pub(crate) fn conflict(row: &Resource, name: &str) -> Status {
    Status::conflict(
        row.group,
        row.plural,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

/// The bytes of a record as the resource asked for shows them.
pub(crate) fn shown(row: &'static Resource, record: &Record) -> Bytes {
    encode::convert::shown(row, &record.bytes)
}

/// The object of a record as the resource asked for shows it.
pub(crate) fn value(row: &'static Resource, record: &Record) -> Result<Value, Status> {
    encode::parse(&shown(row, record))
}

/// Finds one object.
pub(crate) fn find(
    records: &Records,
    row: &Resource,
    namespace: &str,
    name: &str,
) -> Option<Arc<Record>> {
    records.get(&key(row, namespace, name))
}

/// Collections whose objects are kept parsed once somebody asked for them: admission reads them with every new pod.
/// Each is small, there are few, and they change rarely: quotas, which change with every pod, are not among them, since
/// what history keeps of them would stay parsed with it.
const KEPT_PARSED: [&str; 5] = [
    "/namespaces",
    "/limitranges",
    "/serviceaccounts",
    "scheduling.k8s.io/priorityclasses",
    "node.k8s.io/runtimeclasses",
];

/// The object of a record.
fn read(record: &Record) -> Option<Arc<Value>> {
    let parse = || encode::parse(&record.bytes).ok().map(Arc::new);
    if !KEPT_PARSED.contains(&&*record.key.collection) {
        return parse();
    }
    if let Some(known) = record.facts.parsed.0.get() {
        return Some(Arc::clone(known));
    }
    let object = parse()?;
    Some(Arc::clone(record.facts.parsed.0.get_or_init(|| object)))
}

/// Other objects, for admission.
#[derive(Debug)]
pub(crate) struct Sight<'a>(pub(crate) &'a Records);

impl admission::View for Sight<'_> {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        read(&*self.0.get(&Key::new(format!("{group}/{plural}"), namespace, name))?)
    }

    fn labels(&self, kind: (&str, &str), namespace: &str, name: &str) -> Option<Labels> {
        let (group, plural) = kind;
        let record = self.0.get(&Key::new(format!("{group}/{plural}"), namespace, name))?;
        Some(record.facts.labels.clone())
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let collection = format!("{group}/{plural}");
        let query = Query { namespace, ..Query::all(&collection) };
        let found = self.0.list(&query).map(|snapshot| snapshot.records).unwrap_or_default();
        found.iter().filter_map(|record| read(record)).collect()
    }
}
