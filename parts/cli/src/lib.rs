//! `pernode explain` and `pernode plan`: why a node has a pod of a DaemonSet or not, and what a change would do.
//!
//! # Promises
//! - Every answer is the engine's own: eligibility, the next step and the status come from `base/rollout`, reasons
//!   from `base/fit`. [`plan()`] carries the engine's plans out on model nodes, pass by pass.
//! - Nothing in the cluster is changed: reads, and writes with `dryRun=All`.
//! - Any Kubernetes cluster will do, and any engine: what the API does not hold (the back-off of failed pods) is not
//!   claimed, what could not be read is named.
//! - Answers are bounded at any fleet size: reasons are summed, rows are cut at a limit that is said.
//!
//! # Invariants
//! - [`explain()`], [`explain_node()`] and [`plan()`] are pure functions of a [`World`] and a moment.
//! - Lists are read in pages; objects are stripped to what is needed as they arrive; the number of requests does not
//!   grow with the number of nodes other than by pages.
//!
//! # Absent
//! Command line and printing to a terminal: they are `app`'s. Pod affinity, topology spread and volumes: `base/fit`
//! has none. No watching: an answer is of one moment.
//!
//! Start reading at `explain.rs`, then `plan.rs`, then `observe.rs`.

pub mod explain;
pub mod observe;
pub mod plan;
pub mod print;
pub mod run;
pub mod wanted;
pub mod world;

pub use explain::{Explanation, Standing, explain, explain_node};
pub use observe::Fault;
pub use plan::{Forecast, Outcome, plan};
pub use print::Output;
pub use run::{ExplainOptions, PlanOptions, Said, Source, Target, run_explain, run_plan};
pub use world::World;
