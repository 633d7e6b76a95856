//! xtask (to be written).
