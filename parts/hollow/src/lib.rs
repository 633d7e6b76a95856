//! Pretend nodes: everything the API sees of a node's agent, and no container.
//!
//! # Promises
//! Registers its nodes, renews their leases, and moves every pod bound to them through [`Stage`]s, which are data:
//! which pods, how long to wait, what to report. A deleted pod is confirmed as an agent would.
//!
//! # Invariants
//! - No chance: waits and failures of a stage follow from the salt and the pod's uid.
//! - One watch of pods and one of nodes, however many nodes.
//! - Dropping or stopping the task set is what pulling the plug is to a real node: nothing is said goodbye to.
//!
//! # Absent
//! Admission on the node, images, probes, logs. The identity is that of the client: nodes that should pass the Node
//! authorizer are run one by one, each with its own.
//!
//! Start with [`run`], then [`plan`].

mod node;
pub mod plan;
mod pods;
mod stage;

pub use node::NodeShape;
pub use stage::{Next, Stage, When};

use kit::{Caches, Scope, Setup};
use std::time::Duration;

/// How often a lease is renewed (spec D1).
pub const LEASE_PERIOD: Duration = Duration::from_secs(10);

/// What to pretend.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time, tasks, figures, salt. The task set is the nodes' power supply.
    pub setup: Setup,
    /// The nodes.
    pub nodes: Vec<NodeShape>,
    /// What happens to pods; the first stage that matches counts.
    pub stages: Vec<Stage>,
}

impl Options {
    /// `count` nodes named `<prefix>-0` and so on, all alike, whose pods run.
    pub fn uniform(setup: &Setup, prefix: &str, count: usize) -> Self {
        let nodes = (0..count).map(|n| NodeShape::new(&format!("{prefix}-{n}"), n)).collect();
        Self { setup: setup.clone(), nodes, stages: Stage::ordinary() }
    }
}

/// Starts the nodes and returns when the task set stops. The client needs to create and patch nodes and leases, to list
/// and watch nodes and pods, to patch the status of pods and to delete them.
pub async fn run(client: kube::Client, options: Options) {
    let setup = options.setup.clone();
    let caches = Caches::new(client.clone(), &setup);
    // one node asks for what is its own only, as an agent does
    let own = |fields: &str| options.nodes.first().map(|node| format!("{fields}={}", node.name));
    let (pods, nodes) = if options.nodes.len() == 1 {
        (own("spec.nodeName"), own("metadata.name"))
    } else {
        (Some("spec.nodeName!=".to_owned()), None)
    };
    let pods = caches.some(Scope { fields: pods, ..Scope::default() });
    let nodes = caches.some(Scope { fields: nodes, ..Scope::default() });
    node::start(&client, &options, nodes);
    pods::start(&client, &options, pods);
    setup.tasks.stopping().await;
}
