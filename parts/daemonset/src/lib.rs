//! daemonset (to be written).
