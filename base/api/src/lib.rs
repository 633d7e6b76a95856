//! The Kubernetes words we speak, and the table of resources we serve.
//!
//! # Promises
//! - One row in [`resource::ALL`] for every kind that is served; whoever needs a name, a verb or a subresource asks it.
//! - Texts of errors are Kubernetes' own, since users and tools match on them.
//!
//! # Invariants
//! - Facts about types come from one schema table, made at build time from `data/schema.json`.
//! - Amounts are exact.
//!
//! # Absent
//! No I/O, no clock, no chance; nothing here knows a store, a client or a server.
//!
//! Start with [`resource`], then [`schema`].

pub mod field;
pub mod intstr;
pub mod names;
pub mod quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;

pub use k8s_openapi;

pub use field::{FieldError, Path};
pub use quantity::Quantity;
pub use resource::Resource;
pub use selector::{FieldSelector, LabelSelector};
pub use status::Status;
