//! hollow (to be written).
