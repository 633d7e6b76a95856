//! Laws of the plan, over worlds by chance. How many: `rollout_laws` of `proof/numbers.json`.

#[path = "laws/worlds.rs"]
mod worlds;

use fit::{Incoming, Occupied, Verdict};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, PodSpec, Toleration};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use rollout::plan::history::History;
use rollout::plan::place::Down;
use rollout::words::HASH_LABEL;
use rollout::world::{Phase, Pod, Revision};
use rollout::{Board, Compat, Plan, Site, Strategy, Terms, Wait, Why, World, plan, shape};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use worlds::{
    NODES, UID, any_node, any_rollout, any_world, carry_out, created, current_hash, silenced, start,
};

/// Passes within which every world of up to 6 nodes and 8 pods comes to rest: at worst one node after the
/// other, each with a delete, a wait and a create, after claims and clean-up.
const PASSES_MAX: usize = 60;

fn config() -> Config {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proof/numbers.json");
    let numbers = std::fs::read_to_string(path).unwrap_or_default();
    let numbers: serde_json::Value = serde_json::from_str(&numbers).unwrap_or_default();
    let column = option_env!("PERNODE_NUMBERS").unwrap_or("short");
    let cases = numbers[column]["rollout_laws"].as_u64().unwrap_or(256);
    let cases = u32::try_from(cases).expect("a number of cases");
    Config {
        cases,
        // assumptions reject in proportion to the cases, so the patience grows with them
        max_global_rejects: cases.saturating_mul(4),
        failure_persistence: None,
        ..Config::default()
    }
}

/// The pods that are the set's after claims, worked out apart from the engine.
fn mine(world: &World) -> impl Iterator<Item = &Pod> {
    world.pods.values().filter(|pod| {
        let is_selected = pod.labels.get("app").is_some_and(|app| app == "x");
        is_selected
            && match &pod.controller {
                Some(uid) => uid == UID,
                None => !pod.is_terminating,
            }
    })
}

/// Whether a node should run a pod, worked out from the template with the tolerations of the specification.
fn verdict(world: &World, node: &Node) -> Verdict {
    let spec: PodSpec = serde_json::from_value(world.set.template["spec"].clone()).expect("a spec");
    let mut wish = fit::Wish::of(&spec);
    let keys = [
        "not-ready:NoExecute",
        "unreachable:NoExecute",
        "disk-pressure:NoSchedule",
        "memory-pressure:NoSchedule",
        "pid-pressure:NoSchedule",
        "unschedulable:NoSchedule",
        "network-unavailable:NoSchedule",
    ];
    let automatic =
        keys.iter().take(if spec.host_network == Some(true) { 7 } else { 6 }).map(|text| {
            let (key, effect) = text.split_once(':').expect("a taint");
            Toleration {
                key: Some(format!("node.kubernetes.io/{key}")),
                operator: Some("Exists".to_owned()),
                effect: Some(effect.to_owned()),
                ..Toleration::default()
            }
        });
    let all: Vec<Toleration> = wish.tolerations.iter().cloned().chain(automatic).collect();
    wish.tolerations = &all;
    fit::judge(&wish, node)
}

fn is_available(world: &World, pod: &Pod, now: Timestamp) -> bool {
    // a pod that has failed may still carry its last readiness
    let is_alive = pod.phase == Phase::Alive && !pod.is_terminating;
    let changed = pod.ready_changed.filter(|_| pod.is_ready && is_alive);
    changed.is_some_and(|at| world.set.min_ready.is_zero() || at + world.set.min_ready <= now)
}

/// Eligible nodes without an available pod, `gone` aside.
fn unavailable(world: &World, gone: &BTreeSet<&str>, now: Timestamp) -> usize {
    let eligible = world.nodes.iter().filter(|(_, node)| verdict(world, node) == Verdict::Fits);
    let is_served = |name: &str| {
        mine(world).any(|pod| {
            pod.node.as_deref() == Some(name)
                && !gone.contains(pod.name.as_str())
                && is_available(world, pod, now)
        })
    };
    eligible.filter(|(name, _)| !is_served(name)).count()
}

fn desired(world: &World) -> usize {
    world.nodes.values().filter(|node| verdict(world, node) == Verdict::Fits).count()
}

