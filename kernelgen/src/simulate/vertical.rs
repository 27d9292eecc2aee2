//! Instructions that work lane by lane.

use super::arithmetic::{self as int, extend, narrow, narrow_unsigned, same};
use super::bits::{Bytes, lane};
use super::core::Core;
use super::fault::FaultKind;
use super::float;
use super::operand::{build, check_rounding, is_legacy, map};
use iced_x86::{Instruction, Mnemonic, Mnemonic as M, OpKind};

/// How an instruction's operands come to the function of a lane.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// `f(a)`
    Unary(fn(u64) -> u64),
    /// `f(a, immediate)`
    UnaryImmediate(fn(u64, u64) -> u64),
    /// `f(a, b)`
    Binary(fn(u64, u64) -> u64),
    /// `f(destination, a, b)`
    Ternary(fn(u64, u64, u64) -> u64),
    /// `f(destination, a, b, immediate)`
    TernaryImmediate(fn(u64, u64, u64, u64) -> u64),
    /// `f(a, count)`, the count an immediate or the low quadword of a vector, or lane by lane.
    Shift(fn(u64, u64) -> u64),
    /// `f(a)`, from lanes of so many bytes to the row's.
    Widen(usize, fn(u64) -> u64),
    /// `f(a)`, from lanes of so many bytes to the row's; the destination may be memory.
    Narrow(usize, fn(u64) -> u64),
}

/// Instructions that differ in encoding and width only.
pub(super) struct Row {
    pub(super) names: &'static [Mnemonic],
    /// Bytes of a destination lane.
    size: usize,
    shape: Shape,
    /// Whether only lane 0 is computed and the others come from the first source.
    scalar: bool,
}

/// A row of the table, all lanes.
const fn all(size: usize, shape: Shape, names: &'static [Mnemonic]) -> Row {
    Row { names, size, shape, scalar: false }
}

/// A row of the table, f32 in lane 0.
const fn low(shape: Shape, names: &'static [Mnemonic]) -> Row {
    Row { names, size: 4, shape, scalar: true }
}

impl Row {
    pub(super) fn execute(&self, core: &mut Core, instruction: &Instruction) -> Result<(), FaultKind> {
        check_rounding(core, instruction)?;
        match self.shape {
            Shape::Narrow(from, function) => self.narrow(core, instruction, from, function),
            _ if self.scalar => self.lane_zero(core, instruction),
            _ => {
                let width = instruction.op0_register().size();
                let value = self.value(core, instruction, width)?;
                core.set_vector(instruction, self.size, &value)
            }
        }
    }

    /// The result in `width` bytes.
    fn value(&self, core: &Core, instruction: &Instruction, width: usize) -> Result<Bytes, FaultKind> {
        let size = self.size;
        let first = u32::from(!is_legacy(instruction));
        let last = last_vector(instruction);
        let lanes = width / size;
        let read = |operand| core.masked_source(instruction, operand, lanes);
        let old = || core.vector(instruction.op0_register());
        let immediate = u64::from(instruction.immediate8());
        Ok(match self.shape {
            Shape::Unary(f) => map(&read(last)?, size, width, f),
            Shape::UnaryImmediate(f) => map(&read(last)?, size, width, |a| f(a, immediate)),
            Shape::Binary(f) => {
                let (a, b) = (read(first)?, read(first + 1)?);
                build(size, width, |index| f(lane(&a, size, index), lane(&b, size, index)))
            }
            Shape::Ternary(f) => self.ternary(width, &old()?, &read(1)?, &read(2)?, f),
            Shape::TernaryImmediate(f) => {
                self.ternary(width, &old()?, &read(1)?, &read(2)?, |old, a, b| f(old, a, b, immediate))
            }
            Shape::Shift(f) => {
                let (a, count) = (read(first)?, count(core, instruction, first + 1)?);
                map(&a, size, width, |a| f(a, count))
            }
            Shape::Widen(from, f) => {
                let a = read(last)?;
                build(size, width, |index| f(lane(&a, from, index)))
            }
            Shape::Narrow(..) => return Err(FaultKind::Unsupported),
        })
    }

    fn ternary(
        &self,
        width: usize,
        old: &Bytes,
        a: &Bytes,
        b: &Bytes,
        function: impl Fn(u64, u64, u64) -> u64,
    ) -> Bytes {
        let at = |bytes, index| lane(bytes, self.size, index);
        build(self.size, width, |index| function(at(old, index), at(a, index), at(b, index)))
    }

