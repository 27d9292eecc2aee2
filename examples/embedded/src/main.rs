//! A ternary product whose kernel was emitted while this program was built: nothing here makes code, and no part of
//! Craftsman is linked but the kernel.

mod product {
    include!(concat!(env!("OUT_DIR"), "/product.rs"));

    use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

    /// `struct craftsman_arguments` of the kernel's header.
    #[repr(C)]
    struct Arguments {
        source: *const u8,
        weights: *const u8,
        scales: *const f32,
        activations: *mut u8,
        token_words: *mut u32,
        output: *mut f32,
        scratch: *mut u8,
        panels: u64,
        tail: u64,
        tokens: u64,
        counters: [u64; 4],
    }

    unsafe extern "C" {
        fn product(arguments: *mut Arguments);
        fn product_quantize(arguments: *mut Arguments);
    }

    /// Packed weights, then their scales.
    static PACKED: &[u8; WEIGHT_BYTES + 4 * SCALES] = include_bytes!(concat!(env!("OUT_DIR"), "/packed"));

    const _: () =
        assert!(HAS_INPUT == 0 && TOKENS == 1, "this example is of a kernel for one token that reads rows");

    /// `y = W x`.
    pub fn multiply(x: &[f32; K]) -> [f32; M] {
        let mut q = [0_u8; ROW_BYTES + SLACK];
        let mut words = [0_u32; TOKEN_WORDS * TOKEN_GRANULE];
        let mut y = [0.0; M];
        let scales: Vec<f32> =
            PACKED[WEIGHT_BYTES..].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let layout = Layout::from_size_align(SCRATCH_BYTES.max(1), 64).unwrap();
        // SAFETY: the layout is not of size zero.
        let scratch = unsafe { alloc_zeroed(layout) };
        if scratch.is_null() {
            handle_alloc_error(layout);
        }
        let mut arguments = Arguments {
            source: x.as_ptr().cast(),
            weights: PACKED.as_ptr(),
            scales: scales.as_ptr(),
            activations: q.as_mut_ptr(),
            token_words: words.as_mut_ptr(),
            output: y.as_mut_ptr(),
            scratch,
            panels: PANELS as u64,
            tail: TAIL as u64,
            tokens: 1,
            counters: [0; 4],
        };
        // SAFETY: every buffer is as long as the header's constants say; the quantiser and the product count in the
        // arguments, so each gets them anew.
        unsafe {
            product_quantize(&raw mut arguments);
            (arguments.panels, arguments.tail, arguments.tokens) = (PANELS as u64, TAIL as u64, 1);
            product(&raw mut arguments);
            std::alloc::dealloc(scratch, layout);
        }
        y
    }
}

/// What the build script packed.
fn trit(row: usize, column: usize) -> i32 {
    ((row * 31 + column * 17) % 5 % 3) as i32 - 1
}

fn main() {
    let x = std::array::from_fn(|column| (column as f32 * 0.37).sin());
    let y = product::multiply(&x);
    let a = 1.0 / x.iter().fold(1e-5_f32, |most, x| most.max(x.abs())) * 127.0;
    for (row, y) in y.iter().enumerate() {
        let sum: i32 =
            x.iter().enumerate().map(|(k, x)| trit(row, k) * (x * a).round_ties_even() as i32).sum();
        assert_eq!(y.to_bits(), (sum as f32 * 0.25 / a).to_bits(), "row {row}");
    }
    println!("exact: {} rows, first {}", y.len(), y[0]);
}