/// How many nodes may be unavailable: percentages round up, both zero allow one.
fn unavailable_max(world: &World) -> usize {
    let Strategy::RollingUpdate { max_unavailable, max_surge } = &world.set.strategy else {
        return 0;
    };
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::{Int, String};
    let resolve = |knob: &_| match knob {
        Int(number) => usize::try_from(*number).expect("not negative"),
        String(text) => {
            let percent: usize = text.trim_end_matches('%').parse().expect("a percentage");
            (desired(world) * percent).div_ceil(100)
        }
    };
    match (resolve(max_unavailable), resolve(max_surge)) {
        (0, 0) if desired(world) > 0 => 1,
        (unavailable, _) => unavailable,
    }
}

/// A plan without what only the full plan says.
fn bare(plan: Plan) -> Plan {
    Plan { keep: Vec::new(), wait: Vec::new(), ..plan }
}

/// A plan whose new conditions have begun at no moment in particular.
fn timeless(mut plan: Plan) -> Plan {
    for condition in plan.status.iter_mut().flat_map(|status| &mut status.conditions) {
        condition.since = start();
    }
    plan
}

/// Whether the node has a part in rollouts as we make them.
fn takes_part(world: &World, node: &str) -> bool {
    let Some(node) = world.nodes.get(node) else { return false };
    let is_down = Down::of(node).is_some();
    world.set.compat == Compat::Upstream || verdict(world, node) == Verdict::Fits && !is_down
}

/// How many nodes went down within five minutes of receiving the new pod, and are still down. They use up the limit
/// until they return or the template changes.
fn held_up(world: &World, hash: &str) -> usize {
    let generation = world.set.template_generation().map(|number| number.to_string());
    let is_new = |pod: &Pod| {
        let by_generation = pod.labels.get("pod-template-generation").cloned();
        pod.hash().is_some_and(|found| found == hash)
            || generation.is_some() && by_generation == generation
    };
    let is_held = |name: &str| {
        let since = world.nodes.get(name).and_then(|node| Down::of(node)?.since);
        let mut here = mine(world).filter(|pod| pod.node.as_deref() == Some(name) && is_new(pod));
        here.any(|pod| {
            let after = since.map(|since| since.duration_since(pod.created).as_secs());
            pod.is_bound && after.is_some_and(|after| (1..=300).contains(&after))
        })
    };
    world.nodes.keys().filter(|name| world.set.compat == Compat::Ours && is_held(name)).count()
}

fn live_by_node(world: &World) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for pod in mine(world).filter(|pod| !pod.is_terminating && pod.phase == Phase::Alive) {
        *count.entry(pod.node.clone().unwrap_or_default()).or_insert(0) += 1;
    }
    count
}

