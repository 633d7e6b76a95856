//! The strategy of kinds without rules of their own.

use super::Strategy;

/// Everything as the trait has it.
#[derive(Debug)]
pub(crate) struct Plain;

impl Strategy for Plain {}
