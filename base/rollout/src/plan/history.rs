//! Revisions: which one is current, what it is called, which are superfluous (spec 2.6).

use crate::json::canonical;
use crate::set::Set;
use crate::shape;
use crate::words::HASH_LABEL;
use crate::world::Revision;
use api::names::safe_encoded;
use std::collections::{BTreeMap, BTreeSet};

/// Names of revisions are subdomains of at most this length.
const NAME_MAX: usize = 253;

/// A revision to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevision {
    /// Name, `<set>-<hash>`.
    pub name: String,
    /// Hash.
    pub hash: String,
    /// Revision number.
    pub number: i64,
    /// What `data` will be, canonically: who finds the name taken compares with it (spec B54).
    pub data: String,
}

/// What to do about revisions before pods are touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Revisions to adopt, by name.
    pub adopt: Vec<String>,
    /// Revisions to release, by name.
    pub release: Vec<String>,
    /// Revisions without the hash label: their name becomes its value (spec B57).
    pub label: Vec<String>,
    /// The revision to create, if none holds the current template.
    pub create: Option<NewRevision>,
    /// The revision to renumber (spec B53).
    pub renumber: Option<(String, i64)>,
    /// Duplicates of the current revision, to delete once no pod carries their hash (spec B55).
    pub duplicates: Vec<String>,
    /// Old revisions beyond the limit, to delete last (spec B58).
    pub trim: Vec<String>,
}

/// The history of a set, sorted out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Hash of the current revision; pods are created with it.
    pub hash: String,
    /// Hashes of duplicates of the current revision: their pods are relabelled.
    pub duplicate_hashes: BTreeSet<String>,
    /// What to do.
    pub steps: Revisions,
    /// Old revisions, lowest number first: name and hash.
    old: Vec<(String, String)>,
}

impl History {
    /// Sorts out the revisions of a set.
    pub fn of(set: &Set, revisions: &BTreeMap<String, Revision>) -> Self {
        let mut steps = Revisions::default();
        let mut mine = Vec::new();
        for revision in revisions.values() {
            match claim(set, revision) {
                Claim::Mine => mine.push(revision),
                Claim::Adopt => {
                    steps.adopt.push(revision.name.clone());
                    mine.push(revision);
                }
                Claim::Release => steps.release.push(revision.name.clone()),
                Claim::Others => {}
            }
        }
        let unlabelled = mine.iter().filter(|revision| !revision.labels.contains_key(HASH_LABEL));
        steps.label = unlabelled.map(|revision| revision.name.clone()).collect();
        let wanted = canonical(&shape::data(&set.template));
        let (current, mut old): (Vec<&Revision>, Vec<&Revision>) =
            mine.into_iter().partition(|revision| revision.data == wanted);
        old.sort_by_key(|revision| (revision.number, revision.name.clone()));
        let number = old.last().map_or(0, |revision| revision.number) + 1;
        let kept = current.iter().copied().max_by_key(|r| (r.number, r.name.clone()));
        let hash = if let Some(kept) = kept {
            if kept.number < number {
                steps.renumber = Some((kept.name.clone(), number));
            }
            kept.hash().to_owned()
        } else {
            let new = new_revision(set, number, wanted);
            let hash = new.hash.clone();
            steps.create = Some(new);
            hash
        };
        let is_duplicate = |r: &&Revision| kept.is_some_and(|kept| kept.name != r.name);
        let duplicates: Vec<&Revision> = current.iter().copied().filter(is_duplicate).collect();
        steps.duplicates = duplicates.iter().map(|revision| revision.name.clone()).collect();
        Self {
            duplicate_hashes: duplicates.iter().map(|r| r.hash().to_owned()).collect(),
            hash,
            steps,
            old: old.iter().map(|r| (r.name.clone(), r.hash().to_owned())).collect(),
        }
    }

    /// Old revisions beyond the limit, lowest number first, sparing those whose hash a pod still carries
    /// (spec B58).
    pub fn trimmed(&self, limit: usize, is_in_use: impl Fn(&str) -> bool) -> Vec<String> {
        let excess = self.old.len().saturating_sub(limit);
        let idle = self.old.iter().filter(|(_, hash)| !is_in_use(hash));
        idle.take(excess).map(|(name, _)| name.clone()).collect()
    }
}

enum Claim {
    Mine,
    Adopt,
    Release,
    Others,
}

/// The rule of pods, applied to revisions (spec B44).
fn claim(set: &Set, revision: &Revision) -> Claim {
    let is_selected = set.selects(&revision.labels);
    match &revision.controller {
        Some(uid) if *uid != set.uid => Claim::Others,
        Some(_) if is_selected => Claim::Mine,
        Some(_) => Claim::Release,
        None if is_selected && !revision.is_terminating => Claim::Adopt,
        None => Claim::Others,
    }
}

fn new_revision(set: &Set, number: i64, data: String) -> NewRevision {
    let hash = hash(&canonical(&set.template), set.status.collision_count);
    let name = if set.is_ours() { name(&set.name, &hash) } else { format!("{}-{hash}", set.name) };
    NewRevision { name, hash, number, data }
}

/// `<set>-<hash>`; a set's name that is too long is cut so that the hash fits, and so that what is left
/// still ends in a letter or digit. (Upstream never gets past this point; spec B59.)
pub fn name(set: &str, hash: &str) -> String {
    let room = NAME_MAX.saturating_sub(hash.len() + 1);
    let cut: String = set.chars().take(room).collect();
    format!("{}-{hash}", cut.trim_end_matches(['-', '.']))
}

/// FNV-1a of the template's bytes and the collision count, written in at most 10 letters (spec B52).
pub fn hash(template: &str, collision_count: Option<i64>) -> String {
    let mut state: u32 = 0x811c_9dc5;
    let count = collision_count.map(i64::to_le_bytes);
    for byte in template.bytes().chain(count.into_iter().flatten()) {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    safe_encoded(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_leave_room_for_the_hash() {
        let long = format!("{}.{}", "a".repeat(241), "b".repeat(11));
        let name = name(&long, "bcdfghjklm");
        assert_eq!(name, format!("{}-bcdfghjklm", "a".repeat(241)));
        assert!(name.len() <= NAME_MAX);
        assert_eq!(super::name("short", "bcd"), "short-bcd");
    }

    #[test]
    fn a_hash_is_short_and_moves_with_template_and_collisions() {
        let plain = hash("{}", None);
        assert!(
            plain.len() <= 10 && plain.bytes().all(|b| api::names::ALPHABET.contains(&b)),
            "{plain}"
        );
        assert_eq!(plain, hash("{}", None));
        assert_ne!(plain, hash("{ }", None));
        assert_ne!(plain, hash("{}", Some(1)));
        assert_ne!(hash("{}", Some(1)), hash("{}", Some(2)));
    }
}