/// Lets plans be carried out until nothing is left to do.
fn settle(mut world: World) -> Result<World, TestCaseError> {
    let (mut now, mut serial) = (start(), 0);
    for _ in 0..PASSES_MAX {
        let next = plan(&world, now);
        let before = live_by_node(&world);
        // with nothing desired, a percentage is zero and available old pods survive (spec B95)
        let waits = next.wait.iter().any(|w| w.what != Wait::Turn && w.what != Wait::Node);
        let rests = next.is_quiet() && !waits && next.again_at.is_none();
        carry_out(&mut world, &next, now, &mut serial);
        // the nodes have moved meanwhile: a pod that has become ready may be waited for until it is available
        let after = plan(&world, now);
        if rests && after.is_quiet() && after.again_at.is_none() {
            return Ok(world);
        }
        if !world.set.may_surge() {
            for (node, count) in live_by_node(&world).iter().filter(|(node, _)| !node.is_empty()) {
                let allowed = before.get(node).copied().unwrap_or(0).max(1);
                prop_assert!(*count <= allowed, "{count} live pods on {node}");
            }
        }
        now = next.again_at.unwrap_or(now).max(now + SignedDuration::from_secs(1));
    }
    Err(TestCaseError::fail(format!(
        "not at rest after {PASSES_MAX} passes: {:#?}",
        plan(&world, now)
    )))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn partition_every_pod_is_kept_deleted_or_waited_for(world in any_world()) {
        let plan = plan(&world, start());
        let mut said: Vec<&str> = plan.keep.iter().map(String::as_str).collect();
        said.extend(plan.delete.iter().map(|delete| delete.pod.as_str()));
        said.extend(plan.wait.iter().map(|waiting| waiting.pod.as_str()));
        said.sort_unstable();
        let pods: Vec<&str> = mine(&world).map(|pod| pod.name.as_str()).collect();
        prop_assert_eq!(said, pods);
    }

    #[test]
    fn quiet_every_world_comes_to_rest(world in any_world()) {
        let world = settle(world)?;
        let live = live_by_node(&world);
        for (name, node) in &world.nodes {
            let (found, verdict) = (live.get(name).copied().unwrap_or(0), verdict(&world, node));
            match verdict {
                Verdict::Fits => prop_assert_eq!(found, 1, "pods on {}", name),
                Verdict::Stays(_) => prop_assert!(found <= 1 || world.set.may_surge()),
                Verdict::Refused(_) => prop_assert_eq!(found, 0, "pods on {}", name),
            }
        }
        if world.set.strategy != Strategy::OnDelete {
            let hash = current_hash(&world);
            let generation = world.set.template_generation().map(|number| number.to_string());
            let is_held_up = held_up(&world, &hash) >= unavailable_max(&world);
            for pod in mine(&world).filter(|pod| pod.node.is_some()) {
                let by_generation = pod.labels.get("pod-template-generation").cloned();
                let is_new = pod.hash() == Some(&hash) || (generation.is_some() && by_generation == generation);
                let is_spared = !takes_part(&world, pod.node.as_deref().unwrap_or_default());
                prop_assert!(
                    is_new || is_spared || is_held_up || desired(&world) == 0 || world.set.may_surge(),
                    "{} is old", pod.name
                );
            }
        }
    }

    #[test]
    fn budget_a_rollout_never_takes_more_than_it_may(
        world in prop_oneof![4 => any_rollout(), 1 => any_world()],
    ) {
        let plan = plan(&world, start());
        let is_of_rollout = |why: Why| matches!(why, Why::Outdated | Why::Replaced);
        if plan.delete.iter().all(|delete| is_of_rollout(delete.why)) {
            let gone = plan.delete.iter().map(|delete| delete.pod.as_str()).collect();
            let before = unavailable(&world, &BTreeSet::new(), start());
            let after = unavailable(&world, &gone, start());
            let allowed = before.max(unavailable_max(&world));
            prop_assert!(after <= allowed, "{after} unavailable, {allowed} allowed");
        }
    }

    #[test]
    fn a_rollout_takes_nothing_that_cannot_come_back_and_nothing_from_nodes_that_are_down(
        world in prop_oneof![4 => any_rollout(), 4 => any_world()],
        silent in prop::collection::btree_set(prop::sample::select(NODES.to_vec()), 0..3),
    ) {
        let mut world = world;
        world.set.compat = Compat::Ours;
        for name in silent {
            world.nodes.entry(name.to_owned()).and_modify(|node| {
                *node = Arc::new(silenced(node.as_ref().clone(), start()));
            });
        }
        let plan = plan(&world, start());
        let outdated: Vec<&str> =
            plan.delete.iter().filter(|d| d.why == Why::Outdated).map(|d| d.node.as_str()).collect();
        for node in &outdated {
            prop_assert!(takes_part(&world, node), "the old pod of {node} is deleted");
        }
        if !world.set.may_surge() {
            let allowed = unavailable_max(&world).max(1);
            prop_assert!(outdated.len() <= allowed, "{} at once, {allowed} allowed", outdated.len());
        }
    }

    #[test]
    fn upstream_replaces_all_broken_pods_at_once(world in any_rollout()) {
        let mut world = world;
        world.set.compat = Compat::Upstream;
        prop_assume!(!world.set.may_surge() && world.set.strategy != Strategy::OnDelete);
        let plan = plan(&world, start());
        prop_assume!(plan.create.is_empty());
        let hash = current_hash(&world);
        let broken = mine(&world).filter(|pod| {
            !pod.is_terminating && pod.hash() != Some(&hash) && !is_available(&world, pod, start())
        });
        for pod in broken {
            prop_assert!(plan.delete.iter().any(|delete| delete.pod == pod.name), "{}", pod.name);
        }
    }

    #[test]
    fn conditions_stay_small_whatever_happens(world in any_world()) {
        let plan = plan(&world, start());
        let conditions = plan.status.iter().flat_map(|status| &status.conditions);
        let bytes: usize = conditions.map(|condition| condition.to_json().to_string().len()).sum();
        prop_assert!(bytes <= 10_000);
    }

    #[test]
    fn surge_never_exceeds_its_limit(world in prop_oneof![4 => any_rollout(), 1 => any_world()]) {
        let plan = plan(&world, start());
        let Strategy::RollingUpdate { max_surge, .. } = &world.set.strategy else { return Ok(()) };
        let surge_max = rollout::set::scaled(max_surge, desired(&world));
        let is_created = |pod: &Pod| plan.create.iter().any(|create| Some(&create.node) == pod.node.as_ref());
        let is_doubled = |pod: &Pod| {
            let others = mine(&world).filter(|other| other.node == pod.node && other.name != pod.name);
            others.into_iter().any(|other| !other.is_terminating && other.phase == Phase::Alive)
        };
        // nodes where an available pod has, or gets, another beside it that is not available
        let serving = mine(&world).filter(|pod| is_available(&world, pod, start()));
        let serving = serving.filter(|pod| takes_part(&world, pod.node.as_deref().unwrap_or_default()));
        let (stood, comes): (Vec<&Pod>, Vec<&Pod>) =
            serving.filter(|pod| is_doubled(pod) || is_created(pod)).partition(|pod| is_doubled(pod));
        let allowed = surge_max.saturating_sub(stood.len());
        prop_assert!(comes.len() <= allowed, "{} more where {allowed} are allowed", comes.len());
    }

    #[test]
    fn mercy_no_pod_leaves_a_node_it_may_stay_on_for_placement(world in any_world()) {
        for delete in plan(&world, start()).delete {
            let verdict = world.nodes.get(&delete.node).map(|node| verdict(&world, node));
            match delete.why {
                Why::NotWanted => prop_assert!(matches!(verdict, Some(Verdict::Refused(_))), "{delete:?}"),
                Why::NoSuchNode => prop_assert!(verdict.is_none(), "{delete:?}"),
                Why::Failed | Why::Succeeded | Why::Duplicate | Why::Replaced | Why::Outdated => {}
            }
        }
    }

    #[test]
    fn one_a_pod_is_created_only_where_one_should_run_and_none_stands(world in any_world()) {
        for create in plan(&world, start()).create {
            let node = world.nodes.get(&create.node);
            prop_assert!(node.is_some_and(|node| verdict(&world, node) == Verdict::Fits), "{create:?}");
            let here: Vec<&Pod> =
                mine(&world).filter(|pod| pod.node.as_ref() == Some(&create.node)).collect();
            if world.set.may_surge() {
                let live = here.iter().filter(|pod| !pod.is_terminating && pod.phase == Phase::Alive);
                prop_assert!(live.count() <= 1, "{create:?}");
            } else {
                let is_over = |pod: &Pod| pod.is_terminating && pod.phase != Phase::Alive;
                prop_assert!(here.iter().all(|pod| is_over(pod)), "{create:?}");
            }
        }
    }

    #[test]
    fn order_free_the_order_of_arrival_changes_nothing(world in any_world(), turn in 0..5_usize) {
        let history = History::of(&world.set, &world.revisions);
        let mut board = Board::new(Terms::of(&world.set, &history));
        let mut names: Vec<String> = NODES.iter().map(|name| (*name).to_owned()).collect();
        names.push(String::new());
        names.rotate_left(turn);
        names.reverse();
        for name in &names {
            put(&mut board, &world, name, start(), true);
        }
        prop_assert_eq!(board.plan(&world.set, &history, &world.failures, start()), bare(plan(&world, start())));
    }

    #[test]
    fn patience_nothing_changes_before_again_at(world in any_world(), part in 0.0..1.0_f64) {
        let first = plan(&world, start());
        let until = first.again_at.unwrap_or_else(|| start() + SignedDuration::from_hours(1));
        prop_assert!(until > start());
        let wait = until.duration_since(start()).mul_f64(part);
        prop_assert_eq!(timeless(plan(&world, start() + wait)), timeless(first));
    }

    #[test]
    fn agreement_the_scheduler_takes_every_created_pod_to_its_node_alone(
        world in any_world(),
        nodes in NODES.map(any_node),
    ) {
        // a template that names its node skips the scheduler
        prop_assume!(world.set.placement.node_name.is_none());
        let occupied = Occupied::default();
        for target in &nodes {
            let name = target.metadata.name.as_deref().expect("a name");
            let body = shape::pod(&world.set, "hash", name);
            let spec: PodSpec = serde_json::from_value(body["spec"].clone()).expect("a spec");
            let incoming = Incoming::of(&spec);
            prop_assert_eq!(fit::pinned_nodes(&spec), Some(BTreeSet::from([name])));
            for node in &nodes {
                let is_taken = fit::filter(&incoming, node, &fit::Amounts::allocatable(node), &occupied).is_empty();
                if node.metadata.name != target.metadata.name {
                    prop_assert!(!is_taken);
                } else if verdict(&world, target) == Verdict::Fits {
                    prop_assert!(is_taken, "the scheduler refuses what the engine wants on {name}");
                }
            }
        }
    }

    #[test]
    fn an_eviction_is_counted_once(world in any_world()) {
        let mut world = world;
        for pod in world.pods.values_mut() {
            pod.is_terminating = true;
            pod.is_evicted = true;
        }
        for _ in 0..2 {
            let plan = plan(&world, start());
            for (node, pods) in &plan.evicted {
                let generation = world.set.status.observed_generation;
                world.failures.note_eviction(generation, node, pods, start());
                world.failures.note(generation, node, start());
            }
            let again = bare(self::plan(&world, start()));
            prop_assert!(again.evicted.is_empty(), "{:?} after {:?}", again.evicted, plan.evicted);
        }
    }

    #[test]
    fn a_board_fed_change_by_change_plans_like_a_fresh_look(
        mut world in any_world(),
        others in prop::collection::vec(any_world(), 1..4),
    ) {
        let mut now = start();
        let history = History::of(&world.set, &world.revisions);
        let mut board = Board::of(&world, &history, now);
        for (step, other) in others.into_iter().enumerate() {
            now += SignedDuration::from_secs(7);
            // another world's node, pods and memory of one name take the place of this one's
            let name = NODES[(step * 2) % NODES.len()];
            let on = |pod: &Pod| pod.node.as_deref() == Some(name);
            world.pods.retain(|_, pod| !on(pod));
            for pod in other.pods.into_values().filter(on) {
                let pod_name = format!("{}-{step}", pod.name);
                world.pods.insert(pod_name.clone(), Pod { name: pod_name, ..pod });
            }
            match other.nodes.get(name) {
                Some(node) => world.nodes.insert(name.to_owned(), Arc::clone(node)),
                None => world.nodes.remove(name),
            };
            put(&mut board, &world, name, now, false);
            for due in board.due(now) {
                put(&mut board, &world, &due, now, false);
            }
            prop_assert_eq!(board.plan(&world.set, &history, &world.failures, now), bare(plan(&world, now)));
        }
    }

    #[test]
    fn a_revision_once_written_is_found_again(world in any_world(), version in 10..1000_u64) {
        let mut world = world;
        let template = worlds::template(version, &serde_json::json!({"nodeSelector": {"a": "<&>"}}));
        world.set.template = template.into();
        let history = History::of(&world.set, &world.revisions);
        let new = history.steps.create.clone().expect("a new template has no revision yet");
        let revision = Revision::read(&shape::revision(&world.set, &new));
        let numbers = world.revisions.values().filter(|r| {
            let is_mine = r.controller.as_deref().is_none_or(|uid| uid == UID);
            is_mine && r.labels.get("app").is_some_and(|app| app == "x")
        });
        prop_assert!(numbers.into_iter().all(|r| r.number < new.number), "the head is the highest");
        prop_assert_eq!(revision.labels.get(HASH_LABEL), Some(&new.hash));
        world.revisions.insert(new.name.clone(), revision);
        let again = History::of(&world.set, &world.revisions);
        prop_assert_eq!(again.steps.create, None);
        prop_assert_eq!(again.steps.renumber, None);
        prop_assert_eq!(&again.hash, &new.hash);
        let pod = created(&world.set, &new.hash, "n0", "p", start());
        prop_assert_eq!(pod.node.as_deref(), Some("n0"));
        prop_assert_eq!(pod.hash(), Some(new.hash.as_str()));
    }
}

fn put(board: &mut Board, world: &World, name: &str, now: Timestamp, is_reversed: bool) {
    let mut pods: Vec<&Pod> =
        world.pods.values().filter(|pod| pod.node.as_deref().unwrap_or_default() == name).collect();
    if is_reversed {
        pods.reverse();
    }
    let node = world.nodes.get(name).map(AsRef::as_ref);
    let failure = world.failures.get(world.set.status.observed_generation, name);
    board.put(&Site { name, node, pods }, failure, now);
}
