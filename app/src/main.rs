//! pernode.
fn main() {}
