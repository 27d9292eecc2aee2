//! Absmax quantisation of a layer's input, as emitted code.
//!
//! ```text
//! for each token:
//!     max = largest |x|, as bits: integers order like the magnitudes of floats, and NaN above all of them
//!     a = (1 / max(max, 1e-5)) * limit;  words[0] = a
//!     for each block:  q = round_ties_even(x * a);  words[1 + block] = sum of q
//! ```
//! No clamp: |x| a is at most limit (1 + 2^-22), which rounds to limit. A value that is not finite leaves an `a` that is
//! not positive, and the caller looks for it.

use craftsman_golden::Granularity;
use craftsman_golden::quantize::{ABSMAX_FLOOR, absmax_bits};
use craftsman_isa::HardwareCaps;

use crate::activations::Activations;
use crate::backend::{self, Backend};
use crate::code::{Code, EmitError};
use crate::host;
use crate::key::KernelKey;
use crate::memory::ExecutableMemory;
use crate::perf_map;
use crate::verify::Random;
use crate::vocabulary::{Arguments, Binary, Emitter, Field, Pointer, Unary, Vector};

/// Bytes that the code may write beyond the last token's row: a vector's worth of values.
pub(crate) const SLACK: usize = 16;
/// Vectors of one round of the innermost loops.
const UNROLL: usize = 4;

/// What is constant in the code: columns, the length of a block of sums, bits of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct QuantizerKey {
    pub(crate) k: usize,
    pub(crate) scales: Granularity,
    pub(crate) bits: u8,
}

impl QuantizerKey {
    /// The quantiser of a kernel's input.
    pub(crate) fn of(key: &KernelKey) -> Self {
        // Without blocks there is one sum, whoever shares the scale.
        let scales = match key.scales {
            Granularity::Row => Granularity::Tensor,
            other => other,
        };
        Self { k: key.k, scales, bits: key.activation_bits }
    }

    fn block(&self) -> usize {
        match self.scales {
            Granularity::Block(size) => size,
            Granularity::Tensor | Granularity::Row => self.k,
        }
    }

    /// The largest value: 127, or 7.
    fn limit(&self) -> f32 {
        f32::from((1_i16 << (self.bits - 1)) - 1)
    }
}

/// Verified code that quantises inputs of one width.
#[derive(Debug)]
pub struct Quantizer {
    key: QuantizerKey,
    backend: &'static str,
    memory: ExecutableMemory,
}

impl Quantizer {
    /// Emits and verifies the code for the first backend of `caps` that gives golden's answer.
    ///
    /// # Errors
    /// What was wrong with the last backend that was tried.
    pub(crate) fn new(key: QuantizerKey, caps: &HardwareCaps) -> Result<Self, EmitError> {
        let caps = host::within(caps.clone());
        backend::first_right(
            &caps,
            |backend| Self::on(backend, key, &caps),
            |backend, error| tracing::error!(name: "QuantizerDropped", backend, k = key.k, %error),
        )
    }

    fn on(backend: &dyn Backend, key: QuantizerKey, caps: &HardwareCaps) -> Result<Self, EmitError> {
        let code = code(backend, key, caps)?;
        let quantizer = Self { key, backend: backend.name(), memory: ExecutableMemory::new(&code)? };
        perf_map::record(
            quantizer.memory.code(),
            format_args!("quantize-{}-{}-a{}", backend.name(), key.k, key.bits),
        );
        quantizer.verify()?;
        Ok(quantizer)
    }

    /// Columns of a token.
    pub fn k(&self) -> usize {
        self.key.k
    }

    /// Bits of a value: 8, or 4.
    pub fn bits(&self) -> u8 {
        self.key.bits
    }

    /// What the sums are for: the scales of the matrices that the input will meet.
    pub fn scales(&self) -> Granularity {
        self.key.scales
    }

