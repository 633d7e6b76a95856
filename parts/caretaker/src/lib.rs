//! caretaker (to be written).
