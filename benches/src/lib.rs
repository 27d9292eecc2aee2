//! Criterion benches and the comparison with peers in the same process.