    /// Lane 0 computed, the rest of the first 16 bytes from the first source, or from the destination if that is one.
    fn lane_zero(&self, core: &mut Core, instruction: &Instruction) -> Result<(), FaultKind> {
        if instruction.has_op_mask() {
            return Err(FaultKind::Unsupported);
        }
        let keep_destination = is_legacy(instruction) || matches!(self.shape, Shape::Ternary(_));
        let mut value = core.source(instruction, u32::from(!keep_destination))?;
        let computed = self.value(core, instruction, self.size)?;
        value[..self.size].copy_from_slice(&computed[..self.size]);
        core.set_vector(instruction, self.size, &value)
    }

    fn narrow(
        &self,
        core: &mut Core,
        instruction: &Instruction,
        from: usize,
        function: fn(u64) -> u64,
    ) -> Result<(), FaultKind> {
        let lanes = Core::operand_size(instruction, 1) / from;
        let a = core.source(instruction, 1)?;
        let value = build(self.size, lanes * self.size, |index| function(lane(&a, from, index)));
        if instruction.op_kind(0) == OpKind::Memory {
            return core.store(instruction, self.size, lanes, &value);
        }
        core.set_vector(instruction, self.size, &value)?;
        // Beyond the narrowed lanes there are zeros, whatever the mask says.
        let number = instruction.op0_register().full_register().number();
        core.vectors[number][lanes * self.size..].fill(0);
        Ok(())
    }
}

/// The last operand that is not an immediate.
fn last_vector(instruction: &Instruction) -> u32 {
    let vectors = instruction.op_kinds().filter(|kind| matches!(kind, OpKind::Register | OpKind::Memory));
    vectors.count() as u32 - 1
}

/// How far a uniform shift goes.
fn count(core: &Core, instruction: &Instruction, operand: u32) -> Result<u64, FaultKind> {
    match instruction.op_kind(operand) {
        OpKind::Immediate8 => Ok(instruction.immediate8().into()),
        _ => Ok(lane(&core.source(instruction, operand)?, 8, 0)),
    }
}

use Shape::{Binary, Narrow, Shift, Ternary, TernaryImmediate, Unary, UnaryImmediate, Widen};

