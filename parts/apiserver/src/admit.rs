//! Defaulting, mutation, validation: one strategy for each kind.
//!
//! CONTRACT (owner: helper "admit"); the verbs program against this trait.

use crate::identity::Identity;
use api::{FieldError, Status};
use serde_json::Value;

/// What a strategy may know beside the objects. No clock and no chance of its own: both come in here.
#[derive(Debug)]
pub struct Context<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// The moment of the request, RFC 3339 to the second.
    pub now: jiff::Timestamp,
    /// Empty for the object itself, `status`, `binding`, ... for a subresource.
    pub subresource: &'a str,
}

/// How one kind behaves. Objects are JSON of the version served; implementations decode to k8s-openapi
/// types where that is simpler. Metadata common to all kinds (name, uid, creationTimestamp, labels' and
/// annotations' form, ownerReferences, finalizers, managedFields) is done once by the verbs through
/// `admit::metadata`, not by strategies.
pub trait Strategy: Sync + std::fmt::Debug {
    /// Fills in defaults. Runs on everything that was decoded from a user: creates, updates and the
    /// results of patches.
    fn default(&self, object: &mut Value);

    /// Before create: drop what only the server may set (status), set generation 1 where the kind has one.
    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) -> Result<(), Status>;

    /// Before update (also of a subresource: `context.subresource`): bring back what may not change here,
    /// raise the generation when spec changed.
    fn prepare_update(
        &self,
        object: &mut Value,
        old: &Value,
        context: &Context<'_>,
    ) -> Result<(), Status>;

    /// Faults of a new object.
    fn validate_create(&self, object: &Value, context: &Context<'_>) -> Vec<FieldError>;

    /// Faults of a change.
    fn validate_update(
        &self,
        object: &Value,
        old: &Value,
        context: &Context<'_>,
    ) -> Vec<FieldError>;

    /// Warnings (header 299) for a new or changed object.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Values that field selectors may ask for beside `metadata.name` and `metadata.namespace`.
    fn fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Field names that field selectors may use beside `metadata.*`.
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether PUT on a missing name creates.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether PUT needs no resourceVersion.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Whether DELETE answers the object rather than a Status.
    fn delete_answers_object(&self) -> bool {
        false
    }

    /// Seconds of grace for a delete; `None` when the kind knows no graceful deletion (all but pods).
    /// `asked` is `gracePeriodSeconds` of the request.
    fn grace_seconds(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Columns of the Table, in order.
    fn columns(&self) -> &'static [Column];

    /// Cells of one object, one for each column.
    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value>;
}

/// A column of a Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `date`.
    pub r#type: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    /// Explanation.
    pub description: &'static str,
}
