//! Which part of the cluster's range is whose. Pure.

use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Nodes that a cluster may have ranges for: as many as upstream's map of an IPv6 cluster holds.
const NODE_BITS_MAX: u8 = 16;

/// The range of all pods, and how much of it a node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRange {
    base: IpAddr,
    bits: u8,
    node_bits: u8,
}

/// A cluster range that nodes cannot be given parts of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// The mask of a node is wider than the cluster's or beyond the address.
    #[error("a node's mask must be between the cluster range's {0} and {1}")]
    Mask(u8, u8),
    /// More nodes than can be kept account of.
    #[error("a node's mask may be at most {NODE_BITS_MAX} bits longer than the cluster range's")]
    TooMany,
}

impl ClusterRange {
    /// `base`/`bits` for all, `/node_bits` for each node.
    ///
    /// # Errors
    /// When no part fits, or too many would.
    pub fn new(base: IpAddr, bits: u8, node_bits: u8) -> Result<Self, BadRange> {
        let width = if base.is_ipv4() { 32 } else { 128 };
        if node_bits < bits || node_bits > width {
            return Err(BadRange::Mask(bits, width));
        }
        if node_bits - bits > NODE_BITS_MAX {
            return Err(BadRange::TooMany);
        }
        Ok(Self { base, bits, node_bits })
    }

    fn len(&self) -> u32 {
        1 << (self.node_bits - self.bits)
    }

    fn part(&self, index: u32) -> Part {
        let base = match self.base {
            IpAddr::V4(base) => {
                let shift = u32::from(32 - self.node_bits);
                let offset = index.checked_shl(shift).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(base) | offset))
            }
            IpAddr::V6(base) => {
                let shift = u32::from(128 - self.node_bits);
                let offset = u128::from(index).checked_shl(shift).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(base) | offset))
            }
        };
        Part { base, bits: self.node_bits }
    }

    /// The parts that a range of somebody's choice touches.
    fn touched(&self, text: &str) -> Option<(u32, u32)> {
        let (base, bits) = text.split_once('/')?;
        let (base, bits): (IpAddr, u8) = (base.parse().ok()?, bits.parse().ok()?);
        let (width, own, other) = match (self.base, base) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (32_u8, u128::from(u32::from(own)), u128::from(u32::from(other)))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (128, u128::from(own), u128::from(other)),
            _ => return None,
        };
        let last = |base: u128, bits: u8| {
            base | 1_u128
                .checked_shl(u32::from(width - bits.min(width)))
                .map_or(u128::MAX, |n| n - 1)
        };
        let (start, end) = (own.max(other), last(own, self.bits).min(last(other, bits)));
        if start > end {
            return None;
        }
        let shift = u32::from(width - self.node_bits);
        let index = |at: u128| u32::try_from((at - own).checked_shr(shift).unwrap_or(0)).ok();
        Some((index(start)?, index(end)?))
    }
}

/// A node's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    base: IpAddr,
    bits: u8,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// Who has which part.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    range: ClusterRange,
    taken: BTreeSet<u32>,
    by_node: BTreeMap<String, Vec<u32>>,
    /// Where the next search begins: a part that was given back rests as long as possible.
    next: u32,
}

impl Ranges {
    pub(super) fn new(range: ClusterRange) -> Self {
        Self { range, taken: BTreeSet::new(), by_node: BTreeMap::new(), next: 0 }
    }

    /// Takes in what a node has; answers whether it has a range, ours or not.
    pub(super) fn see(&mut self, node: &Node) -> bool {
        let spec = node.spec.as_ref();
        let single = spec.and_then(|spec| spec.pod_cidr.as_ref()).into_iter();
        let ranges: BTreeSet<&String> = single
            .chain(spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten())
            .collect();
        if ranges.is_empty() {
            return false;
        }
        let mut parts: BTreeSet<u32> = BTreeSet::new();
        for text in ranges {
            if let Some((first, last)) = self.range.touched(text) {
                parts.extend(first..=last);
            }
        }
        let name = node.metadata.name.clone().unwrap_or_default();
        self.release(&name);
        self.taken.extend(&parts);
        self.by_node.insert(name, parts.into_iter().collect());
        true
    }

    /// Gives a node a part; the same one until it is seen to have it.
    pub(super) fn take(&mut self, name: &str) -> Option<Part> {
        if let Some([known]) = self.by_node.get(name).map(Vec::as_slice) {
            return Some(self.range.part(*known));
        }
        let len = self.range.len();
        let found = (self.next..len).chain(0..self.next).find(|at| !self.taken.contains(at))?;
        self.next = (found + 1) % len;
        self.taken.insert(found);
        self.by_node.insert(name.to_owned(), vec![found]);
        Some(self.range.part(found))
    }

    pub(super) fn release(&mut self, name: &str) {
        for part in self.by_node.remove(name).into_iter().flatten() {
            self.taken.remove(&part);
        }
    }

    /// Nodes that hold a part.
    pub(super) fn holders(&self) -> Vec<String> {
        self.by_node.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ranges(base: &str, bits: u8, node_bits: u8) -> Ranges {
        Ranges::new(ClusterRange::new(base.parse().unwrap(), bits, node_bits).unwrap())
    }

    fn node(name: &str, range: &str) -> Node {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"podCIDR": range, "podCIDRs": [range]}}),
        )
        .unwrap()
    }

    fn take(ranges: &mut Ranges, name: &str) -> Option<String> {
        ranges.take(name).map(|part| part.to_string())
    }

    #[test]
    fn parts_are_given_in_turn_until_none_is_left() {
        let mut all = ranges("10.244.0.0", 22, 24);
        let given: Vec<_> = ["a", "b", "c", "a", "d", "e"].map(|name| take(&mut all, name)).into();
        let range = |n: u8| Some(format!("10.244.{n}.0/24"));
        assert_eq!(given, [range(0), range(1), range(2), range(0), range(3), None]);
        all.release("b");
        assert_eq!(take(&mut all, "e"), range(1));
        let mut six = ranges("fd00::", 62, 64);
        take(&mut six, "a");
        assert_eq!(take(&mut six, "b").as_deref(), Some("fd00:0:0:1::/64"));
    }

    #[test]
    fn what_nodes_have_is_never_given_twice() {
        let mut all = ranges("10.244.0.0", 22, 24);
        assert!(all.see(&node("a", "10.244.0.0/24")));
        assert!(all.see(&node("wide", "10.244.2.0/23")));
        assert!(all.see(&node("elsewhere", "192.168.0.0/24")));
        assert!(!all.see(&serde_json::from_value(json!({"metadata": {"name": "new"}})).unwrap()));
        assert_eq!(take(&mut all, "new").as_deref(), Some("10.244.1.0/24"));
        assert_eq!(take(&mut all, "more"), None);
        all.release("wide");
        assert_eq!(take(&mut all, "more").as_deref(), Some("10.244.2.0/24"));
    }

    #[test]
    fn masks_that_cannot_work_are_refused() {
        let base = "10.0.0.0".parse().unwrap();
        assert_eq!(ClusterRange::new(base, 16, 12), Err(BadRange::Mask(16, 32)));
        assert_eq!(ClusterRange::new(base, 16, 33), Err(BadRange::Mask(16, 32)));
        assert_eq!(ClusterRange::new(base, 8, 30), Err(BadRange::TooMany));
        assert!(ClusterRange::new(base, 16, 16).is_ok());
    }
}
