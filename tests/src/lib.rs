//! Everything that crosses crates: conformance, cross-validation, end to end.
