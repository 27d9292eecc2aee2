//! The AVX-512 tier on processors that lack it: its compiled code, taken from this very test program, run in
//! the [simulator](crate::simulate) and compared with golden bit for bit.
//!
//! What is tested is everything said in intrinsics. The element by element loops have none: there the
//! compiler is trusted to keep the meaning of golden's definitions on this tier, as it is on every other.
//!
//! The program's code and constants are mapped where they really lie, so that the functions find what they
//! call. What lies outside the program, the C library's `memcpy`, is replaced by a loop of our own in the
//! table that calls go through.
//!
//! Unsafe for one reason: the functions under test are given raw addresses, which exist only inside the
//! simulator.

#![allow(clippy::cast_ptr_alignment, reason = "the simulator's buffers lie at multiples of 2^24")]

use std::fs::{File, read_to_string};
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt;
use std::slice::{from_raw_parts, from_raw_parts_mut};

use craftsman_golden::float as golden;
use half::{bf16, f16};

use super::dense::Column;
use super::rows::{Numbers, Rows};
use super::vector::Vector;
use super::x86::Avx512;
use super::{attention, matmul, reduce};
use crate::OutputMatrix;
use crate::simulate::{Access, Machine};

/// Floats of a buffer: ten vectors.
const LEN: usize = 160;
/// Where the simulator sees the first buffer; each further one lies a page group above.
const BUFFERS: u64 = 0x10_0000_0000;
const BUFFER_DISTANCE: u64 = 1 << 24;

type Function = unsafe extern "sysv64" fn(*const f32, *const f32, *mut f32, *mut f32);

/// Compiles a function of buffers of [`LEN`] floats for the AVX-512 tier: two to read, one to change, and a
/// vector to fill.
macro_rules! simulated {
    ($name:ident, |$v:ident, $a:ident, $b:ident, $out:ident, $scratch:ident| $body:expr) => {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
        extern "sysv64" fn $name(a: *const f32, b: *const f32, out: *mut f32, scratch: *mut f32) {
            // SAFETY: only ever run by the simulator, which has AVX-512, maps LEN floats at each address and
            // checks each access. The vector is neither grown nor dropped.
            let ($v, $a, $b, $out, mut scratch) = unsafe {
                let scratch = ManuallyDrop::new(Vec::from_raw_parts(scratch, 0, LEN));
                (
                    Avx512::assume(),
                    from_raw_parts(a, LEN),
                    from_raw_parts(b, LEN),
                    from_raw_parts_mut(out, LEN),
                    scratch,
                )
            };
            let $scratch = &mut *scratch;
            $body
        }
    };
}

simulated!(dot, |v, a, b, out, _s| out[0] = reduce::dot(v, a, b));
simulated!(rms_norm, |v, a, b, out, _s| reduce::rms_norm(v, a, b, 1e-5, out));
// The length is hidden from the compiler, as it is in use: it would write the tail out for this one.
simulated!(sum_and_maxima, |v, a, _b, out, _s| {
    let x = &a[..black_box(150)];
    out[0] = reduce::sum(v, x);
    out[16..32].copy_from_slice(&reduce::maxima(v, x));
});
// Three queries over seven rows of 20: pairs and the odd one, quads of rows and what is left. Then one over rows of 75.
simulated!(attend, |v, a, b, out, _s| {
    let (mixed, scores) = out.split_at_mut(100);
    let rows = |len, width| Rows { len, width, numbers: Numbers::F32(&b[..len * width]) };
    attention::score(v, &a[..60], rows(7, 20), 0.3, &mut thirds(scores, 7));
    attention::mix(v, &[&a[..2]], rows(2, 75), &mut [&mut mixed[..75]]);
});
simulated!(mix_of_two, |v, a, b, out, _s| {
    let rows = Rows { len: 2, width: 80, numbers: Numbers::F32(b) };
    let (first, second) = out.split_at_mut(80);
    attention::mix(v, &[&a[..2], &a[2..4]], rows, &mut [first, second]);
});
// Two queries over rows of 40 bytes in two blocks: the scales are eight numbers of `a`, the codes bytes of `b`.
simulated!(attend_bytes, |v, a, b, out, _s| {
    // SAFETY: the first 160 bytes of `b`.
    let codes = unsafe { from_raw_parts(b.as_ptr().cast::<i8>(), 160) };
    let rows = Rows { len: 4, width: 40, numbers: Numbers::Bytes { codes, scales: &a[..8] } };
    let (mixed, scores) = out.split_at_mut(100);
    let [first, second, _] = thirds(scores, 4);
    attention::score(v, &a[8..88], rows, 0.3, &mut [first, second]);
    let (first, second) = mixed[..80].split_at_mut(40);
    attention::mix(v, &[&a[..4], &a[4..8]], rows, &mut [first, second]);
});
simulated!(widen, |v, a, _b, out, _s| {
    // SAFETY: the first 64 bytes of `a`, as two groups of sixteen numbers of two bytes.
    let (halves, brains) =
        unsafe { (&*a.as_ptr().cast::<[f16; 16]>(), &*a[8..].as_ptr().cast::<[bf16; 16]>()) };
    let (halves, brains) = (v.load_f16(halves), v.load_bf16(brains));
    let (groups, _) = out.as_chunks_mut::<16>();
    (groups[0], groups[1]) = (v.array(halves), v.array(brains));
});
// One panel of two columns times five tokens, then five panels times one token.
simulated!(product, |v, a, b, out, _s| {
    // SAFETY: `a` holds LEN / 16 columns of sixteen floats, aligned as the buffers are.
    let panels = unsafe { from_raw_parts(a.as_ptr().cast::<Column<f32>>(), LEN / 16) };
    let (many, one) = out.split_at_mut(80);
    matmul::product(v, &panels[..2], &b[..10], 2, &mut OutputMatrix::new(many, 5, 16).whole());
    matmul::product(v, panels, &b[..2], 2, &mut OutputMatrix::new(one, 1, 80).whole());
});
simulated!(pairs_of_panels, |v, a, b, out, _s| {
    // SAFETY: as in `product`.
    let panels = unsafe { from_raw_parts(a.as_ptr().cast::<Column<f32>>(), 2) };
    matmul::product(v, panels, &b[..5], 1, &mut OutputMatrix::new(out, 5, 32).whole());
});

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
}

