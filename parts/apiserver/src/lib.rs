//! The API as a tower Service over a store.
//!
//! A pipeline whose modules are its stages in order:
//! identify → authorize → route → decode → admit (default, mutate, validate) → merge → records (commit) → encode.

pub mod admit;
pub mod authenticate;
pub mod authorize;
pub mod identity;
pub mod kubeconfig;
pub mod pki;
pub mod records;
pub mod route;
pub mod tls;
