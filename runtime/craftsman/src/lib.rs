//! Run, tune, train and judge ternary Mixture-of-Experts language models on CPUs.
