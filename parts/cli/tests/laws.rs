//! Laws of explain and plan over the worlds of the engine's own laws. How many: `rollout_laws` of `proof/numbers.json`.

#[path = "../../../base/rollout/tests/laws/worlds.rs"]
mod worlds;

use cli::plan::Wanted;
use cli::world::Engine;
use cli::{Outcome, Standing, World, explain, plan};
use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::test_runner::Config;
use rollout::plan::budget::Limits;
use rollout::{Phase, Set, Strategy, Why};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use worlds::{any_rollout, any_strategy, any_world, carry_out, start, template};

/// Passes within which the engine comes to rest on six nodes.
const PASSES_MAX: usize = 60;

fn config() -> Config {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proof/numbers.json");
    let numbers = std::fs::read_to_string(path).unwrap_or_default();
    let numbers: Value = serde_json::from_str(&numbers).unwrap_or_default();
    let column = option_env!("PERNODE_NUMBERS").unwrap_or("short");
    let cases = numbers[column]["rollout_laws"].as_u64().unwrap_or(256);
    let cases = u32::try_from(cases).expect("a number of cases");
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn seen(world: rollout::World) -> World {
    World {
        rollout: world,
        engine: Engine { manager: None, is_pernode: true, evidence: "a test".to_owned() },
        mine: BTreeMap::new(),
        occupied: Some(BTreeMap::new()),
        occupants: BTreeMap::new(),
        classes: None,
        budgets: None,
        gaps: Vec::new(),
    }
}

/// The DaemonSet of a world as an object, with this template and strategy.
fn object(set: &Set, version: u64, strategy: &Value) -> Value {
    let compat = if set.is_ours() { json!({}) } else { json!({"pernode.dev/compat": "upstream"}) };
    json!({
        "metadata": {"namespace": "ns", "name": "x", "uid": set.uid, "generation": set.generation + 1, "annotations": compat},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template(version, &json!({})),
                 "updateStrategy": strategy, "minReadySeconds": set.min_ready.as_secs()},
    })
}

/// The same world, its status not yet written: where there is one without conditions, `--compat upstream` is inferred.
fn unobserved(mut world: rollout::World) -> rollout::World {
    world.set.status = rollout::Status::default();
    world
}

/// Nodes by whether they have a live pod, and of which hash.
fn pods(world: &rollout::World) -> BTreeMap<String, BTreeSet<Option<String>>> {
    let mut all: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
    let live = world.pods.values().filter(|pod| {
        !pod.is_terminating
            && pod.phase == Phase::Alive
            && pod.controller.as_ref() == Some(&world.set.uid)
    });
    for pod in live {
        let node = pod.node.clone().unwrap_or_default();
        all.entry(node).or_default().insert(pod.hash().map(str::to_owned));
    }
    all
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn explain_says_what_the_engine_does(world in any_world()) {
        let found = explain(&seen(world.clone()), start());
        let next = rollout::plan(&world, start());
        prop_assert_eq!(found.rows.len(), world.nodes.len());
        prop_assert_eq!(found.nodes.have + found.nodes.get + found.nodes.do_not_get, found.nodes.all);
        for row in &found.rows {
            let node = &world.nodes[&row.node];
            let verdict = fit::judge(&world.set.placement.wish(), node);
            let creates = next.create.iter().any(|create| create.node == row.node);
            let unwanted = next.delete.iter().any(|d| d.node == row.node && d.why == Why::NotWanted);
            // a pod that is there may stay where no new one would be placed
            let may_have = if verdict.should_run() { true } else { verdict.should_continue() };
            prop_assert!(may_have || row.standing == Standing::DoesNotGet, "{:?}", row);
            prop_assert!(!verdict.should_run() || row.standing != Standing::DoesNotGet, "{:?}", row);
            prop_assert!(!(creates && row.standing == Standing::DoesNotGet), "{:?}", row);
            prop_assert!(!(unwanted && row.standing != Standing::DoesNotGet), "{:?}", row);
            prop_assert!(!row.reasons.is_empty(), "{:?}", row);
            let bound = world.pods.values().any(|pod| {
                pod.node.as_ref() == Some(&row.node) && pod.is_bound && !pod.is_terminating && pod.phase == Phase::Alive
            });
            prop_assert!(bound || row.standing != Standing::Has, "{:?}", row);
        }
    }

    #[test]
    fn a_plan_ends_where_the_engine_does(world in any_rollout(), strategy in any_strategy(), version in 0..3_u64) {
        let world = unobserved(world);
        let wanted = Wanted { object: object(&world.set, version, &strategy), live: Some(json!({})) };
        let forecast = plan(&seen(world.clone()), &wanted, start()).expect("a forecast");
        prop_assert!(forecast.is_complete);
        let mut after = world.clone();
        let status = after.set.status.clone();
        after.set = Set { status, ..Set::read(&wanted.object).expect("a set") };
        let (mut now, mut serial) = (start(), 0);
        for _ in 0..PASSES_MAX {
            let next = rollout::plan(&after, now);
            carry_out(&mut after, &next, now, &mut serial);
            now = (now + SignedDuration::from_secs(1)).max(next.again_at.unwrap_or(now));
        }
        let hash = worlds::current_hash(&after);
        let engine = pods(&after);
        for node in &forecast.nodes {
            let is_current = engine.get(&node.node).map(|hashes| hashes.contains(&Some(hash.clone())));
            let expected = match node.outcome {
                Outcome::Gains | Outcome::Replaces | Outcome::Keeps => Some(true),
                Outcome::Loses | Outcome::Without => None,
                Outcome::Waits => Some(false),
                Outcome::DoesNotFit => return Err(TestCaseError::fail("all of them fit")),
            };
            prop_assert_eq!(expected, is_current, "{:?}", node);
        }
    }

    #[test]
    fn no_wave_goes_beyond_the_limits(world in any_rollout(), strategy in any_strategy()) {
        prop_assume!(world.set.is_ours());
        let world = unobserved(world);
        let wanted = Wanted { object: object(&world.set, 2, &strategy), live: Some(json!({})) };
        let forecast = plan(&seen(world.clone()), &wanted, start()).expect("a forecast");
        let set = Set::read(&wanted.object).expect("a set");
        let fits = |node: &k8s_openapi::api::core::v1::Node| fit::judge(&set.placement.wish(), node).should_run();
        let desired = world.nodes.values().filter(|node| fits(node)).count();
        if set.strategy == Strategy::OnDelete {
            prop_assert!(forecast.waves.iter().all(|wave| wave.replaces.is_empty()));
            return Ok(());
        }
        let limits = Limits::of(&set.strategy, desired).expect("limits");
        // beside what is broken or doubled from the start, which surge does not count (spec B92, B103)
        let broken = world.pods.values().filter(|pod| !pod.is_available(set.min_ready, start())).count() + world.pods.len() - pods(&world).len().min(world.pods.len());
        let max = if limits.surge_max == 0 { limits.unavailable_max.max(1) } else { limits.surge_max + broken };
        for wave in &forecast.waves {
            let counted = wave.replaces.iter().filter(|node| fits(&world.nodes[*node])).count();
            prop_assert!(counted <= max, "{:?} beyond {max}", wave);
        }
        let mut replaced: Vec<&String> = forecast.waves.iter().flat_map(|wave| &wave.replaces).collect();
        let all = replaced.len();
        replaced.sort();
        replaced.dedup();
        prop_assert_eq!(all, replaced.len(), "a node is replaced once: {:?}", forecast.waves);
    }
}
