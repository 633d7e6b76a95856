//! The Kubernetes words we speak, and the table of resources we serve.

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
