//! Paying for an object out of the quotas of its namespace, before it is stored.

use super::{Call, fields, shelf, update};
use crate::admit::admission::{Attributes, quota};
use crate::records::{CommitError, Expected};
use crate::verbs::create::text;
use api::Status;
use serde_json::Value;
use std::collections::BTreeSet;

/// Writes the new usage of every quota that counts the object; 403 when one has not enough left. Each quota is
/// written on the condition that it is as it was read, and read again if it is not, so that its rest is spent once.
pub(crate) async fn pay(
    call: &Call,
    object: &Value,
    attributes: &Attributes<'_>,
    dry_run: bool,
) -> Result<(), Status> {
    let row = api::resource::by_plural("", "v1", "resourcequotas");
    let Some(row) = row
        .filter(|_| call.server.config.plugins.has("ResourceQuota") && quota::concern(attributes))
    else {
        return Ok(());
    };
    let mut paid: BTreeSet<String> = BTreeSet::new();
    for _ in 0..update::ROUNDS_MAX {
        let view = shelf::Sight(&call.server.records);
        let charges = quota::charges(object, attributes, &view, &paid)?;
        if dry_run {
            return Ok(());
        }
        let mut lost = false;
        for mut charge in charges {
            let name = text(&charge.old, "name");
            let version = text(&charge.old, "resourceVersion");
            let found = shelf::find(&call.server.records, row, call.namespace(), &name);
            let Some(record) = found.filter(|found| found.revision.to_string() == version) else {
                lost = true;
                continue;
            };
            fields::counted(call, row, &charge.old, &mut charge.new);
            let write = shelf::Write {
                row,
                namespace: call.namespace(),
                name: &name,
                expected: Expected::Revision(record.revision),
            };
            match write.put(&call.server.records, &charge.new, call.server.config.event_ttl).await {
                Ok(_) => drop(paid.insert(name)),
                Err(CommitError::Conflict(_) | CommitError::Missing) => lost = true,
                Err(error) => return Err(shelf::refusal(row, &name, &error)),
            }
        }
        if !lost {
            return Ok(());
        }
    }
    Err(shelf::conflict(row, "quota"))
}
