//! world (to be written).
