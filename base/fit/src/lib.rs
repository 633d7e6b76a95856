//! fit (to be written).
