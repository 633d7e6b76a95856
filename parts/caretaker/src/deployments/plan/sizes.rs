//! How large each set is: the two fences of a rolling update, and shares of a size that changes midway.

use super::{Parts, Resize, marks, recreates, size};
use crate::words;
use api::intstr::scaled;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;

impl Parts<'_> {
    /// Pods that there should be.
    pub(super) fn wanted(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Pods beyond that, and pods that may be missing; never both nothing, or no step could be made.
    fn fences(&self) -> (i32, i32) {
        let rolling = self.spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        let count = |value: Option<&IntOrString>, up: bool| {
            let value = value.and_then(|value| scaled(value, self.wanted().into(), up).ok());
            i32::try_from(value.unwrap_or(0)).unwrap_or(i32::MAX)
        };
        let surge = count(rolling.and_then(|r| r.max_surge.as_ref()), true);
        let missing = count(rolling.and_then(|r| r.max_unavailable.as_ref()), false);
        if surge == 0 && missing == 0 { (0, 1) } else { (surge, missing) }
    }

    pub(super) fn surge(&self) -> i32 {
        if recreates(self.deployment) { 0 } else { self.fences().0 }
    }

    pub(super) fn may_be_missing(&self) -> i32 {
        if recreates(self.deployment) || self.wanted() == 0 {
            return 0;
        }
        self.fences().1.min(self.wanted())
    }

    fn total(&self) -> i32 {
        self.all.iter().map(|set| size(set)).fold(0, i32::saturating_add)
    }

    pub(super) fn available(&self) -> i32 {
        let count = |set: &Arc<ReplicaSet>| available(set);
        self.all.iter().map(count).fold(0, i32::saturating_add)
    }

    /// The size of a set that is made now.
    pub(super) fn first_size(&self) -> i32 {
        if recreates(self.deployment) { self.wanted() } else { self.grown(0) }
    }

    /// A size of the current set that the fence above allows.
    fn grown(&self, from: i32) -> i32 {
        let room = self.wanted().saturating_add(self.surge()).saturating_sub(self.total());
        let left = self.wanted().saturating_sub(from);
        if room <= 0 { from } else { from.saturating_add(room.min(left)) }
    }

    /// The next size of the current set, if it changes.
    pub(super) fn next_size(&self, new: &ReplicaSet) -> Option<i32> {
        let (is, wanted) = (size(new), self.wanted());
        let next = if is > wanted { wanted } else { self.grown(is) };
        (next != is).then_some(next)
    }

    /// Sizes of old sets after one step down: pods that do not work first, then as many as the fence below allows.
    pub(super) fn shrunk(&self) -> Vec<Resize> {
        let least = self.wanted().saturating_sub(self.may_be_missing());
        let coming = self.new.map_or(0, |new| size(new).saturating_sub(available(new)));
        let most = self.total().saturating_sub(least).saturating_sub(coming);
        if most <= 0 {
            return Vec::new();
        }
        let mut sizes: Vec<(&Arc<ReplicaSet>, i32)> =
            self.active_old().map(|set| (set, size(set))).collect();
        let mut broken = most;
        for (set, to) in &mut sizes {
            let drop = (*to).saturating_sub(available(set)).clamp(0, broken);
            *to -= drop;
            broken -= drop;
        }
        let mut spare = self.available().saturating_sub(least).max(0);
        for (_, to) in &mut sizes {
            let drop = (*to).min(spare);
            *to -= drop;
            spare -= drop;
        }
        sizes.retain(|(set, to)| *to != size(set));
        sizes.into_iter().map(|(set, to)| self.resized(set, to)).collect()
    }

    pub(super) fn resized(&self, set: &Arc<ReplicaSet>, to: i32) -> Resize {
        Resize { set: Arc::clone(set), to, annotations: marks::sizes(self) }
    }

    /// Whether the Deployment's size is not the one that its sets were sized for.
    pub(super) fn is_scaled(&self) -> bool {
        let wanted = self.wanted().to_string();
        self.all.iter().filter(|set| size(set) > 0).any(|set| {
            let noted = set.metadata.annotations.as_ref();
            noted.and_then(|all| all.get(words::ANNOTATION_DESIRED)).is_some_and(|n| *n != wanted)
        })
    }

    /// Sizes of all sets for the Deployment's size.
    pub(super) fn scaled(&self) -> Vec<Resize> {
        let active: Vec<&Arc<ReplicaSet>> = self.all.iter().filter(|s| size(s) > 0).collect();
        let alone = match active.as_slice() {
            [] => self.new.or_else(|| self.old.last().copied()),
            [one] => Some(*one),
            _ => None,
        };
        if let Some(set) = alone {
            let settled = size(set) == self.wanted() && self.is_noted(set);
            return if settled { Vec::new() } else { vec![self.resized(set, self.wanted())] };
        }
        if self.new.is_some_and(|new| self.is_saturated(new)) {
            return self.active_old().map(|set| self.resized(set, 0)).collect();
        }
        if active.is_empty() || recreates(self.deployment) {
            return Vec::new();
        }
        self.shared(active)
    }

    fn is_noted(&self, set: &ReplicaSet) -> bool {
        let has = set.metadata.annotations.as_ref();
        marks::sizes(self).iter().all(|(key, value)| has.and_then(|h| h.get(key)) == Some(value))
    }

    /// Whether the current set has all pods, and they are available.
    fn is_saturated(&self, new: &ReplicaSet) -> bool {
        let noted = new.metadata.annotations.as_ref();
        let noted = noted.and_then(|all| all.get(words::ANNOTATION_DESIRED)?.parse::<i32>().ok());
        let wanted = self.wanted();
        size(new) == wanted && noted == Some(wanted) && available(new) == wanted
    }

    /// Each set gets its share of what is added or taken; what rounding leaves goes to the largest.
    fn shared(&self, mut sets: Vec<&Arc<ReplicaSet>>) -> Vec<Resize> {
        let wanted = self.wanted();
        let allowed = if wanted > 0 { wanted.saturating_add(self.surge()) } else { 0 };
        let add = allowed.saturating_sub(sets.iter().map(|s| size(s)).fold(0, i32::saturating_add));
        let made = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|at| at.0);
        if add > 0 {
            sets.sort_by_key(|set| std::cmp::Reverse((size(set), made(set))));
        } else {
            sets.sort_by_key(|set| (std::cmp::Reverse(size(set)), made(set)));
        }
        let mut added = 0;
        let mut sizes = Vec::with_capacity(sets.len());
        for set in &sets {
            let left = add - added;
            let share = self.share(set);
            let share = if add > 0 { share.min(left) } else { share.max(left) };
            let share = if add == 0 || left == 0 { 0 } else { share };
            added += share;
            sizes.push(size(set).saturating_add(share));
        }
        if let Some(first) = sizes.first_mut() {
            *first = first.saturating_add(add - added).max(0);
        }
        let all = sets.into_iter().zip(sizes);
        let changed = |(set, to): &(&Arc<ReplicaSet>, i32)| size(set) != *to || !self.is_noted(set);
        all.filter(changed).map(|(set, to)| self.resized(set, to)).collect()
    }

    /// What a set gains or loses when all keep their proportions.
    fn share(&self, set: &ReplicaSet) -> i32 {
        let is = i64::from(size(set));
        if self.wanted() == 0 {
            return -size(set);
        }
        let most = i64::from(self.wanted().saturating_add(self.surge()));
        let noted = set.metadata.annotations.as_ref();
        let noted = noted.and_then(|all| all.get(words::ANNOTATION_MAX)?.parse::<i64>().ok());
        let status = || self.deployment.status.as_ref().and_then(|s| s.replicas).map(i64::from);
        let noted = noted.filter(|before| *before > 0);
        let Some(before) = noted.or_else(status).filter(|before| *before > 0) else { return 0 };
        // to the nearest, halves away from zero
        let share = (2 * is * most + before) / (2 * before);
        i32::try_from(share - is).unwrap_or(0)
    }
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}
