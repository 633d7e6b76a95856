//! The node agent: runs the pods bound to one node through a CRI runtime, and reports.
//!
//! # Promises
//! - A container that runs goes on running while the agent or the server is away, and is found again.
//! - What should happen to a pod is decided by `plan` from the pod, the runtime's state and the time alone.
//! - A pod object is deleted at the server only after its containers, volumes and cgroup are gone.
//! - A Node object that is deleted while the agent runs stays deleted until the agent starts again, as upstream's.
//!
//! # Invariants
//! - One task works on one pod; no pod waits for another.
//! - Only sandboxes and containers that carry this node's label are ever touched.
//!
//! # Absent
//! - Device plugins; in-place changes of a running pod's image or resources; static pods.
//!
//! Start reading at `plan`, then `pod`, then `pods`.

mod admission;
mod cgroups;
mod check;
mod cni;
mod config;
mod context;
mod cri;
mod env;
mod error;
mod fault;
mod figures;
mod files;
mod host;
mod images;
mod join;
mod logs;
mod node;
mod options;
mod plan;
mod pod;
mod pods;
mod pressure;
mod probe;
mod reports;
mod resources;
mod rotation;
#[cfg(test)]
mod scripted;
mod serve;
mod shutdown;
mod start;
mod stream;
mod text;
mod tls;
mod tokens;
mod volumes;
mod words;
mod world;

pub use check::{Report, check};
pub use error::Error;
pub use options::Options;
pub use shutdown::shutdown;
pub use start::run;