/// One row an operation, VEX, EVEX and legacy names together.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    all(4, Binary(int::and), &[M::Vpand, M::Vpandd, M::Pand, M::Vandps, M::Andps]),
    all(8, Binary(int::and), &[M::Vpandq]),
    all(4, Binary(int::and_not), &[M::Vpandn, M::Vpandnd, M::Pandn, M::Vandnps, M::Andnps]),
    all(8, Binary(int::and_not), &[M::Vpandnq]),
    all(4, Binary(int::or), &[M::Vpor, M::Vpord, M::Por, M::Vorps, M::Orps]),
    all(8, Binary(int::or), &[M::Vporq]),
    all(4, Binary(int::xor), &[M::Vpxor, M::Vpxord, M::Pxor, M::Vxorps, M::Xorps]),
    all(8, Binary(int::xor), &[M::Vpxorq]),
    all(4, TernaryImmediate(int::ternary_logic), &[M::Vpternlogd]),
    all(8, TernaryImmediate(int::ternary_logic), &[M::Vpternlogq]),

    all(1, Binary(int::add::<8>), &[M::Vpaddb, M::Paddb]),
    all(2, Binary(int::add::<16>), &[M::Vpaddw, M::Paddw]),
    all(4, Binary(int::add::<32>), &[M::Vpaddd, M::Paddd]),
    all(8, Binary(int::add::<64>), &[M::Vpaddq, M::Paddq]),
    all(1, Binary(int::sub::<8>), &[M::Vpsubb, M::Psubb]),
    all(2, Binary(int::sub::<16>), &[M::Vpsubw, M::Psubw]),
    all(4, Binary(int::sub::<32>), &[M::Vpsubd, M::Psubd]),
    all(8, Binary(int::sub::<64>), &[M::Vpsubq, M::Psubq]),
    all(1, Binary(int::add_saturating::<8>), &[M::Vpaddsb, M::Paddsb]),
    all(2, Binary(int::add_saturating::<16>), &[M::Vpaddsw, M::Paddsw]),
    all(1, Binary(int::add_unsigned_saturating::<8>), &[M::Vpaddusb, M::Paddusb]),
    all(2, Binary(int::add_unsigned_saturating::<16>), &[M::Vpaddusw, M::Paddusw]),
    all(1, Binary(int::sub_saturating::<8>), &[M::Vpsubsb, M::Psubsb]),
    all(2, Binary(int::sub_saturating::<16>), &[M::Vpsubsw, M::Psubsw]),
    all(1, Binary(int::sub_unsigned_saturating::<8>), &[M::Vpsubusb, M::Psubusb]),
    all(2, Binary(int::sub_unsigned_saturating::<16>), &[M::Vpsubusw, M::Psubusw]),
    all(1, Binary(int::average), &[M::Vpavgb, M::Pavgb]),
    all(2, Binary(int::average), &[M::Vpavgw, M::Pavgw]),

    all(2, Binary(int::multiply_low::<16>), &[M::Vpmullw, M::Pmullw]),
    all(4, Binary(int::multiply_low::<32>), &[M::Vpmulld, M::Pmulld]),
    all(8, Binary(int::multiply_low::<64>), &[M::Vpmullq]),
    all(2, Binary(int::multiply_high::<16>), &[M::Vpmulhw, M::Pmulhw]),
    all(2, Binary(int::multiply_high_unsigned::<16>), &[M::Vpmulhuw, M::Pmulhuw]),
    all(2, Binary(int::multiply_rounded), &[M::Vpmulhrsw, M::Pmulhrsw]),
    all(8, Binary(int::multiply_wide), &[M::Vpmuldq, M::Pmuldq]),
    all(8, Binary(int::multiply_wide_unsigned), &[M::Vpmuludq, M::Pmuludq]),
    all(4, Binary(int::multiply_add_words), &[M::Vpmaddwd, M::Pmaddwd]),
    all(2, Binary(int::multiply_add_bytes), &[M::Vpmaddubsw, M::Pmaddubsw]),
    all(4, Ternary(int::accumulate_bytes), &[M::Vpdpbusd]),
    all(4, Ternary(int::accumulate_bytes_saturating), &[M::Vpdpbusds]),
    all(4, Ternary(int::accumulate_words), &[M::Vpdpwssd]),
    all(4, Ternary(int::accumulate_words_saturating), &[M::Vpdpwssds]),
    all(8, Binary(int::absolute_differences), &[M::Vpsadbw, M::Psadbw]),

    all(1, Unary(int::absolute::<8>), &[M::Vpabsb, M::Pabsb]),
    all(2, Unary(int::absolute::<16>), &[M::Vpabsw, M::Pabsw]),
    all(4, Unary(int::absolute::<32>), &[M::Vpabsd, M::Pabsd]),
    all(8, Unary(int::absolute::<64>), &[M::Vpabsq]),
    all(1, Binary(int::sign::<8>), &[M::Vpsignb, M::Psignb]),
    all(2, Binary(int::sign::<16>), &[M::Vpsignw, M::Psignw]),
    all(4, Binary(int::sign::<32>), &[M::Vpsignd, M::Psignd]),
    all(1, Unary(int::population), &[M::Vpopcntb]),
    all(2, Unary(int::population), &[M::Vpopcntw]),
    all(4, Unary(int::population), &[M::Vpopcntd]),
    all(8, Unary(int::population), &[M::Vpopcntq]),
    all(4, Unary(int::leading_zeros::<32>), &[M::Vplzcntd]),
    all(8, Unary(int::leading_zeros::<64>), &[M::Vplzcntq]),

    all(1, Binary(int::min::<8>), &[M::Vpminsb, M::Pminsb]),
    all(2, Binary(int::min::<16>), &[M::Vpminsw, M::Pminsw]),
    all(4, Binary(int::min::<32>), &[M::Vpminsd, M::Pminsd]),
    all(8, Binary(int::min::<64>), &[M::Vpminsq]),
    all(1, Binary(int::max::<8>), &[M::Vpmaxsb, M::Pmaxsb]),
    all(2, Binary(int::max::<16>), &[M::Vpmaxsw, M::Pmaxsw]),
    all(4, Binary(int::max::<32>), &[M::Vpmaxsd, M::Pmaxsd]),
    all(8, Binary(int::max::<64>), &[M::Vpmaxsq]),
    all(1, Binary(int::min_unsigned), &[M::Vpminub, M::Pminub]),
    all(2, Binary(int::min_unsigned), &[M::Vpminuw, M::Pminuw]),
    all(4, Binary(int::min_unsigned), &[M::Vpminud, M::Pminud]),
    all(8, Binary(int::min_unsigned), &[M::Vpminuq]),
    all(1, Binary(int::max_unsigned), &[M::Vpmaxub, M::Pmaxub]),
    all(2, Binary(int::max_unsigned), &[M::Vpmaxuw, M::Pmaxuw]),
    all(4, Binary(int::max_unsigned), &[M::Vpmaxud, M::Pmaxud]),
    all(8, Binary(int::max_unsigned), &[M::Vpmaxuq]),

    all(2, Shift(int::shift_left::<16>), &[M::Vpsllw, M::Psllw]),
    all(4, Shift(int::shift_left::<32>), &[M::Vpslld, M::Pslld]),
    all(8, Shift(int::shift_left::<64>), &[M::Vpsllq, M::Psllq]),
    all(2, Shift(int::shift_right::<16>), &[M::Vpsrlw, M::Psrlw]),
    all(4, Shift(int::shift_right::<32>), &[M::Vpsrld, M::Psrld]),
    all(8, Shift(int::shift_right::<64>), &[M::Vpsrlq, M::Psrlq]),
    all(2, Shift(int::shift_right_signed::<16>), &[M::Vpsraw, M::Psraw]),
    all(4, Shift(int::shift_right_signed::<32>), &[M::Vpsrad, M::Psrad]),
    all(8, Shift(int::shift_right_signed::<64>), &[M::Vpsraq]),
    all(4, Shift(int::rotate_left::<32>), &[M::Vprold]),
    all(8, Shift(int::rotate_left::<64>), &[M::Vprolq]),
    all(4, Shift(int::rotate_right::<32>), &[M::Vprord]),
    all(8, Shift(int::rotate_right::<64>), &[M::Vprorq]),
    all(2, Binary(int::shift_left::<16>), &[M::Vpsllvw]),
    all(4, Binary(int::shift_left::<32>), &[M::Vpsllvd]),
    all(8, Binary(int::shift_left::<64>), &[M::Vpsllvq]),
    all(2, Binary(int::shift_right::<16>), &[M::Vpsrlvw]),
    all(4, Binary(int::shift_right::<32>), &[M::Vpsrlvd]),
    all(8, Binary(int::shift_right::<64>), &[M::Vpsrlvq]),
    all(2, Binary(int::shift_right_signed::<16>), &[M::Vpsravw]),
    all(4, Binary(int::shift_right_signed::<32>), &[M::Vpsravd]),
    all(8, Binary(int::shift_right_signed::<64>), &[M::Vpsravq]),
    all(4, Binary(int::rotate_left::<32>), &[M::Vprolvd]),
    all(8, Binary(int::rotate_left::<64>), &[M::Vprolvq]),
    all(4, Binary(int::rotate_right::<32>), &[M::Vprorvd]),
    all(8, Binary(int::rotate_right::<64>), &[M::Vprorvq]),

    all(2, Widen(1, extend::<8>), &[M::Vpmovsxbw, M::Pmovsxbw]),
    all(4, Widen(1, extend::<8>), &[M::Vpmovsxbd, M::Pmovsxbd]),
    all(8, Widen(1, extend::<8>), &[M::Vpmovsxbq, M::Pmovsxbq]),
    all(4, Widen(2, extend::<16>), &[M::Vpmovsxwd, M::Pmovsxwd]),
    all(8, Widen(2, extend::<16>), &[M::Vpmovsxwq, M::Pmovsxwq]),
    all(8, Widen(4, extend::<32>), &[M::Vpmovsxdq, M::Pmovsxdq]),
    all(2, Widen(1, same), &[M::Vpmovzxbw, M::Pmovzxbw]),
    all(4, Widen(1, same), &[M::Vpmovzxbd, M::Pmovzxbd]),
    all(8, Widen(1, same), &[M::Vpmovzxbq, M::Pmovzxbq]),
    all(4, Widen(2, same), &[M::Vpmovzxwd, M::Pmovzxwd]),
    all(8, Widen(2, same), &[M::Vpmovzxwq, M::Pmovzxwq]),
    all(8, Widen(4, same), &[M::Vpmovzxdq, M::Pmovzxdq]),
    all(1, Narrow(2, same), &[M::Vpmovwb]),
    all(1, Narrow(4, same), &[M::Vpmovdb]),
    all(2, Narrow(4, same), &[M::Vpmovdw]),
    all(1, Narrow(2, narrow::<16, 8>), &[M::Vpmovswb]),
    all(1, Narrow(4, narrow::<32, 8>), &[M::Vpmovsdb]),
    all(2, Narrow(4, narrow::<32, 16>), &[M::Vpmovsdw]),
    all(1, Narrow(2, narrow_unsigned::<8>), &[M::Vpmovuswb]),
    all(1, Narrow(4, narrow_unsigned::<8>), &[M::Vpmovusdb]),
    all(2, Narrow(4, narrow_unsigned::<16>), &[M::Vpmovusdw]),

    all(4, Binary(float::add), &[M::Vaddps, M::Addps]),
    all(4, Binary(float::sub), &[M::Vsubps, M::Subps]),
    all(4, Binary(float::mul), &[M::Vmulps, M::Mulps]),
    all(4, Binary(float::div), &[M::Vdivps, M::Divps]),
    all(4, Binary(float::min), &[M::Vminps, M::Minps]),
    all(4, Binary(float::max), &[M::Vmaxps, M::Maxps]),
    all(4, Unary(float::sqrt), &[M::Vsqrtps, M::Sqrtps]),
    all(4, Ternary(float::fused_132::<false, false>), &[M::Vfmadd132ps]),
    all(4, Ternary(float::fused_213::<false, false>), &[M::Vfmadd213ps]),
    all(4, Ternary(float::fused_231::<false, false>), &[M::Vfmadd231ps]),
    all(4, Ternary(float::fused_132::<false, true>), &[M::Vfmsub132ps]),
    all(4, Ternary(float::fused_213::<false, true>), &[M::Vfmsub213ps]),
    all(4, Ternary(float::fused_231::<false, true>), &[M::Vfmsub231ps]),
    all(4, Ternary(float::fused_132::<true, false>), &[M::Vfnmadd132ps]),
    all(4, Ternary(float::fused_213::<true, false>), &[M::Vfnmadd213ps]),
    all(4, Ternary(float::fused_231::<true, false>), &[M::Vfnmadd231ps]),
    all(4, Unary(float::from_i32), &[M::Vcvtdq2ps, M::Cvtdq2ps]),
    all(4, Unary(float::to_i32), &[M::Vcvtps2dq, M::Cvtps2dq]),
    all(4, Unary(float::to_i32_truncating), &[M::Vcvttps2dq, M::Cvttps2dq]),
    all(4, UnaryImmediate(float::round), &[M::Vroundps, M::Roundps]),
    all(4, UnaryImmediate(float::round_scaled), &[M::Vrndscaleps]),
    all(4, Widen(2, float::from_f16), &[M::Vcvtph2ps]),

    low(Binary(float::add), &[M::Vaddss, M::Addss]),
    low(Binary(float::sub), &[M::Vsubss, M::Subss]),
    low(Binary(float::mul), &[M::Vmulss, M::Mulss]),
    low(Binary(float::div), &[M::Vdivss, M::Divss]),
    low(Binary(float::min), &[M::Vminss, M::Minss]),
    low(Binary(float::max), &[M::Vmaxss, M::Maxss]),
    low(Unary(float::sqrt), &[M::Vsqrtss, M::Sqrtss]),
    low(UnaryImmediate(float::round), &[M::Vroundss, M::Roundss]),
    low(Ternary(float::fused_132::<false, false>), &[M::Vfmadd132ss]),
    low(Ternary(float::fused_213::<false, false>), &[M::Vfmadd213ss]),
    low(Ternary(float::fused_231::<false, false>), &[M::Vfmadd231ss]),
    low(Ternary(float::fused_132::<false, true>), &[M::Vfmsub132ss]),
    low(Ternary(float::fused_213::<false, true>), &[M::Vfmsub213ss]),
    low(Ternary(float::fused_231::<false, true>), &[M::Vfmsub231ss]),
    low(Ternary(float::fused_132::<true, false>), &[M::Vfnmadd132ss]),
    low(Ternary(float::fused_213::<true, false>), &[M::Vfnmadd213ss]),
    low(Ternary(float::fused_231::<true, false>), &[M::Vfnmadd231ss]),
];
