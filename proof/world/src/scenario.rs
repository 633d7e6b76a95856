//! What happens, when: a list of deeds made from a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// Nodes that may exist.
pub const NODES: usize = 5;
/// Nodes that are there from the beginning.
pub const NODES_FIRST: usize = 4;
/// The sets.
pub const SETS: [&str; 2] = ["every", "zoned"];
/// The longest that anything is held up, in milliseconds.
pub const STALL_MAX: u64 = 15_000;
/// When deeds of all kinds begin; before, one rollout is played out in peace.
const TROUBLE_FROM: Duration = Duration::from_secs(40);
/// The time of trouble; what must be on at the end is switched on with its last breath.
const TROUBLE: Duration = Duration::from_secs(105);
/// When faults end.
pub const CALM_FROM: Duration = Duration::from_secs(150);
/// Between failures of pods on one node: longer than it takes to replace one, shorter than back-off grows to.
const FAIL_EVERY: Duration = Duration::from_millis(4500);
/// Deeds in the time of trouble.
const DEEDS_MAX: usize = 24;
/// Changes of nodes in a storm, and the pause between two.
const STORM: (u32, Duration) = (10, Duration::from_millis(120));

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A node is switched on: it registers if it is new, and reports again if it was off.
    PowerOn(usize),
    /// A node is switched off without a word.
    PowerOff(usize),
    /// A node is switched off and its object deleted.
    Remove(usize),
    /// The label `zone` is set or taken away.
    Zone(usize, Option<&'static str>),
    /// A taint of this effect is set, or all of ours are taken away.
    Taint(usize, Option<&'static str>),
    /// The node is cordoned or uncordoned.
    Cordon(usize, bool),
    /// The first daemon pod on a node fails.
    FailPod(usize),
    /// One of the daemon pods is deleted by a user.
    DeletePod(usize),
    /// A set gets a new template: an image of this number.
    Template(&'static str, u32),
    /// A set gets the image back that it had before.
    Undo(&'static str),
    /// Something else of a set's spec changes.
    Edit(&'static str, Edit),
    /// What the engine watches is held up for so many milliseconds.
    Stall(u64),
    /// The server ends, in order or at once.
    ServerDown {
        /// At once.
        is_crash: bool,
    },
    /// The server starts again.
    ServerUp,
    /// The engine's process is killed and started again.
    RestartEngine,
    /// The process of scheduler and caretaker is killed and started again.
    RestartOthers,
    /// Every watch is cut.
    CutWatches,
}

/// A change of a set's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `minReadySeconds`.
    MinReady(u32),
    /// `maxUnavailable`, with no surge.
    Unavailable(u32),
    /// A surge of one, with no unavailable node.
    Surge,
    /// Pods are replaced when they are deleted, only.
    OnDelete,
    /// The zone that the template selects.
    Zone(&'static str),
    /// `revisionHistoryLimit`.
    History(u32),
}

/// The deeds of a run in order of time, and what the sets are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// When, and what.
    pub deeds: Vec<(Duration, Deed)>,
    /// `maxUnavailable` of the set `every`.
    pub unavailable_max: u32,
    /// Whether the set `zoned` surges.
    pub surges: bool,
    /// `minReadySeconds` of the set `zoned`.
    pub min_ready: u32,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        // in peace: a rollout, then nodes that join
        let mut deeds = vec![(Duration::from_secs(15), Deed::Template("every", 1))];
        deeds.extend(
            (NODES_FIRST..NODES).map(|node| (Duration::from_secs(30), Deed::PowerOn(node))),
        );
        let mut nodes = [Power::On; NODES];
        let mut image = 1;
        let mut server_up_at = Duration::ZERO;
        let mut ups = Vec::new();
        let mut on_delete = [false; SETS.len()];
        let last = TROUBLE_FROM + TROUBLE;
        let span = u64::try_from(TROUBLE.as_millis()).unwrap_or(u64::MAX);
        let mut times: Vec<Duration> = (0..chance.random_range(8..=DEEDS_MAX))
            .map(|_| TROUBLE_FROM + Duration::from_millis(chance.random_range(0..span)))
            .collect();
        times.sort_unstable();
        for at in times {
            let deed = draw(&mut chance, &mut nodes, &mut image);
            if let Deed::ServerDown { .. } = deed {
                if at < server_up_at {
                    continue;
                }
                server_up_at = at + Duration::from_millis(chance.random_range(50..3000));
                ups.push((server_up_at.min(last), Deed::ServerUp));
            }
            if let Deed::Edit(set, Edit::OnDelete) = deed {
                on_delete[usize::from(set == SETS[1])] = true;
            }
            if chance.random_range(0..24) == 0 {
                let is_of_labels = chance.random_bool(0.5);
                deeds.extend((1..=STORM.0).map(|n| {
                    let node = chance.random_range(1..NODES);
                    let deed = if is_of_labels {
                        zone(&mut chance, node)
                    } else {
                        taint(&mut chance, node)
                    };
                    (at + STORM.1 * n, deed)
                }));
            }
            if let Deed::FailPod(_) = deed {
                // again and again, so that back-off is felt
                let times = chance.random_range(0..4);
                deeds.extend((1..=times).map(|n| (at + FAIL_EVERY * n, deed)));
            }
            deeds.push((at, deed));
        }
        deeds.retain(|(at, _)| *at < last);
        deeds.extend(ups);
        // a set that waits for deletions never comes to rest by itself
        let waiting = SETS.into_iter().zip(on_delete).filter(|(_, is_waiting)| *is_waiting);
        deeds.extend(waiting.map(|(set, _)| (last, Deed::Edit(set, Edit::Unavailable(1)))));
        for (node, power) in nodes.iter().enumerate() {
            // a lost node comes back; a removed one may stay away
            let comes =
                *power == Power::Lost || *power == Power::Removed && chance.random_bool(0.5);
            deeds.extend(comes.then_some((last, Deed::PowerOn(node))));
        }
        deeds.sort_by_key(|(at, _)| *at);
        Self {
            deeds,
            unavailable_max: chance.random_range(1..=2),
            surges: chance.random_bool(0.5),
            min_ready: chance.random_range(0..4),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Lost,
    Removed,
}

/// One deed that makes sense. The first node keeps its zone and its power, so that something always stands still.
fn draw(chance: &mut StdRng, nodes: &mut [Power; NODES], image: &mut u32) -> Deed {
    let node = chance.random_range(1..NODES);
    match chance.random_range(0..25) {
        0..=3 if nodes[node] == Power::On && chance.random_bool(0.5) => {
            nodes[node] = Power::Lost;
            Deed::PowerOff(node)
        }
        0..=3 if nodes[node] == Power::On => {
            nodes[node] = Power::Removed;
            Deed::Remove(node)
        }
        0..=3 => {
            nodes[node] = Power::On;
            Deed::PowerOn(node)
        }
        4..=6 => zone(chance, node),
        7..=8 => taint(chance, node),
        9 => Deed::Cordon(node, chance.random_bool(0.5)),
        10..=11 => Deed::FailPod(node),
        12..=13 => Deed::DeletePod(chance.random_range(0..16)),
        14..=15 => {
            *image += 1;
            Deed::Template(SETS[chance.random_range(0..SETS.len())], *image)
        }
        16 => Deed::ServerDown { is_crash: chance.random_bool(0.5) },
        17 => Deed::RestartEngine,
        18 => Deed::RestartOthers,
        19 => Deed::CutWatches,
        20 => Deed::Stall(chance.random_range(2000..STALL_MAX)),
        21 => Deed::Undo(SETS[chance.random_range(0..SETS.len())]),
        _ => edit(chance),
    }
}

fn zone(chance: &mut StdRng, node: usize) -> Deed {
    Deed::Zone(node, [Some("a"), Some("b"), None][chance.random_range(0..3)])
}

fn taint(chance: &mut StdRng, node: usize) -> Deed {
    let effects = [Some("NoSchedule"), Some("NoExecute"), None, None];
    Deed::Taint(node, effects[chance.random_range(0..effects.len())])
}

fn edit(chance: &mut StdRng) -> Deed {
    let set = SETS[chance.random_range(0..SETS.len())];
    let edit = match chance.random_range(0..6) {
        0 => Edit::MinReady(chance.random_range(0..5)),
        1 => Edit::Unavailable(chance.random_range(1..=2)),
        2 => Edit::Surge,
        3 => Edit::OnDelete,
        4 => return Deed::Edit(SETS[1], Edit::Zone(["a", "b"][chance.random_range(0..2)])),
        _ => Edit::History(chance.random_range(0..4)),
    };
    Deed::Edit(set, edit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_sorted_repeatable_and_leave_no_node_lost_and_the_server_up() {
        for seed in 0..500 {
            let scenario = Scenario::of(seed);
            assert_eq!(scenario, Scenario::of(seed));
            assert!(scenario.deeds.windows(2).all(|pair| pair[0].0 <= pair[1].0), "seed {seed}");
            assert!(scenario.deeds.iter().all(|(at, _)| *at < CALM_FROM), "seed {seed}");
            let (mut lost, mut is_up) = ([false; NODES], true);
            for (_, deed) in &scenario.deeds {
                match deed {
                    Deed::PowerOff(node) => lost[*node] = true,
                    Deed::PowerOn(node) | Deed::Remove(node) => lost[*node] = false,
                    Deed::ServerDown { .. } => is_up = false,
                    Deed::ServerUp => is_up = true,
                    _ => {}
                }
            }
            assert!(is_up && !lost.contains(&true), "seed {seed}");
        }
    }
}
