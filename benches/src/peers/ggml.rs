//! ggml's kernels, called as ggml calls them.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;
use std::sync::Once;

use craftsman_golden::TernaryMatrix;
use craftsman_isa::{Feature, HardwareCaps};
use llama_cpp_sys_2 as sys;

/// A weight format of ggml.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Its name in figures.
    pub name: &'static str,
    id: sys::ggml_type,
    dot: Dot,
}

/// What ggml multiplies a row of a format with.
#[derive(Clone, Copy, Debug)]
struct Dot {
    function: unsafe extern "C" fn(i32, *mut f32, usize, *const c_void, usize, *const c_void, usize, i32),
    activations: sys::ggml_type,
    quantize: unsafe extern "C" fn(*const f32, *mut c_void, i64),
}

impl Format {
    /// Ternary formats of 1.69 and 2.06 bits a weight, and the four-bit format that everybody has.
    pub fn all() -> Vec<Self> {
        let ids =
            [("tq1_0", sys::GGML_TYPE_TQ1_0), ("tq2_0", sys::GGML_TYPE_TQ2_0), ("q4_0", sys::GGML_TYPE_Q4_0)];
        initialize();
        ids.into_iter().filter_map(|(name, id)| Some(Self { name, id, dot: Dot::of(id)? })).collect()
    }
}

impl Dot {
    fn of(id: sys::ggml_type) -> Option<Self> {
        // SAFETY: `id` is a constant of this very ggml, so its row of the table exists; the table lives for ever.
        let (weights, activations) = unsafe {
            let weights = *sys::ggml_get_type_traits_cpu(id);
            (weights, *sys::ggml_get_type_traits_cpu(weights.vec_dot_type))
        };
        Some(Self {
            function: weights.vec_dot?,
            activations: weights.vec_dot_type,
            quantize: activations.from_float?,
        })
    }
}

/// Fills ggml's tables, once a process.
fn initialize() {
    static ONCE: Once = Once::new();
    // SAFETY: may be called at any time; ggml guards it itself, `ONCE` only spares the calls.
    ONCE.call_once(|| unsafe { sys::ggml_cpu_init() });
}

/// Instruction sets of `caps` that ggml was compiled without: a comparison with it would not be fair.
pub fn missing_features(caps: &HardwareCaps) -> Vec<Feature> {
    type Has = unsafe extern "C" fn() -> i32;
    let compiled: [(Feature, Has); 6] = [
        (Feature::Avx2, sys::ggml_cpu_has_avx2),
        (Feature::Fma, sys::ggml_cpu_has_fma),
        (Feature::AvxVnni, sys::ggml_cpu_has_avx_vnni),
        (Feature::Avx512F, sys::ggml_cpu_has_avx512),
        (Feature::Avx512Vnni, sys::ggml_cpu_has_avx512_vnni),
        (Feature::AmxInt8, sys::ggml_cpu_has_amx_int8),
    ];
    // SAFETY: these functions take nothing and return a constant.
    let lacks = |has: Has| unsafe { has() == 0 };
    let missing = compiled.into_iter().filter(|&(feature, has)| caps.has(feature) && lacks(has));
    missing.map(|(feature, _)| feature).collect()
}

/// Rows of one format, one after the other.
#[derive(Clone, Debug)]
pub struct Rows {
    format: Format,
    /// Eight-byte words: more aligned than any block of ggml asks for.
    words: Vec<u64>,
    stride: usize,
    m: usize,
    k: usize,
}

impl Rows {
    /// Quantises `w` by ggml's own quantiser; `None` where `k` is no multiple of the format's block.
    pub fn new(format: Format, w: &TernaryMatrix) -> Option<Self> {
        let (m, k) = (w.m(), w.k());
        let stride = row_bytes(format.id, k)?;
        let mut words = vec![0_u64; (m * stride).div_ceil(8)];
        let floats = w.dequantize();
        // SAFETY: `floats` are m rows of k values and `words` have room for m rows of `stride` bytes, ggml's own figure
        // for k values; the formats of `Format::all` need no importance matrix.
        unsafe {
            let to = words.as_mut_ptr().cast();
            sys::ggml_quantize_chunk(format.id, floats.as_ptr(), to, 0, m as i64, k as i64, ptr::null());
        }
        Some(Self { format, words, stride, m, k })
    }

    /// Bytes of the weights.
    pub fn size(&self) -> usize {
        self.m * self.stride
    }

    /// One token in the form that the rows are multiplied with.
    ///
    /// # Panics
    /// When `x` is not k long: a bug in the caller.
    pub fn token(&self, x: &[f32]) -> Token {
        assert_eq!(x.len(), self.k, "a token of {} values", x.len());
        let bytes = row_bytes(self.format.dot.activations, self.k).unwrap_or_default();
        let mut words = vec![0_u64; bytes.div_ceil(8)];
        // SAFETY: `x` has k values and `words` room for ggml's own figure of what k values take; k is a multiple of the
        // block (`Rows::new`), and ggml's activation formats have blocks as long as their weights'.
        unsafe { (self.format.dot.quantize)(x.as_ptr(), words.as_mut_ptr().cast(), self.k as i64) };
        Token { words, k: self.k, format: self.format.dot.activations }
    }

