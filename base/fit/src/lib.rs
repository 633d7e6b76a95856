//! May this pod run on this node, and if not, why not; and whom to preempt.
//!
//! # Promises
//! One answer for all callers. The DaemonSet engine asks [`judge`], the scheduler asks [`filter`] and
//! [`victims`], the agent asks [`filter`] again before it starts a pod, and `explain` prints the same
//! reasons. Reasons carry upstream's wording ([`Reason::text`]), since people and tools match on it, and a
//! longer sentence of ours ([`Reason::detail`]).
//!
//! # Invariants
//! - For the predicates both ask (node name, selector, required affinity, taints), `judge` answers
//!   [`Verdict::Fits`] exactly when `filter` finds no such reason on a node with room.
//! - Objects are read by reference and never cloned; nothing here depends on the order of lists other than
//!   the order in which upstream reports.
//! - Amounts are exact: thousandths in `i128`, no floating point (but in the logarithm that weighs a spread).
//!
//! # Absent
//! Volumes, device claims, in-place resize, scheduling groups; all scores but those about neighbours.
//!
//! Start reading at [`judge`](mod@judge), then [`filter`](mod@filter).

pub mod company;
pub mod demand;
pub mod filter;
pub mod judge;
pub mod place;
pub mod ports;
pub mod preference;
pub mod reason;
pub mod taint;
pub mod victims;

pub use company::{Company, Guard};
pub use demand::Amounts;
pub use filter::{Incoming, Occupied, filter};
pub use judge::{Verdict, judge};
pub use place::{Wish, pinned_nodes};
pub use ports::HostPort;
pub use reason::{Reason, Reasons};
pub use victims::{Budget, Victims, cheapest, victims};
