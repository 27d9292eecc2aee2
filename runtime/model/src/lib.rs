//! Containers, architectures, attention, experts, tokenizer and sessions of ternary language models.
