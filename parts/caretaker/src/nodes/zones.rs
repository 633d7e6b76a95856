//! How many nodes of each zone are up, and how fast those that are not may be expelled (spec D5).

use super::plan::Mood;
use crate::words::{LABEL_REGION, LABEL_ZONE};
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// One node of a zone per 10 s (upstream's 0.1 per second).
const PERIOD: Duration = Duration::from_secs(10);
/// One node per 100 s while a large zone is partly down (upstream's 0.01 per second).
const PERIOD_PARTLY_DOWN: Duration = Duration::from_secs(100);
/// A zone larger than this is large.
const LARGE: usize = 50;
/// A zone is partly down when this share of its nodes is, in percent…
const PARTLY_DOWN_PERCENT: usize = 55;
/// …and more than this many.
const PARTLY_DOWN_MIN: usize = 2;

/// All zones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    nodes: BTreeMap<String, (String, bool)>,
    zones: BTreeMap<String, Zone>,
}

#[derive(Clone, Debug, Default)]
struct Zone {
    up: usize,
    down: usize,
    /// When the next node may be expelled.
    next: Option<Instant>,
}

/// Whether a node may be expelled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    /// Ask again then.
    At(Instant),
    /// Not while the zone is as it is.
    Never,
}

/// The zone of a node, by its labels.
fn zone_of(node: &Node) -> String {
    let label = |key| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let (region, zone) = (label(LABEL_REGION), label(LABEL_ZONE));
    format!("{}/{}", region.map_or("", String::as_str), zone.map_or("", String::as_str))
}

impl Zones {
    /// Takes in a node; answers whether the mood changed.
    pub(crate) fn see(&mut self, node: &Node, up: bool) -> bool {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let zone = zone_of(node);
        if self.nodes.get(name).is_some_and(|known| known.0 == zone && known.1 == up) {
            return false;
        }
        let before = self.mood();
        self.take_out(name);
        let entry = self.zones.entry(zone.clone()).or_default();
        *(if up { &mut entry.up } else { &mut entry.down }) += 1;
        self.nodes.insert(name.to_owned(), (zone, up));
        before != self.mood()
    }

    /// Takes out a node that is gone; answers whether the mood changed.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        let before = self.mood();
        self.take_out(name);
        before != self.mood()
    }

    fn take_out(&mut self, name: &str) {
        let Some((zone, up)) = self.nodes.remove(name) else { return };
        let Some(entry) = self.zones.get_mut(&zone) else { return };
        let count = if up { &mut entry.up } else { &mut entry.down };
        *count = count.saturating_sub(1);
        if entry.up + entry.down == 0 {
            self.zones.remove(&zone);
        }
    }

    pub(crate) fn mood(&self) -> Mood {
        let all_down = self.zones.values().all(|zone| zone.up == 0 && zone.down > 0);
        if all_down && !self.zones.is_empty() { Mood::AllDown } else { Mood::Normal }
    }

    /// Asks for a node's turn; [`Turn::Now`] spends it.
    pub(crate) fn turn(&mut self, node: &Node, now: Instant) -> Turn {
        let Some(zone) = self.zones.get_mut(&zone_of(node)) else { return Turn::Never };
        let all = zone.up + zone.down;
        let partly = zone.up > 0
            && zone.down > PARTLY_DOWN_MIN
            && zone.down * 100 >= all * PARTLY_DOWN_PERCENT;
        let period = match partly {
            true if all > LARGE => PERIOD_PARTLY_DOWN,
            true => return Turn::Never,
            false => PERIOD,
        };
        match zone.next {
            Some(next) if next > now => Turn::At(next),
            _ => {
                zone.next = Some(now + period);
                Turn::Now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, zone: &str) -> Node {
        let node = json!({"metadata": {"name": name, "labels": {LABEL_ZONE: zone}}});
        serde_json::from_value(node).unwrap()
    }

    fn zones(up: usize, down: usize) -> Zones {
        let mut zones = Zones::default();
        for n in 0..up + down {
            zones.see(&node(&n.to_string(), "z"), n < up);
        }
        zones
    }

    /// What the second of two asks for a turn at once is told: after how many seconds, if ever.
    fn turn(up: usize, down: usize) -> Option<u64> {
        let now = Instant::now();
        let mut zones = zones(up, down);
        assert_ne!(zones.turn(&node("x", "z"), now), Turn::At(now));
        match zones.turn(&node("x", "z"), now) {
            Turn::At(when) => Some((when - now).as_secs()),
            Turn::Never => None,
            Turn::Now => Some(0),
        }
    }

    #[test]
    fn turns_come_every_ten_seconds_and_seldom_or_never_when_most_nodes_are_down() {
        assert_eq!(turn(9, 1), Some(10));
        assert_eq!(turn(1, 2), Some(10), "two nodes are never most");
        assert_eq!(turn(2, 3), None);
        assert_eq!(turn(20, 40), Some(100));
        assert_eq!(turn(0, 5), Some(10), "another zone is up");
    }

    #[test]
    fn the_mood_is_all_down_only_when_every_zone_is() {
        let mut zones = zones(0, 2);
        assert_eq!(zones.mood(), Mood::AllDown);
        assert!(zones.see(&node("a", "y"), true));
        assert_eq!(zones.mood(), Mood::Normal);
        assert!(!zones.see(&node("b", "y"), false));
        assert!(zones.forget("a"));
        assert!(zones.see(&node("0", "z"), true));
        assert!(!zones.see(&node("0", "z"), true));
    }
}