    /// The backend that its code is of.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Quantises the tokens of `x`, one after the other, into `q` and `words`.
    ///
    /// # Panics
    /// When lengths do not fit together: a bug in the caller.
    pub(crate) fn run(&self, x: &[f32], q: &mut [i8], words: &mut [u32]) {
        let tokens = x.len() / self.key.k;
        let row = self.key.k.next_multiple_of(4);
        let blocks = self.key.k.div_ceil(self.key.block());
        assert!(x.len() == tokens * self.key.k, "{} values of {} a token", x.len(), self.key.k);
        let fits = q.len() >= tokens * row + SLACK && words.len() >= tokens * (1 + blocks);
        assert!(fits, "{} values and {} words for {tokens} tokens of {:?}", q.len(), words.len(), self.key);
        let mut arguments = Arguments {
            source: x.as_ptr().cast(),
            activations: q.as_mut_ptr().cast(),
            token_words: words.as_mut_ptr(),
            tokens,
            ..Arguments::default()
        };
        // SAFETY: the code was emitted for `key` and this processor (`new`). It reads k floats a token, writes a row of
        // k values rounded up to a vector, whose last bytes the next row or the slack takes, and one word and one sum a
        // block; the checks above say that they are there.
        unsafe { self.memory.call(&mut arguments) }
    }

    /// Compares with golden: extremes, ties, nothing, spikes, and values that are not finite.
    fn verify(&self) -> Result<(), EmitError> {
        let mut random = Random::new(self.key.k as u64);
        let rows: Vec<Vec<f32>> =
            (0..PATTERNS).map(|pattern| row(pattern, self.key.k, &mut random)).collect();
        let mut activations = Activations::new();
        let wrong = |what: &str| {
            let Self { key: QuantizerKey { k, bits, .. }, backend, .. } = self;
            EmitError::new(format_args!("{backend} quantises {k} values to {bits} bits wrongly: {what}"))
        };
        for count in [1, PATTERNS] {
            let x: Vec<f32> = rows[PATTERNS - count..].concat();
            activations.quantize(self, &x, count).map_err(|error| wrong(&error.to_string()))?;
            let mut q = Vec::new();
            let mut a = Vec::new();
            for row in &rows[PATTERNS - count..] {
                let expected =
                    absmax_bits(row, u32::from(self.key.bits)).map_err(|error| wrong(&error.to_string()))?;
                q.extend(expected.q);
                a.push(expected.scale);
            }
            let expected =
                Activations::from_quantized(&q, &a, self.key.k, self.key.scales).with_bits(self.key.bits);
            if !activations.same_values(&expected) {
                return Err(wrong("values or sums differ from golden's"));
            }
        }
        for (index, value) in
            [(0, f32::NAN), (self.key.k - 1, f32::NEG_INFINITY), (self.key.k / 2, f32::INFINITY)]
        {
            let mut x = rows[0].clone();
            x[index] = value;
            match activations.quantize(self, &x, 1) {
                Err(error) if error.index == index => {}
                _ => return Err(wrong("a value that is not finite passes")),
            }
        }
        Ok(())
    }
}

/// How many kinds of rows verification tries.
const PATTERNS: usize = 5;

/// Rows that are meant to break quantisers.
fn row(pattern: usize, k: usize, random: &mut Random) -> Vec<f32> {
    let value = |column: usize, random: &mut Random| match pattern {
        0 => random.positive() - 0.5,
        // With a scale of one every other value is a tie.
        1 => (column % 509) as f32 * 0.5 - 127.0,
        2 => 0.0,
        3 => {
            if column == k / 2 {
                -3.0e38
            } else {
                random.positive()
            }
        }
        // Below the floor of the scale.
        _ => random.positive() * 1e-7,
    };
    (0..k).map(|column| value(column, random)).collect()
}

/// The machine code for `caps`.
pub(crate) fn code(backend: &dyn Backend, key: QuantizerKey, caps: &HardwareCaps) -> Result<Code, EmitError> {
    backend.compile(caps, &mut |emitter| Speech::new(key, emitter).say())
}

