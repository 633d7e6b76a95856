//! The node agent: runs the pods bound to one node through a CRI runtime, and reports.
//!
//! # Promises
//! - A container that runs goes on running while the agent or the server is away, and is found again.
//! - What should happen to a pod is decided by `plan` from the pod, the runtime's state and the time alone.
//! - A pod object is deleted at the server only after its containers, volumes and cgroup are gone.
//!
//! # Invariants
//! - One task works on one pod; no pod waits for another.
//! - Only sandboxes below this node's cgroup root, with this agent's label, are ever touched.
//!
//! # Absent
//! - Log, exec, attach and port-forward streams; eviction by pressure; image garbage collection; device plugins;
//!   in-place resize; static pods.
//!
//! Start reading at `plan`.

mod cri;
mod error;
mod options;

pub use error::Error;
pub use options::Options;

/// Runs the agent until its tasks are stopped.
///
/// # Errors
/// What waiting cannot mend: unusable options, files that cannot be written, a server that is not the one meant.
pub async fn run(options: Options) -> Result<(), Error> {
    options.setup.tasks.stopping().await;
    Ok(())
}

/// The table of `--check`, and whether everything needed was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Printed as it is.
    pub table: String,
    /// Nothing needed is missing. If false, the process exits with 1.
    pub is_ready: bool,
}

/// Looks at this machine and at the server, and changes nothing.
pub async fn check(options: Options) -> Report {
    let _ = options;
    Report { table: String::new(), is_ready: false }
}
