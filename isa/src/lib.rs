//! What a processor is: instruction sets, caches and cores, detected or recorded.
