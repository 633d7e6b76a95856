//! ServiceAccounts: who pods are.

use super::Strategy;
use super::json::Json;
use serde_json::Value;

/// Once kept pods to the secrets that their account names.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The strategy.
#[derive(Debug)]
pub(crate) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let has = |of: &Value| of.at("metadata").at("annotations").has(ENFORCE);
        if !has(object) || old.is_some_and(has) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn delete_answers_object(&self) -> bool {
        true
    }
}