/// `memcpy`, in code that the compiler does not turn into a call of it.
unsafe extern "C" fn copy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    for i in 0..bytes {
        // SAFETY: as `memcpy`: both ranges are the caller's.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
    to
}

/// Replaces the address of `memcpy` by that of [`copy`], wherever it stands as a word.
fn redirect(bytes: &mut [u8]) {
    let address = |function: unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8| {
        (function as usize).to_le_bytes()
    };
    let (outside, inside) = (address(memcpy), address(copy));
    bytes.as_chunks_mut().0.iter_mut().filter(|word| **word == outside).for_each(|word| *word = inside);
}

/// Parts of this program as it lies in memory: start, end, whether it is code.
fn program() -> Vec<(u64, u64, bool)> {
    let path = std::env::current_exe().expect("a path");
    let maps = read_to_string("/proc/self/maps").expect("Linux tells what is mapped");
    let of_program = maps.lines().filter(|line| line.ends_with(&*path.to_string_lossy()));
    let part = |line: &str| {
        let (range, rest) = line.split_once(' ').expect("range and permissions");
        let (start, end) = range.split_once('-').expect("start and end");
        let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
        (number(start), number(end), rest.starts_with("r-x"))
    };
    of_program.map(part).collect()
}

fn read(start: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0; (end - start) as usize];
    let memory = File::open("/proc/self/mem").expect("our own memory");
    memory.read_exact_at(&mut bytes, start).expect("a mapped range");
    bytes
}

