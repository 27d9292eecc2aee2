//! The vocabulary in AVX2 and in AVX-512.
//!
//! Unsafe stands here and in `tiers.rs` only: an intrinsic is unsafe to call where the compiler does not know
//! that the processor has it. `Avx2` and `Avx512` can only be made by an unsafe constructor that demands
//! exactly those features, and so every intrinsic below may rely on `self`.

#![allow(clippy::wildcard_imports, reason = "the intrinsics are one vocabulary with prefixed names")]
#![allow(clippy::cast_ptr_alignment, reason = "every load here is an unaligned one")]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::vector::Vector;

/// Permission to use AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Permission to use AVX-512 F, BW, DQ and VL besides what [`Avx2`] allows.
#[derive(Clone, Copy)]
pub(super) struct Avx512(Avx2);

impl Avx2 {
    /// # Safety
    /// The processor has AVX2, FMA and F16C.
    pub(super) unsafe fn assume() -> Self {
        Self(())
    }
}

impl Avx512 {
    /// # Safety
    /// The processor has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL.
    pub(super) unsafe fn assume() -> Self {
        // SAFETY: the caller vouches for more than this asks for.
        Self(unsafe { Avx2::assume() })
    }
}

/// Asks for the line `ahead` bytes after `at`.
#[inline(always)]
fn prefetch<T>(at: &T, ahead: usize) {
    let place = std::ptr::from_ref(at).wrapping_byte_add(ahead);
    // SAFETY: SSE is part of every x86-64, and a prefetch of any address, even an unmapped one, has no effect
    // but on speed.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
}

impl Vector for Avx2 {
    type F = [__m256; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` proves AVX.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> Self::F {
        // SAFETY: `self` proves AVX; both unaligned reads of 8 lie inside the 16 of `x`.
        unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; 16]) -> Self::F {
        let at = x.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves F16C; both unaligned reads of 16 bytes lie inside the 32 of `x`.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1)))] }
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; 16]) -> Self::F {
        let at = x.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves AVX2; both unaligned reads of 16 bytes lie inside the 32 of `x`. A bfloat16
        // is the upper half of an f32.
        unsafe {
            let widen = |half| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
            [widen(_mm_loadu_si128(at)), widen(_mm_loadu_si128(at.add(1)))]
        }
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> Self::F {
        // SAFETY: `self` proves AVX2; the unaligned read of 16 bytes is all of `x`.
        unsafe {
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            let widen = |low| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
            [widen(bytes), widen(_mm_unpackhi_epi64(bytes, bytes))]
        }
    }

    #[inline(always)]
    fn array(self, x: Self::F) -> [f32; 16] {
        let mut array = [0.0; 16];
        // SAFETY: `self` proves AVX; both unaligned writes of 8 lie inside the 16 of `array`.
        unsafe {
            _mm256_storeu_ps(array.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(array.as_mut_ptr().add(8), x[1]);
        }
        array
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: `self` proves FMA.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn fold(self, x: Self::F) -> f32 {
        self.fold4([x; 4])[0]
    }

    /// 8 + 8 and 4 + 4 in each vector; then the four are transposed, so that 2 + 2 and 1 + 1 happen for all
    /// at once.
    #[inline(always)]
    fn fold4(self, x: [Self::F; 4]) -> [f32; 4] {
        // SAFETY: `self` proves AVX.
        unsafe {
            let mut quarter = [_mm_setzero_ps(); 4];
            for i in 0..4 {
                let eight = _mm256_add_ps(x[i][0], x[i][1]);
                quarter[i] = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            }
            let [mut a, mut b, mut c, mut d] = quarter;
            _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
            let sums = _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d));
            let mut array = [0.0; 4];
            _mm_storeu_ps(array.as_mut_ptr(), sums);
            array
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: &T, ahead: usize) {
        prefetch(at, ahead);
    }
}

impl Vector for Avx512 {
    type F = __m512;

    const SUMS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> __m512 {
        // SAFETY: `self` proves AVX-512 F; the unaligned read of 16 is all of `x`.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, x: &[f16; 16]) -> __m512 {
        // SAFETY: `self` proves AVX-512 F; the unaligned read of 32 bytes is all of `x`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, x: &[bf16; 16]) -> __m512 {
        // SAFETY: `self` proves AVX-512 F; the unaligned read of 32 bytes is all of `x`. A bfloat16 is the
        // upper half of an f32.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; 16]) -> __m512 {
        // SAFETY: `self` proves AVX-512 F; the unaligned read of 16 bytes is all of `x`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn array(self, x: __m512) -> [f32; 16] {
        let mut array = [0.0; 16];
        // SAFETY: `self` proves AVX-512 F; the unaligned write of 16 is all of `array`.
        unsafe { _mm512_storeu_ps(array.as_mut_ptr(), x) };
        array
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    /// 8 + 8 of two, and 4 + 4 of four, in one vector, each in a block of its own; then 2 + 2 and 1 + 1 in all blocks at once.
    #[inline(always)]
    fn fold4(self, x: [__m512; 4]) -> [f32; 4] {
        let [a, b, c, d] = x;
        // Not with `map`: its closure would be a function without the target features, which no intrinsic is inlined in.
        // SAFETY: `self` proves AVX-512 F; the unaligned write of 4 is all of `sums`.
        unsafe {
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xEE>(c, d));
            let x = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xDD>(ab, cd));
            let x = _mm512_add_ps(x, _mm512_permute_ps::<0b00_00_11_10>(x));
            let x = _mm512_add_ps(x, _mm512_permute_ps::<0b00_00_00_01>(x));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, x)));
            sums
        }
    }

    #[inline(always)]
    fn fold(self, x: __m512) -> f32 {
        self.fold4([x; 4])[0]
    }

    #[inline(always)]
    fn prefetch<T>(self, at: &T, ahead: usize) {
        prefetch(at, ahead);
    }
}
