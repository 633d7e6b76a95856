//! The API as a tower Service over a store.
//!
//! A pipeline whose modules are its stages in order:
//! identify → authorize → route → decode → admit (default, mutate, validate) → merge → records (commit) → encode.
//! Start reading at [`Server`], which runs them for each request; `verbs` says what each verb does.
//!
//! # Promises
//! - What is answered with success is durable (`records`), and visible to every request that begins later.
//! - A list is one moment; a watch from its revision misses nothing and repeats nothing, or ends with 410.
//! - The same checks for callers in this process ([`Server::as_user`]) as for those from outside.
//! - Refusals are `v1.Status` in Kubernetes' words; nothing is stored by a request that is refused.
//!
//! # Invariants
//! - An object's bytes are encoded once, when it is written; reads and watches pass them on.
//! - Only the committer writes; a request that lost a race is run again on what is there now, or refused.
//! - Rules know no clock and no chance of their own: both come from [`Config`].
//!
//! # Absent
//! Protobuf (but for the bodies of a few kinds that kubectl sends so), aggregated API servers, webhooks.

#![expect(
    clippy::result_large_err,
    reason = "a refusal is a whole Status; it is rare, moved a few times, and a Box at every `?` would buy nothing"
)]

pub mod admit;
pub mod authenticate;
pub mod authorize;
mod custom;
pub mod decode;
pub mod discovery;
pub mod encode;
mod health;
pub mod identity;
pub mod kubeconfig;
pub mod merge;
mod metrics;
pub mod openapi;
pub mod pki;
pub mod records;
pub mod relay;
pub mod route;
mod server;
pub mod tls;
mod verbs;

pub use server::{Config, Figures, Now, Server, Version, Work};
