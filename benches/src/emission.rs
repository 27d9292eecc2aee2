//! How long the emission of a kernel takes, beside a product of golden's that takes about as long.

use std::hint::black_box;

use craftsman_golden::gemm::ternary_gemm;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{Batch, KernelKey, emit};

use crate::contest::Contestant;
use crate::suite::{Field, Subject};
use crate::ways::{Offer, UnusableKernel, ways};
use crate::{quantized_tokens, ternary_matrix};
use craftsman_kernelgen::clock::timed;

/// Rows and columns of the reference: a tenth of a millisecond.
const REFERENCE: usize = 640;

/// Every way to emit the decode kernel of an `[m, k]` product.
pub fn field(m: usize, k: usize, caps: &HardwareCaps, offer: Offer) -> Field {
    let w = ternary_matrix(REFERENCE, REFERENCE);
    let key = KernelKey::new(m, k, Batch::Decode, w.granularity());
    let (mut subjects, mut unusable) = (Vec::new(), Vec::new());
    for (name, config) in ways(caps, &key, offer) {
        if let Err(error) = emit(&key, &config, caps) {
            unusable.push(UnusableKernel { key, config, reason: error.to_string() });
            continue;
        }
        let caps = caps.clone();
        let contestant = Contestant::new(name, 1.0, 0.0, move |calls| {
            timed(|| (0..calls).for_each(|_| drop(black_box(emit(&key, &config, &caps)))))
        });
        subjects.push(Subject { contestant, config: config.to_string() });
    }
    let (q, a) = quantized_tokens(1, REFERENCE);
    let golden = Contestant::new("golden", 1.0, 0.0, move |calls| {
        timed(|| (0..calls).for_each(|_| drop(black_box(ternary_gemm(&w, black_box(&q), &a)))))
    });
    Field { subjects, references: vec![golden], unusable }
}