/// Says the algorithm.
struct Speech<'e> {
    e: &'e mut dyn Emitter,
    key: QuantizerKey,
    source: Pointer,
    q: Pointer,
    words: Pointer,
    /// The sign bit's complement.
    magnitude: Vector,
}

impl<'e> Speech<'e> {
    fn new(key: QuantizerKey, e: &'e mut dyn Emitter) -> Self {
        let magnitude = e.vector();
        e.splat(magnitude, 0x7FFF_FFFF);
        Self {
            key,
            source: e.pointer(Field::Source),
            q: e.pointer(Field::Activations),
            words: e.pointer(Field::TokenWords),
            magnitude,
            e,
        }
    }

    fn say(mut self) {
        let (k, block) = (self.key.k, self.key.block());
        self.e.copy_field(Field::TokensLeft, Field::Tokens);
        self.e.begin_while(Field::TokensLeft, 1, "tokens");
        let a = self.scale();
        if k / block > 1 {
            self.e.set_field(Field::BlocksLeft, k / block);
            self.e.begin_while(Field::BlocksLeft, 1, "blocks");
            self.block(a, block);
            self.e.end_while();
        } else if k >= block {
            self.block(a, block);
        }
        if !k.is_multiple_of(block) {
            self.block(a, k % block);
        }
        self.e.release(a);
        // The row's padding was written with the last values; the next row begins behind it.
        self.e.advance(self.q, (k.next_multiple_of(4) - k) as i64);
        self.e.end_while();
    }

    /// `say(self, offset in values, lanes)` for every vector of `columns` columns; `moving` pointers advance.
    fn columns(
        &mut self,
        columns: usize,
        moving: &[(Pointer, i64)],
        mut say: impl FnMut(&mut Self, usize, usize, usize),
    ) {
        let lanes = self.e.lanes();
        let advance = |walk: &mut Self, values: usize| {
            for &(pointer, bytes) in moving {
                walk.e.advance(pointer, values as i64 * bytes);
            }
        };
        let round = UNROLL * lanes;
        if columns >= round {
            self.e.begin_repeat(columns / round, "vectors");
            (0..UNROLL).for_each(|at| say(self, at, at * lanes, lanes));
            advance(self, round);
            self.e.end_repeat();
        }
        let rest = columns % round;
        for at in 0..rest.div_ceil(lanes) {
            say(self, at, at * lanes, lanes.min(rest - at * lanes));
        }
        advance(self, rest);
    }

    /// `a` in every lane and in the token's first word, from the largest magnitude.
    fn scale(&mut self) -> Vector {
        let (source, magnitude) = (self.source, self.magnitude);
        let largest: Vec<_> = (0..UNROLL).map(|_| self.e.vector()).collect();
        for &vector in &largest {
            self.e.splat(vector, ABSMAX_FLOOR.to_bits());
        }
        let x = self.e.vector();
        self.columns(self.key.k, &[(source, 4)], |walk, at, offset, lanes| {
            walk.e.load_lanes(x, source, 4 * offset as i64, lanes);
            walk.e.binary(Binary::And, x, x, magnitude);
            walk.e.binary(Binary::Max32, largest[at], largest[at], x);
        });
        self.e.advance(source, -4 * self.key.k as i64);
        let [max, others @ ..] = largest.as_slice() else { return x };
        for &other in others {
            self.e.binary(Binary::Max32, *max, *max, other);
        }
        self.fold(Binary::Max32, *max, x);
        self.e.splat(x, 1.0_f32.to_bits());
        self.e.binary(Binary::DivFloat, *max, x, *max);
        self.e.splat(x, self.key.limit().to_bits());
        self.e.binary(Binary::MulFloat, *max, *max, x);
        self.e.store_lanes(self.words, 0, *max, 1);
        self.e.advance(self.words, 4);
        self.e.release(x);
        for &other in others {
            self.e.release(other);
        }
        *max
    }