    /// `out[i] = rows[range][i] . token`, a call of ggml's kernel a row.
    ///
    /// # Panics
    /// When range, token and output do not fit: a bug in the caller.
    pub fn multiply(&self, range: Range<usize>, token: &Token, out: &mut [f32]) {
        assert!(range.end <= self.m && range.len() == out.len(), "{range:?} of {} rows", self.m);
        assert!(token.k == self.k && token.format == self.format.dot.activations, "another kind of token");
        for (row, out) in range.zip(out) {
            // SAFETY: the row lies within `words` (checked above) and holds k weights of this format; the token holds k
            // values in the format that this format's kernel takes.
            unsafe {
                let weights = self.words.as_ptr().byte_add(row * self.stride);
                let (weights, token) = (weights.cast(), token.words.as_ptr().cast());
                (self.format.dot.function)(self.k as i32, out, 0, weights, 0, token, 0, 1);
            }
        }
    }
}

/// A token in a format of ggml's.
#[derive(Clone, Debug)]
pub struct Token {
    words: Vec<u64>,
    k: usize,
    format: sys::ggml_type,
}

/// Bytes of a row of k values; `None` where k is no multiple of the block.
fn row_bytes(id: sys::ggml_type, k: usize) -> Option<usize> {
    // SAFETY: `id` is a type of this ggml (`Format`), so its row of the table exists.
    let block = unsafe { sys::ggml_blck_size(id) } as usize;
    // SAFETY: as above, and k is a whole number of blocks.
    k.is_multiple_of(block).then(|| unsafe { sys::ggml_row_size(id, k as i64) })
}

/// A product of several tokens as ggml computes it: a graph of one `mul_mat`, which quantises its input itself.
pub struct Graph {
    context: *mut sys::ggml_context,
    graph: *mut sys::ggml_cgraph,
    result: *mut sys::ggml_tensor,
    plan: sys::ggml_cplan,
    /// What `plan.work_data` points to.
    _work: Vec<u64>,
}

/// Room for the graph and the tensors' descriptions.
const GRAPH_BYTES: usize = 1 << 20;

impl Graph {
    /// The product of `rows` and the tokens `x`, `[n, k]`, by `threads` threads; `None` when ggml has no memory.
    ///
    /// # Panics
    /// When `x` is not a whole number of tokens: a bug in the caller.
    pub fn new(rows: &Rows, x: &[f32], threads: usize) -> Option<Self> {
        let (m, k) = (rows.m, rows.k);
        assert!(x.len().is_multiple_of(k), "whole tokens");
        let n = x.len() / k;
        let mem_size = GRAPH_BYTES + rows.size() + (x.len() + n * m) * 4;
        let params = sys::ggml_init_params { mem_size, mem_buffer: ptr::null_mut(), no_alloc: false };
        // SAFETY: the context owns every tensor below and outlives them (`Drop`). `mem_size` holds the three tensors' data
        // and, with GRAPH_BYTES, their descriptions and the graph, or ggml aborts the program. Both copies fill exactly
        // the tensors they are for: rows.size() bytes of m rows of k, and x.len() floats of n rows of k.
        unsafe {
            let context = sys::ggml_init(params);
            if context.is_null() {
                return None;
            }
            let weights = sys::ggml_new_tensor_2d(context, rows.format.id, k as i64, m as i64);
            let input = sys::ggml_new_tensor_2d(context, sys::GGML_TYPE_F32, k as i64, n as i64);
            ptr::copy_nonoverlapping(rows.words.as_ptr().cast::<u8>(), (*weights).data.cast(), rows.size());
            ptr::copy_nonoverlapping(x.as_ptr(), (*input).data.cast(), x.len());
            let result = sys::ggml_mul_mat(context, weights, input);
            let graph = sys::ggml_new_graph(context);
            sys::ggml_build_forward_expand(graph, result);
            let mut plan = sys::ggml_graph_plan(graph, threads as i32, ptr::null_mut());
            let mut work = vec![0_u64; plan.work_size.div_ceil(8)];
            plan.work_data = work.as_mut_ptr().cast();
            Some(Self { context, graph, result, plan, _work: work })
        }
    }

    /// Computes it.
    pub fn run(&mut self) {
        // SAFETY: graph and plan were made for each other by `new`, with the work space that the plan asks for.
        let status = unsafe { sys::ggml_graph_compute(self.graph, &raw mut self.plan) };
        assert_eq!(status, sys::GGML_STATUS_SUCCESS, "ggml computed no product");
    }

    /// The result, `[n, m]`.
    pub fn output(&self) -> &[f32] {
        // SAFETY: `result` is a contiguous tensor of 32-bit floats that lives as long as the context, and nothing writes
        // it while `self` is borrowed: `run` takes `&mut self`.
        unsafe {
            let values = (*self.result).ne.iter().product::<i64>() as usize;
            std::slice::from_raw_parts((*self.result).data.cast::<f32>(), values)
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: `new` made the context, and nothing of it is used after this.
        unsafe { sys::ggml_free(self.context) }
    }
}
