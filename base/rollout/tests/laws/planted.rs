//! Planted bugs: an engine that breaks one of the specification's traps, and the story that must notice.
//!
//! The engine itself is left alone. A bug bends what it sees, so that the rule cannot hold, or what it answers.

use crate::{Story, describe_engine};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rollout::words::TEMPLATE_GENERATION_LABEL;
use rollout::world::{Phase, Pod};
use rollout::{Delete, Plan, Strategy, Wait, Why, World, json, plan, shape};
use std::path::Path;
use std::sync::Arc;

/// A bug.
struct Bug {
    /// The trap of the specification.
    trap: &'static str,
    /// What is wrong.
    what: &'static str,
    /// The story that must end otherwise with it.
    story: &'static str,
    /// What the engine believes to see.
    sees: fn(&mut World),
    /// What becomes of its answer.
    says: fn(&World, &mut Plan),
}

fn as_it_is(_: &mut World) {}
fn as_said(_: &World, _: &mut Plan) {}

const BUGS: [Bug; 18] = [
    Bug {
        trap: "T1",
        what: "not-ready:NoSchedule is tolerated",
        story: "eligibility",
        sees: |world| {
            Arc::make_mut(&mut world.set.placement).tolerations.push(Toleration {
                key: Some("node.kubernetes.io/not-ready".to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoSchedule".to_owned()),
                ..Toleration::default()
            });
        },
        says: as_said,
    },
    Bug {
        trap: "T4",
        what: "NoSchedule drives pods away",
        story: "eligibility",
        sees: |world| {
            each_taint(world, |effect| if effect == "NoSchedule" { "NoExecute" } else { effect });
        },
        says: as_said,
    },
    Bug {
        trap: "T4",
        what: "NoExecute keeps the pods that are there",
        story: "eligibility",
        sees: |world| {
            each_taint(world, |effect| if effect == "NoExecute" { "NoSchedule" } else { effect });
        },
        says: as_said,
    },
    Bug {
        trap: "T5",
        what: "a terminating pod does not block the next one",
        story: "rolling_update",
        sees: |world| {
            world.pods.retain(|_, pod| !(pod.is_terminating && pod.phase == Phase::Alive));
        },
        says: as_said,
    },
    Bug {
        trap: "T5",
        what: "a pod that is over blocks the next one",
        story: "f22_finished",
        sees: |world| {
            world
                .pods
                .values_mut()
                .filter(|pod| pod.is_terminating)
                .for_each(|p| p.phase = Phase::Alive);
        },
        says: as_said,
    },
    Bug {
        trap: "T6",
        what: "a terminating pod blocks the next one under surge, too",
        story: "f08_surge",
        sees: as_it_is,
        says: |world, plan| {
            let is_ending = |node: &str| {
                world
                    .pods
                    .values()
                    .any(|pod| pod.is_terminating && pod.node.as_deref() == Some(node))
            };
            plan.create.retain(|create| !is_ending(&create.node));
        },
    },
    Bug {
        trap: "T7",
        what: "the status looks at the last pod of a node",
        story: "surge",
        sees: mirrored,
        says: as_said,
    },
    Bug {
        trap: "T8",
        what: "of duplicates the youngest stays",
        story: "duplicates",
        sees: mirrored,
        says: as_said,
    },
    Bug {
        trap: "T9",
        what: "the rollout moves in a pass that creates",
        story: "f06_rolling_update",
        sees: as_it_is,
        says: |world, plan| {
            let turn = plan.wait.iter().find(|waiting| waiting.what == Wait::Turn);
            let pod = turn.and_then(|waiting| world.pods.get(&waiting.pod)).cloned();
            let Some(pod) = pod.filter(|_| !plan.create.is_empty()) else { return };
            let node = pod.node.unwrap_or_default();
            plan.delete.push(Delete { node, pod: pod.name, why: Why::Outdated });
        },
    },
    Bug {
        trap: "T10",
        what: "broken pods are replaced one by one",
        story: "row_b92_upstream",
        sees: as_it_is,
        says: |_, plan| plan.delete.truncate(1),
    },
    Bug {
        trap: "T11",
        what: "the rollout leaves out nodes that are not eligible",
        story: "row_b95_upstream",
        sees: as_it_is,
        says: |world, plan| {
            plan.delete.retain(|delete| {
                let spec = world.nodes.get(&delete.node).and_then(|node| node.spec.as_ref());
                spec.is_some_and(|spec| spec.taints.as_ref().is_none_or(Vec::is_empty))
            });
        },
    },
    Bug {
        trap: "T12",
        what: "percentages round down",
        story: "rolling_update_percent",
        sees: |world| {
            let nodes = world.nodes.len();
            if let Strategy::RollingUpdate { max_unavailable, .. } = &mut world.set.strategy
                && let IntOrString::String(text) = max_unavailable
            {
                let percent: usize = text.trim_end_matches('%').parse().expect("a percentage");
                let down = i32::try_from(nodes * percent / 100).expect("a few nodes");
                *max_unavailable = IntOrString::Int(down);
            }
        },
        says: as_said,
    },
    Bug {
        trap: "T16",
        what: "only the hash tells whether a pod is new",
        story: "template_generation",
        sees: |world| {
            for pod in world.pods.values_mut() {
                pod.labels.remove(TEMPLATE_GENERATION_LABEL);
            }
        },
        says: as_said,
    },
    Bug {
        trap: "T17",
        what: "a pod's own default leaks into the template",
        story: "f12_restart",
        sees: |world| {
            Arc::make_mut(&mut world.set.template)["spec"]["enableServiceLinks"] = true.into();
        },
        says: as_said,
    },
    Bug {
        trap: "T18",
        what: "an old template gets a new revision",
        story: "undo",
        sees: |world| {
            let data = json::canonical(&shape::data(&world.set.template));
            let last = world.revisions.values().map(|revision| revision.number).max();
            world.revisions.retain(|_, r| r.data != data || Some(r.number) == last);
        },
        says: as_said,
    },
    Bug {
        trap: "T22",
        what: "bound pods of vanished nodes are deleted like those that wait",
        story: "vanished_node",
        sees: |world| {
            let nodes = world.nodes.clone();
            let is_lost =
                |pod: &Pod| pod.node.as_ref().is_some_and(|node| !nodes.contains_key(node));
            world.pods.values_mut().filter(|pod| is_lost(pod)).for_each(|pod| pod.is_bound = false);
        },
        says: as_said,
    },
    Bug {
        trap: "T23",
        what: "a set under deletion goes on working",
        story: "f09_deleted",
        sees: |world| world.set.is_deleting = false,
        says: as_said,
    },
    Bug {
        trap: "T21, T25",
        what: "failed pods are replaced without back-off",
        story: "failed",
        sees: |world| world.failures.by_node.clear(),
        says: as_said,
    },
];

fn each_taint(world: &mut World, change: fn(&str) -> &str) {
    for node in world.nodes.values_mut() {
        let node: &mut Node = Arc::make_mut(node);
        for taint in node.spec.iter_mut().flat_map(|spec| spec.taints.iter_mut().flatten()) {
            taint.effect = change(&taint.effect).to_owned();
        }
    }
}

/// The youngest pod looks oldest.
fn mirrored(world: &mut World) {
    let Some(last) = world.pods.values().map(|pod| pod.created).max() else { return };
    for pod in world.pods.values_mut() {
        pod.created = last - last.duration_since(pod.created).checked_neg().expect("not so long");
    }
}

fn told_with(bug: &Bug, story: &Story) -> String {
    let engine = |world: &World, now: Timestamp| {
        let mut seen = world.clone();
        (bug.sees)(&mut seen);
        let mut said = plan(&seen, now);
        (bug.says)(&seen, &mut said);
        said
    };
    describe_engine(story, bug.sees, &engine)
}

#[test]
fn every_planted_bug_of_the_plan_is_noticed_by_its_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    for bug in &BUGS {
        let text = std::fs::read_to_string(folder.join(format!("{}.yaml", bug.story)));
        let story: Story = serde_saphyr::from_str(&text.expect("a story")).expect("a story");
        let right = crate::tell(&story);
        // a bug may well make a world that cannot be carried out
        let wrong = std::panic::catch_unwind(|| told_with(bug, &story)).unwrap_or_default();
        assert_ne!(right, wrong, "{}: {} goes unnoticed by {}", bug.trap, bug.what, bug.story);
    }
}
