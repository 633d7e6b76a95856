//! Objects as the server keeps them: bytes, with a few extracted facts beside them.
//!
//! CONTRACT (owner: helper "records"); others program against these signatures.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where an object lives: `/registry/<storage>/<ns>/<name>` in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `group/storage-name`, for instance `apps/daemonsets`, `/pods` (core: empty group).
    pub collection: Arc<str>,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// Extracted once per write, so that reads and watches never parse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Values for field selectors (`spec.nodeName`, `status.phase`, ...), without `metadata.*`.
    pub fields: BTreeMap<&'static str, String>,
}

/// One object at one revision. `bytes` is the JSON answered to a GET, `metadata.resourceVersion` included.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it lives.
    pub key: Key,
    /// `metadata.resourceVersion`.
    pub revision: u64,
    /// The object as JSON.
    pub bytes: Bytes,
    /// Extracted facts.
    pub facts: Facts,
}
