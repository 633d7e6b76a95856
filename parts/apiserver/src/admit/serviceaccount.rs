//! ServiceAccounts: who pods are.

use super::json::Json;
use super::{Column, Strategy, table};
use serde_json::Value;

/// The strategy.
#[derive(Debug)]
pub(crate) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![table::name(object), object.list("secrets").len().into(), table::age(object, now)]
    }
}

const COLUMNS: &[Column] =
    &[table::NAME, table::column("Secrets", "string", "How many Secrets are listed."), table::AGE];