    /// Quantises the columns of a block and stores their sum.
    fn block(&mut self, a: Vector, columns: usize) {
        let (source, q) = (self.source, self.q);
        let sums: Vec<_> = (0..UNROLL).map(|_| self.e.vector()).collect();
        for &sum in &sums {
            self.e.zero(sum);
        }
        let x = self.e.vector();
        self.columns(columns, &[(source, 4), (q, 1)], |walk, at, offset, lanes| {
            walk.e.load_lanes(x, source, 4 * offset as i64, lanes);
            walk.e.binary(Binary::MulFloat, x, x, a);
            walk.e.unary(Unary::ToInt, x, x);
            walk.e.binary(Binary::Add32, sums[at], sums[at], x);
            walk.e.store_narrow(q, offset as i64, x);
        });
        let [sum, others @ ..] = sums.as_slice() else { return };
        for &other in others {
            self.e.binary(Binary::Add32, *sum, *sum, other);
        }
        self.fold(Binary::Add32, *sum, x);
        self.e.store_lanes(self.words, 0, *sum, 1);
        self.e.advance(self.words, 4);
        self.e.release(x);
        for &sum in &sums {
            self.e.release(sum);
        }
    }

    /// Every lane = all lanes of `vector`, joined by `word`; `spare` is used up.
    fn fold(&mut self, word: Binary, vector: Vector, spare: Vector) {
        let mut by = self.e.lanes() / 2;
        while by > 0 {
            self.e.rotate_lanes(spare, vector, by);
            self.e.binary(word, vector, vector, spare);
            by /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Buffer, Runner, runner, words};
    use craftsman_isa::recorded;

    /// The backends that are not here, on other machines: nothing outside the rows, their slack and the words.
    #[test]
    fn every_assembler_quantises_as_golden_does() {
        for machine in ["sapphire-rapids", "graviton3"] {
            let caps = recorded::by_name(machine).unwrap();
            let Some(mut machine) = runner(&caps) else { continue };
            let here = |b: &&&dyn Backend| b.name() != "portable" && b.runs_on(&caps) && b.serves(&[]);
            for backend in backend::ALL.iter().filter(here) {
                for (k, scales, bits) in
                    [(1, None, 8), (61, None, 4), (64, Some(64), 8), (130, Some(64), 8), (777, Some(256), 4)]
                {
                    let scales = scales.map_or(Granularity::Tensor, Granularity::Block);
                    check(*backend, QuantizerKey { k, scales, bits }, &caps, &mut *machine);
                }
            }
        }
    }

    fn check(backend: &dyn Backend, key: QuantizerKey, caps: &HardwareCaps, machine: &mut dyn Runner) {
        let QuantizerKey { k, scales, bits } = key;
        let mut random = Random::new(7);
        let x: Vec<f32> = (0..PATTERNS).flat_map(|pattern| row(pattern, k, &mut random)).collect();
        let rows: Vec<_> = x.chunks(k).map(|x| absmax_bits(x, bits.into()).unwrap()).collect();
        let q: Vec<i8> = rows.iter().flat_map(|row| row.q.iter().copied()).collect();
        let a: Vec<f32> = rows.iter().map(|row| row.scale).collect();
        let expected = Activations::from_quantized(&q, &a, k, scales);
        let sums = &expected.words()[..PATTERNS * (1 + k.div_ceil(key.block()))];
        let mut buffers = [
            Buffer::read(Field::Source, words(&x.iter().map(|x| x.to_bits()).collect::<Vec<_>>())),
            Buffer::write(Field::Activations, vec![0xA5; expected.q().len() + SLACK]),
            Buffer::write(Field::TokenWords, vec![0xA5; sums.len() * 4]),
        ];
        let code = code(backend, key, caps).unwrap();
        machine.call(&code, &mut buffers, &[(Field::Tokens, PATTERNS)]).unwrap();
        let bytes: Vec<u8> = expected.q().iter().map(|q| q.cast_unsigned()).collect();
        assert_eq!(buffers[1].bytes[..bytes.len()], bytes, "{} {key:?}", backend.name());
        assert_eq!(buffers[2].bytes, words(sums), "{} {key:?}", backend.name());
    }
}
