//! The form in which a kind is served, for watches: they end when it is served otherwise, or no longer.

use super::kinds::Kinds;
use api::Resource;
use tokio::sync::watch;

/// The form of a kind when a watch on it was opened.
#[derive(Debug)]
pub(crate) struct Form {
    row: &'static Resource,
    /// Its number then; `None` when it was over already.
    number: Option<u64>,
    changes: watch::Receiver<()>,
}

impl Form {
    /// The present form of a row.
    pub(crate) fn of(row: &'static Resource, kinds: &Kinds) -> Self {
        // First listen, then look.
        let changes = kinds.listen();
        Self { row, number: kinds.now().form(row), changes }
    }

    /// Returns when the row is served in this form no longer. Can be dropped at any await and called again.
    pub(crate) async fn over(&mut self, kinds: &Kinds) {
        while self.number.is_some() && kinds.now().form(self.row) == self.number {
            if self.changes.changed().await.is_err() {
                // The server goes with its kinds.
                return;
            }
        }
    }
}
