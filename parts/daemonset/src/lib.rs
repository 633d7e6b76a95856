//! The DaemonSet engine at work: what the API shows becomes a world, and the plan for it becomes writes.
//!
//! # Promises
//! - Every node that should have a pod of a DaemonSet gets one, and only those; see `base/rollout` for what
//!   exactly is wanted.
//! - Any relevant change wakes the sets that it concerns: DaemonSets, their revisions, their pods, orphans that
//!   they select, and nodes that appear, vanish, or change labels or taints. (Upstream overlooks some; spec B38,
//!   B39.)
//! - Never a second pod because a watch was slow: a set is not planned before the caches have seen its own last
//!   writes (spec B34).
//!
//! # Invariants
//! - One pass at a time for each set; passes of different sets run side by side.
//! - The cost of a pass follows the nodes that changed, not the nodes that are there; a set is looked at as a
//!   whole when the engine starts, when its template or selector changes, and when a watch had to start anew.
//! - Nothing is kept that a restart could not find again in the API, but for the back-off of failed pods.
//!
//! # Absent
//! Decisions: they are made in `base/rollout`. Leader election: `app` starts and ends [`run`].
//!
//! Start reading at [`run`], then `pass.rs`, then `observe.rs` and `apply.rs`.

mod apply;
mod marks;
mod observe;
mod pass;

pub use rollout::Compat;

use kit::{Caches, Events, Queue, QueueLimits, Setup};
use observe::Sight;
use pass::Worker;
use std::sync::Arc;

/// Field manager of every write of the engine.
const FIELD_MANAGER: &str = "pernode-daemonset";

/// Component of its events, upstream's.
const COMPONENT: &str = "daemonset-controller";

/// Sets that are worked on side by side. Upstream has 2; a large set may hold a worker for as long as 250 creates
/// take, about 0.1 s in process and seconds over a network.
const WORKERS: usize = 4;

/// What the engine needs besides its client.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time, tasks, figures.
    pub setup: Setup,
    /// Shared caches; their user needs `list` and `watch` on pods, nodes, daemonsets and controllerrevisions.
    pub caches: Caches,
    /// Whose behaviour all sets get, whatever their annotation says (docs/differences.md).
    pub compat: Compat,
}

/// Runs the engine. Ends when the task set stops; may be dropped at any moment.
///
/// The client's user needs what upstream gives `system:controller:daemon-set-controller`.
pub async fn run(client: kube::Client, options: Options) {
    let Options { setup, caches, compat } = options;
    let sight = Sight::new(&caches, compat);
    let queue = Queue::new("daemonset", QueueLimits::default(), &setup);
    let events = Events::start(client.clone(), &setup, COMPONENT, "");
    let worker = Arc::new(Worker::new(client, &setup, sight.clone(), queue.clone(), events));
    let watch = observe::watch(sight, queue, worker.marks());
    let work = futures::future::join_all((0..WORKERS).map(|_| worker.run()));
    tokio::select! {
        biased;
        () = setup.tasks.stopping() => {}
        () = watch => {}
        _ = work => {}
    }
}
