//! Custom resources: kinds that a CustomResourceDefinition describes, served while the server runs.
//!
//! A definition becomes one [`Kind`] and one row of the table of resources for each version, so that every verb,
//! discovery, patches and apply treat it as any other kind. [`kinds::Kinds`] says which are served now;
//! [`keeper`] sets the conditions of definitions and empties those that go.
//!
//! # Invariants
//! - Rows, types and rules live as long as the process ([`kinds`] says why, and how much that may be).
//! - What is served depends on the stored definitions alone, so a restart serves the same.

pub(crate) mod cel;
mod check;
mod expression;
mod form;
mod format;
pub(crate) mod keeper;
mod kind;
pub(crate) mod kinds;
mod lists;
mod path;
mod prune;
pub(crate) mod read;
mod schema;
mod shape;

pub(crate) use check::check;
pub(crate) use form::Form;
pub(crate) use kind::{Kind, Scale, number};
pub(crate) use path::{plain, set};
pub(crate) use prune::{default, prune};
pub(crate) use schema::{PATTERNS_BYTES_MAX, Schema, pattern};
pub(crate) use shape::document;

use crate::encode::Reply;
use crate::route::Target;
use api::{Path, Resource, Status};

/// The rules of a custom resource; `None` for kinds of the table.
pub(crate) fn kind_of(row: &Resource) -> Option<&'static Kind> {
    row.custom.and_then(|custom| custom.rules.downcast_ref::<Kind>())
}

/// The path of nothing, as Go prints it.
pub(crate) fn nowhere() -> Path {
    Path::new("<nil>")
}

/// What a custom resource refuses before its verbs are looked at: places and subresources that it does not have are
/// answered as if nothing were served there.
pub(crate) fn refused(
    target: &Target,
    row: &Resource,
    going: bool,
) -> Option<Result<Reply, Status>> {
    let attributes = &target.attributes;
    let verb = attributes.verb.as_ref();
    let in_namespace = !target.namespace.is_empty();
    let misplaced = match (row.namespaced, in_namespace) {
        (false, true) => true,
        (true, false) => !["list", "watch"].contains(&verb),
        _ => false,
    };
    if misplaced || !target.rest.is_empty() {
        return Some(Ok(Reply::text(404, "404 page not found\n")));
    }
    let below = attributes.subresource.as_str();
    if !below.is_empty() && row.subresource(below).is_none() {
        return Some(Err(Status::not_found(row.group, row.plural, &target.name)));
    }
    let unknown = |verb: &str| Some(Err(Status::method_not_allowed(row.group, row.plural, verb)));
    match (verb, below) {
        ("create", "") if !target.name.is_empty() => unknown(verb),
        ("get" | "update" | "patch", "status" | "scale") => None,
        (_, "status" | "scale") => unknown(verb),
        ("create", "") if going => {
            let mut status = Status::method_not_allowed(row.group, row.plural, verb);
            status.message =
                format!("{verb} not allowed while custom resource definition is terminating");
            Some(Err(status))
        }
        _ => None,
    }
}
