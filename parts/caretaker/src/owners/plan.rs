//! What becomes of an object because of its owners and dependents (spec B130–B132). Pure.

use crate::words::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// How an owner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is there, or nobody can say.
    Solid,
    /// It is not there.
    Absent,
    /// It waits for its dependents to go first.
    Waiting,
}

/// How an object is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Background,
    Foreground,
    Orphan,
}

/// What to do with an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Nothing,
    /// It keeps these owners; the others are gone or going.
    Keep(Vec<OwnerReference>),
    /// It goes.
    Delete(Policy),
    /// It goes, but its owner need not wait for it: they would wait for each other.
    UnblockAndDelete(Vec<OwnerReference>),
}

/// What to do with an object that waits for its dependents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Not waiting.
    No,
    /// Let the dependents go their own way, then go.
    LetGo,
    /// Delete the dependents, then go.
    Drain,
}

pub(crate) fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|own| own == finalizer)
}

/// Whether it waits for its dependents to be deleted.
pub(crate) fn is_draining(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, FINALIZER_FOREGROUND)
}

pub(crate) fn held(meta: &ObjectMeta) -> Held {
    if meta.deletion_timestamp.is_none() {
        Held::No
    } else if has_finalizer(meta, FINALIZER_ORPHAN) {
        Held::LetGo
    } else if has_finalizer(meta, FINALIZER_FOREGROUND) {
        Held::Drain
    } else {
        Held::No
    }
}

/// Decides about an object that is not being deleted, by its owners. `dependents`: whether it has any; `circular`: whether
/// one of them is itself draining.
pub(crate) fn plan(
    meta: &ObjectMeta,
    owners: &[(OwnerReference, Owner)],
    dependents: bool,
    circular: bool,
) -> Step {
    if owners.is_empty() {
        return Step::Nothing;
    }
    let of = |wanted: Owner| owners.iter().filter(move |(_, owner)| *owner == wanted);
    let solid: Vec<OwnerReference> =
        of(Owner::Solid).map(|(reference, _)| reference.clone()).collect();
    if solid.len() == owners.len() {
        return Step::Nothing;
    }
    if !solid.is_empty() {
        return Step::Keep(solid);
    }
    if of(Owner::Waiting).next().is_some() && dependents {
        if circular {
            let unblocked = |(reference, _): &(OwnerReference, Owner)| OwnerReference {
                block_owner_deletion: Some(false),
                ..reference.clone()
            };
            return Step::UnblockAndDelete(owners.iter().map(unblocked).collect());
        }
        return Step::Delete(Policy::Foreground);
    }
    Step::Delete(if has_finalizer(meta, FINALIZER_ORPHAN) {
        Policy::Orphan
    } else if has_finalizer(meta, FINALIZER_FOREGROUND) {
        Policy::Foreground
    } else {
        Policy::Background
    })
}

/// Whether a dependent keeps its draining owner from going.
pub(crate) fn blocks(dependent: &ObjectMeta, owner_uid: &str) -> bool {
    let owners = dependent.owner_references.iter().flatten();
    owners.into_iter().any(|own| own.uid == owner_uid && own.block_owner_deletion == Some(true))
}

/// Whether a change can matter here.
pub(crate) fn matters(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid != new.uid
        || old.owner_references != new.owner_references
        || old.finalizers != new.finalizers
        || old.deletion_timestamp.is_some() != new.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Owner::{Absent, Solid, Waiting};

    fn reference(uid: &str) -> OwnerReference {
        OwnerReference {
            uid: uid.into(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        }
    }

    fn step(owners: &[Owner], finalizers: &[&str], dependents: bool, circular: bool) -> Step {
        let owners: Vec<_> = owners
            .iter()
            .enumerate()
            .map(|(n, owner)| (reference(&n.to_string()), *owner))
            .collect();
        let meta = ObjectMeta {
            finalizers: Some(finalizers.iter().map(|f| (*f).to_owned()).collect()),
            ..ObjectMeta::default()
        };
        plan(&meta, &owners, dependents, circular)
    }

    #[test]
    fn an_object_goes_only_when_no_owner_is_left() {
        let plain = |owners: &[Owner]| step(owners, &[], false, false);
        assert_eq!(plain(&[]), Step::Nothing);
        assert_eq!(plain(&[Solid]), Step::Nothing);
        assert_eq!(plain(&[Absent, Solid]), Step::Keep(vec![reference("1")]));
        assert_eq!(plain(&[Solid, Waiting]), Step::Keep(vec![reference("0")]));
        assert_eq!(plain(&[Absent]), Step::Delete(Policy::Background));
        assert_eq!(plain(&[Absent, Waiting]), Step::Delete(Policy::Background));
    }

    #[test]
    fn the_way_an_object_goes_follows_its_finalizers_and_its_owner() {
        assert_eq!(
            step(&[Absent], &[FINALIZER_ORPHAN], false, false),
            Step::Delete(Policy::Orphan)
        );
        assert_eq!(
            step(&[Absent], &[FINALIZER_FOREGROUND], false, false),
            Step::Delete(Policy::Foreground)
        );
        assert_eq!(step(&[Waiting], &[], true, false), Step::Delete(Policy::Foreground));
        let mut unblocked = reference("0");
        unblocked.block_owner_deletion = Some(false);
        assert_eq!(step(&[Waiting], &[], true, true), Step::UnblockAndDelete(vec![unblocked]));
    }

    #[test]
    fn only_a_reference_that_says_so_blocks() {
        let mut dependent =
            ObjectMeta { owner_references: Some(vec![reference("a")]), ..ObjectMeta::default() };
        assert!(blocks(&dependent, "a"));
        assert!(!blocks(&dependent, "b"));
        dependent.owner_references.as_mut().unwrap()[0].block_owner_deletion = None;
        assert!(!blocks(&dependent, "a"));
    }

    #[test]
    fn a_deleted_object_is_held_by_its_finalizers() {
        let held_by = |finalizers: &[&str], deleted: bool| {
            held(&ObjectMeta {
                finalizers: Some(finalizers.iter().map(|f| (*f).to_owned()).collect()),
                deletion_timestamp: deleted
                    .then(|| serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap()),
                ..ObjectMeta::default()
            })
        };
        assert_eq!(held_by(&[FINALIZER_ORPHAN], false), Held::No);
        assert_eq!(held_by(&[], true), Held::No);
        assert_eq!(held_by(&[FINALIZER_ORPHAN, FINALIZER_FOREGROUND], true), Held::LetGo);
        assert_eq!(held_by(&[FINALIZER_FOREGROUND], true), Held::Drain);
    }
}
