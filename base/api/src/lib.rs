//! The Kubernetes words we speak, and the table of resources we serve.

pub mod field;
pub mod resource;
pub mod status;

pub use field::{FieldError, Path};
pub use resource::Resource;
pub use status::Status;
