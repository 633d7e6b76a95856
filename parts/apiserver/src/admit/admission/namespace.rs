//! Nothing is made in a namespace that is not there or is going; three namespaces never go.

use super::{Attributes, Operation, View};
use crate::admit::json::Json;
use api::Status;
use api::status::{Cause, Details};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// 404 for a missing namespace, 403 for one that is being emptied or must stay.
pub(super) fn judge(attributes: &Attributes<'_>, view: &dyn View) -> Result<(), Status> {
    let resource = attributes.resource;
    if resource.group.is_empty() && resource.plural == "namespaces" {
        let deletes = attributes.operation == Operation::Delete;
        if deletes && IMMORTAL.contains(&attributes.name) {
            return Err(attributes.forbidden("this namespace may not be deleted"));
        }
        return Ok(());
    }
    if !resource.namespaced || attributes.operation == Operation::Delete {
        return Ok(());
    }
    let name = attributes.namespace;
    let Some(namespace) = view.get("", "namespaces", "", name) else {
        return Err(Status::not_found("", "namespaces", name));
    };
    let leaving = namespace.at("metadata").has("deletionTimestamp")
        || namespace.at("status").text("phase") == "Terminating";
    if attributes.operation != Operation::Create || !leaving {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = attributes.forbidden(&why);
    status.details.get_or_insert_with(Details::default).causes = vec![Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    }];
    Err(status)
}
