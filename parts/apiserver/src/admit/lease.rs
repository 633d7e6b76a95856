//! Leases: a heartbeat or a lock. The most frequent write of all, so the shortest path.

use super::faults::{Faults, not_negative};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, table};
use api::{FieldError, Path};
use serde_json::Value;

/// The strategy.
#[derive(Debug)]
pub(crate) struct Lease;

impl Strategy for Lease {
    fn default(&self, object: &mut Value) {
        object.object("spec");
    }

    /// Coordinated leader election is off in 1.36: its fields are dropped unless they are there already.
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        drop_coordination(object, &Value::Null);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: &Context<'_>) {
        drop_coordination(object, old);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let holder = object.at("spec").text("holderIdentity");
        vec![table::name(object), holder.into(), table::age(object, now)]
    }
}

const COLUMNS: &[Column] =
    &[table::NAME, table::column("Holder", "string", "Who holds the lease."), table::AGE];

fn drop_coordination(object: &mut Value, old: &Value) {
    for key in ["strategy", "preferredHolder"] {
        if !old.at("spec").has(key) {
            object.object("spec").unset(key);
        }
    }
}

fn validate(spec: &Value) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut found = Vec::new();
    if let Some(seconds) = spec.int("leaseDurationSeconds")
        && seconds <= 0
    {
        let path = path.child("leaseDurationSeconds");
        found.push(FieldError::invalid(path, seconds, "must be greater than 0"));
    }
    not_negative(&mut found, path.child("leaseTransitions"), spec.at("leaseTransitions"));
    let (strategy, preferred) = (spec.at("strategy"), spec.at("preferredHolder"));
    if preferred.as_str().is_some_and(|holder| !holder.is_empty())
        && strategy.as_str().is_none_or(str::is_empty)
    {
        let why = "may only be specified if `strategy` is defined";
        found.push(FieldError::forbidden(path.child("preferredHolder"), why));
    }
    found
}
