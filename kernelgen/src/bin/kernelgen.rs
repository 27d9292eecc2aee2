//! The `kernelgen` command.
fn main() {}
