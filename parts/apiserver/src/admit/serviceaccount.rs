//! ServiceAccounts: who pods are.

use super::Strategy;

/// The strategy.
#[derive(Debug)]
pub(crate) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn delete_answers_object(&self) -> bool {
        true
    }
}
