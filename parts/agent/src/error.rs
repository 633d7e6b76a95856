//! What can keep the agent from working.

use std::path::PathBuf;

/// An error that ends the agent. What can mend itself is retried and logged instead.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "it is the one error of this crate, used as agent::Error"
)]
#[non_exhaustive]
pub enum Error {
    /// An option cannot be used.
    #[error("{option}: {problem}")]
    Option {
        /// The flag.
        option: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file of ours cannot be read or written.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of ours holds something else.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The server cannot be trusted.
    #[error("{0}")]
    Trust(String),
    /// The server refuses us for good.
    #[error("{0}")]
    Refused(String),
    /// Keys or certificates cannot be made.
    #[error("making a key or certificate: {0}")]
    Certificate(String),
    /// The agent's own port cannot be used.
    #[error(
        "cannot listen on port {port}: {source}; is another agent running here? Stop it, or choose another with --port"
    )]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// A task of ours broke.
    #[error("the task {0} panicked; see the log")]
    Panicked(String),
}