/// Runs `function` on copies of `a`, `b` and `out`, and gives `out` afterwards.
fn simulate(function: Function, a: &[f32], b: &[f32], out: &[f32]) -> Vec<f32> {
    let entry = function as usize as u64;
    let parts = program();
    let &(start, end, _) = parts.iter().find(|part| (part.0..part.1).contains(&entry)).expect("our code");
    let mut machine = Machine::new();
    let mut map = |address, bytes, access| machine.map(address, bytes, access).expect("room");
    for &(start, end, _) in parts.iter().filter(|part| !part.2) {
        let mut bytes = read(start, end);
        redirect(&mut bytes);
        map(start, bytes, Access::Read);
    }
    let arguments = [0, 1, 2, 3].map(|buffer| BUFFERS + buffer * BUFFER_DISTANCE);
    for (address, values) in arguments.into_iter().zip([a, b, out, &[f32::NAN; LEN]]) {
        map(address, values.iter().flat_map(|v| v.to_le_bytes()).collect(), Access::ReadWrite);
    }
    // The simulator enters at the first byte: `jmp entry`, over whatever lies so far from the function.
    let mut code = read(start, end);
    code[0] = 0xe9;
    code[1..5].copy_from_slice(&((entry - start - 5) as u32).to_le_bytes());
    machine.run(&code, start, &arguments).unwrap_or_else(|fault| panic!("{fault}"));
    let bytes = machine.bytes(arguments[2]).expect("still mapped");
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

/// Numbers of both signs and many sizes, a zero and a subnormal among them.
fn numbers(seed: u32) -> Vec<f32> {
    let number = |i: u32| {
        let bits = (i + seed * 1_000).wrapping_mul(2_654_435_761);
        (f64::from(bits as i32) / f64::from(1 << 29)) as f32
    };
    let mut numbers: Vec<f32> = (0..LEN as u32).map(number).collect();
    (numbers[3], numbers[5], numbers[7]) = (-0.0, 1e-41, 1e-30);
    numbers
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Simulates `function` and compares all of `out` with what `golden` makes of the same buffers.
fn check(function: Function, golden: impl Fn(&[f32], &[f32], &mut [f32])) {
    for seed in 0..3 {
        let (a, b, mut out) = (numbers(seed), numbers(seed + 10), numbers(seed + 20));
        let simulated = simulate(function, &a, &b, &out);
        golden(&a, &b, &mut out);
        assert_eq!(bits(&simulated), bits(&out));
    }
}

#[test]
fn reductions() {
    check(dot, |a, b, out| out[0] = golden::dot16(a, b));
    check(rms_norm, |a, b, out| golden::rms_norm(a, b, 1e-5, out));
    check(sum_and_maxima, |a, _, out| {
        out[0] = golden::sum16(&a[..150]);
        for (lane, out) in out[16..32].iter_mut().enumerate() {
            *out = a[..150].iter().skip(lane).step_by(16).copied().fold(f32::NEG_INFINITY, f32::max);
        }
    });
}

/// Three stretches of `len`, one after the other.
#[inline(always)]
fn thirds(x: &mut [f32], len: usize) -> [&mut [f32]; 3] {
    let (first, rest) = x.split_at_mut(len);
    let (second, rest) = rest.split_at_mut(len);
    [first, second, &mut rest[..len]]
}

/// What both halves of attention write to `out`: the mixtures of the rows of `values`, `p` numbers a query, and from 100 on the scores
/// of `keys` for each query as wide as they.
fn attend_golden(
    q: &[f32],
    p: (&[f32], usize),
    [keys, values]: [&[f32]; 2],
    widths: [usize; 2],
    out: &mut [f32],
) {
    let (mixed, scores) = out.split_at_mut(100);
    for (p, mixed) in p.0.chunks(p.1).zip(mixed.chunks_mut(widths[1])) {
        for (&p, value) in p.iter().zip(values.chunks(widths[1])) {
            golden::axpy(p, value, mixed);
        }
    }
    let products =
        q.chunks(widths[0]).flat_map(|q| keys.chunks(widths[0]).map(move |key| golden::dot16(q, key)));
    for (score, product) in scores.iter_mut().zip(products) {
        *score = product * 0.3;
    }
}

#[test]
fn halves_of_attention() {
    check(attend, |a, b, out| attend_golden(&a[..60], (&a[..2], 2), [&b[..140], &b[..150]], [20, 75], out));
    check(mix_of_two, |a, b, out| {
        for (p, out) in a[..4].chunks(2).zip(out.chunks_mut(80)) {
            p.iter().zip(b.chunks(80)).for_each(|(&p, row)| golden::axpy(p, row, out));
        }
    });
    check(attend_bytes, |a, b, out| {
        let codes: Vec<i8> = b[..40].iter().flat_map(|v| v.to_le_bytes()).map(|byte| byte as i8).collect();
        let mut rows = vec![0.0; 160];
        let blocks = codes.chunks(40).zip(rows.chunks_mut(40)).flat_map(|(codes, row)| {
            let (low, high) = row.split_at_mut(golden::ROW_BLOCK);
            [(&codes[..golden::ROW_BLOCK], low), (&codes[golden::ROW_BLOCK..], high)]
        });
        for ((codes, out), scale) in blocks.zip(a) {
            golden::widen_block(*scale, codes, out);
        }
        attend_golden(&a[8..88], (&a[..8], 4), [&rows, &rows], [40, 40], out);
    });
}

#[test]
fn widening() {
    check(widen, |a, _, out| {
        let pairs = |x: &[f32]| {
            x.iter().flat_map(|v| [v.to_bits() as u16, (v.to_bits() >> 16) as u16]).collect::<Vec<_>>()
        };
        for (i, bits) in pairs(&a[..8]).into_iter().enumerate() {
            out[i] = f16::from_bits(bits).to_f32();
        }
        for (i, bits) in pairs(&a[8..16]).into_iter().enumerate() {
            out[16 + i] = bf16::from_bits(bits).to_f32();
        }
    });
}

/// Rows of `k` numbers that lie in panels, `[panel][k][16]`.
fn rows(panels: &[f32], k: usize) -> Vec<f32> {
    let row = |r: usize| (0..k).map(move |i| panels[r / 16 * 16 * k + 16 * i + r % 16]);
    (0..panels.len() / k).flat_map(row).collect()
}

#[test]
fn dense_products() {
    check(product, |a, b, out| {
        out[..80].copy_from_slice(&golden::matmul(&rows(&a[..32], 2), &b[..10], 2));
        out[80..].copy_from_slice(&golden::matmul(&rows(a, 2), &b[..2], 2));
    });
    check(pairs_of_panels, |a, b, out| {
        out.copy_from_slice(&golden::matmul(&rows(&a[..32], 1), &b[..5], 1));
    });
}
