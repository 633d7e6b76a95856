//! What a DaemonSet wants next on every node: where pods belong, how new templates replace old ones, which
//! revisions are kept, what the status says. Pure.
//!
//! # Promises
//! - [`plan()`] answers for any [`World`]; trouble is data in the plan ([`Problem`]), never an error.
//! - Behaviour is upstream's (ids such as B60 are those of the specification of DaemonSets), except for the rows of
//!   `docs/differences.md`, which [`Compat::Upstream`] takes back.
//! - A plan is complete: creates, deletes, claims, revisions, status, events, and when to look again.
//!
//! # Invariants
//! The laws of `tests/laws.rs`: partition, quiet, one, budget, mercy, order-free, patience, agreement; and
//! that a [`Board`] fed change by change plans the same as a fresh look at everything.
//!
//! # Absent
//! No client, no clock, no randomness, no logging; no memory between calls (back-off of failed pods is part
//! of the [`World`]). No pause, partition or automatic rollback: upstream has none either (B96).
//!
//! Start reading at [`plan()`] in `plan.rs`, then `plan/place.rs`, `plan/budget.rs`, `plan/history.rs`.

pub mod condition;
pub mod json;
pub mod plan;
pub mod set;
pub mod shape;
pub mod words;
pub mod world;

pub use condition::{Condition, Trouble};
pub use plan::{Board, Create, Delete, Plan, Site, Terms, Wait, Waiting, Why, plan};
pub use set::{Compat, Problem, Set, Status, Strategy};
pub use words::Event;
pub use world::{Failure, Failures, Phase, Pod, Revision, World};
