//! The `craftsman` command.
fn main() {}
