//! Patches and the ownership of fields, as pure functions over JSON. Nothing here knows of requests, stores or
//! clocks: the type, the manager and the moment come in.
//!
//! - [`json_patch`], [`merge_patch`], [`strategic`]: a document and a patch make a document.
//! - [`apply`]: server-side apply. What a manager no longer says and nobody else owns is removed.
//! - [`track_update`]: after any other write, who owns what in `metadata.managedFields`.
//!
//! The sets of fields and their arithmetic are in `set`, documents walked along their types in `tree`, the
//! entries of `managedFields` in `owners`; what the maker of an object owns is told by `created`.

mod apply;
mod created;
mod form;
mod json;
mod owners;
mod patch;
mod set;
mod strategic;
mod touched;
mod tree;

pub use apply::{Manager, apply, track_update};
pub use json::json_patch;
pub use patch::merge_patch;
pub(crate) use strategic::retyped::settle as convertible;
pub use strategic::{shown, strategic};
pub use touched::Touched;

#[cfg(test)]
mod tests;
