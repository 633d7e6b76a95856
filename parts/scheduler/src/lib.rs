//! A node for every pod that has none.
//!
//! # Promises
//! - Pods of `default-scheduler` are taken by priority, then arrival (spec C14); a pod pinned to a node by name costs
//!   one look at that node, however many there are (spec C1).
//! - Failures are told in upstream's words, in the PodScheduled condition and in FailedScheduling (spec C11).
//! - A pod of lower priority makes room where that helps (spec C30–C39).
//!
//! # Invariants
//! - A decided pod takes its room at once (it is *assumed*), so two decisions never spend the same room.
//! - One task owns the snapshot and the backlog; requests run beside it, at most [`REQUESTS_MAX`].
//! - Whether a pod may run on a node is `fit`'s answer alone.
//!
//! # Absent
//! Claims of volumes and devices: a pod that asks for them waits and says why (spec C10). Images that a node has already
//! are not weighed. Several profiles, sampling of nodes: an unpinned pod looks at all of them.
//!
//! Start with [`run`], then `plan`.

mod apply;
mod backlog;
mod kin;
mod observe;
mod plan;
mod snapshot;
pub mod words;

pub use observe::REQUESTS_MAX;

use kit::{Caches, Events, Setup};

/// What the scheduler needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time, tasks, figures.
    pub setup: Setup,
    /// Shared caches of pods, nodes, namespaces, disruption budgets, Services and what owns pods.
    pub caches: Caches,
}

/// Schedules until the task set stops. The client needs what `system:kube-scheduler` may: bind pods, patch their status,
/// delete them, write events.
pub async fn run(client: kube::Client, options: Options) {
    let events = Events::start(client.clone(), &options.setup, words::SCHEDULER, "");
    let hand = apply::Hand::new(client, events, options.setup.clock.clone());
    let scheduler = observe::Scheduler::new(hand, &options);
    options.setup.tasks.spawn("scheduler", scheduler.run());
    options.setup.tasks.stopping().await;
}
