//! What is fast: emits, verifies and selects ternary kernels for the processor at hand.
