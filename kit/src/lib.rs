//! kit (to be written).
