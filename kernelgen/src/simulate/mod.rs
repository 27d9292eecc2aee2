//! An interpreter of emitted x86-64 code.
