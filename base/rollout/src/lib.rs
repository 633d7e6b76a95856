//! rollout (to be written).
