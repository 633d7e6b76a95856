//! The real binary, over real TLS: who may come in, what a person is told, what survives.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::assigning_clones,
    reason = "helpers of tests fail by panicking and tell on stderr what they saw"
)]

mod access;
mod asked;
mod custom;
mod engine;
mod harness;
mod informer;
mod joining;
mod kubectl;
mod lifecycle;
mod refusals;
mod replicated;
