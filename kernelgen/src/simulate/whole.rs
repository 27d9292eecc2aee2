//! Instructions that move data between lanes.

use super::arithmetic::{narrow, narrow_to_unsigned};
use super::bits::Bytes;
use super::core::Core;
use super::fault::FaultKind;
use super::operand::is_legacy;
use super::shuffle;
use iced_x86::{Instruction, Mnemonic, Mnemonic as M, OpKind};

/// What the function of an instruction is given.
pub(super) struct Inputs {
    /// The destination before.
    pub(super) old: Bytes,
    /// The sources, in the order of the operands; a source that the form lacks is zero.
    pub(super) a: Bytes,
    pub(super) b: Bytes,
    pub(super) c: Bytes,
    /// How many sources there are.
    pub(super) sources: usize,
    pub(super) immediate: usize,
    /// Bytes of the destination.
    pub(super) width: usize,
}

/// Instructions that differ in encoding and width only.
pub(super) struct Row {
    pub(super) names: &'static [Mnemonic],
    /// Bytes of a lane under a mask.
    size: usize,
    /// Whether a legacy form reads its destination as the first source.
    binary: bool,
    function: fn(&Inputs) -> Bytes,
}

const fn one(size: usize, function: fn(&Inputs) -> Bytes, names: &'static [Mnemonic]) -> Row {
    Row { names, size, binary: false, function }
}

const fn two(size: usize, function: fn(&Inputs) -> Bytes, names: &'static [Mnemonic]) -> Row {
    Row { names, size, binary: true, function }
}

impl Row {
    pub(super) fn execute(&self, core: &mut Core, instruction: &Instruction) -> Result<(), FaultKind> {
        let first = u32::from(!(self.binary && is_legacy(instruction)));
        let vector =
            |operand: &u32| matches!(instruction.op_kind(*operand), OpKind::Register | OpKind::Memory);
        let operands: Vec<u32> = (first..instruction.op_count()).filter(vector).collect();
        let source = |index: usize| {
            operands.get(index).map_or(Ok([0; 64]), |&operand| core.source(instruction, operand))
        };
        let destination = instruction.op0_register();
        let inputs = Inputs {
            old: core.vector(destination)?,
            a: source(0)?,
            b: source(1)?,
            c: source(2)?,
            sources: operands.len(),
            immediate: instruction.immediate8().into(),
            width: destination.size(),
        };
        core.set_vector(instruction, self.size, &(self.function)(&inputs))
    }
}

/// One row an operation, VEX, EVEX and legacy names together.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    two(1, shuffle::bytes, &[M::Vpshufb, M::Pshufb]),
    two(1, shuffle::multishift, &[M::Vpmultishiftqb]),
    two(1, shuffle::affine, &[M::Vgf2p8affineqb, M::Gf2p8affineqb]),
    one(4, shuffle::dwords, &[M::Vpshufd, M::Pshufd]),
    one(2, shuffle::low_words, &[M::Vpshuflw, M::Pshuflw]),
    one(2, shuffle::high_words, &[M::Vpshufhw, M::Pshufhw]),
    two(4, shuffle::floats, &[M::Vshufps, M::Shufps]),
    two(8, shuffle::doubles, &[M::Vshufpd, M::Shufpd]),
    one(4, shuffle::permute_in_blocks, &[M::Vpermilps]),
    one(4, shuffle::duplicate_even, &[M::Vmovsldup, M::Movsldup]),
    one(4, shuffle::duplicate_odd, &[M::Vmovshdup, M::Movshdup]),
    one(8, shuffle::duplicate_quadwords, &[M::Vmovddup, M::Movddup]),

    two(1, shuffle::unpack::<1, false>, &[M::Vpunpcklbw, M::Punpcklbw]),
    two(2, shuffle::unpack::<2, false>, &[M::Vpunpcklwd, M::Punpcklwd]),
    two(4, shuffle::unpack::<4, false>, &[M::Vpunpckldq, M::Punpckldq, M::Vunpcklps, M::Unpcklps]),
    two(8, shuffle::unpack::<8, false>, &[M::Vpunpcklqdq, M::Punpcklqdq, M::Vunpcklpd, M::Unpcklpd]),
    two(1, shuffle::unpack::<1, true>, &[M::Vpunpckhbw, M::Punpckhbw]),
    two(2, shuffle::unpack::<2, true>, &[M::Vpunpckhwd, M::Punpckhwd]),
    two(4, shuffle::unpack::<4, true>, &[M::Vpunpckhdq, M::Punpckhdq, M::Vunpckhps, M::Unpckhps]),
    two(8, shuffle::unpack::<8, true>, &[M::Vpunpckhqdq, M::Punpckhqdq, M::Vunpckhpd, M::Unpckhpd]),
    two(1, |inputs| shuffle::pack(inputs, 2, narrow::<16, 8>), &[M::Vpacksswb, M::Packsswb]),
    two(1, |inputs| shuffle::pack(inputs, 2, narrow_to_unsigned::<16, 8>), &[M::Vpackuswb, M::Packuswb]),
    two(2, |inputs| shuffle::pack(inputs, 4, narrow::<32, 16>), &[M::Vpackssdw, M::Packssdw]),
    two(2, |inputs| shuffle::pack(inputs, 4, narrow_to_unsigned::<32, 16>), &[M::Vpackusdw, M::Packusdw]),

    two(1, shuffle::shift_bytes_left, &[M::Vpslldq, M::Pslldq]),
    two(1, shuffle::shift_bytes_right, &[M::Vpsrldq, M::Psrldq]),
    two(1, shuffle::align_bytes, &[M::Vpalignr, M::Palignr]),
    two(4, shuffle::align_lanes::<4>, &[M::Valignd]),
    two(8, shuffle::align_lanes::<8>, &[M::Valignq]),

    two(1, shuffle::permute::<1>, &[M::Vpermb]),
    two(2, shuffle::permute::<2>, &[M::Vpermw]),
    two(4, shuffle::permute::<4>, &[M::Vpermd, M::Vpermps]),
    two(8, shuffle::permute_quadwords, &[M::Vpermq, M::Vpermpd]),
    two(1, shuffle::permute_two_by_destination::<1>, &[M::Vpermi2b]),
    two(2, shuffle::permute_two_by_destination::<2>, &[M::Vpermi2w]),
    two(4, shuffle::permute_two_by_destination::<4>, &[M::Vpermi2d, M::Vpermi2ps]),
    two(8, shuffle::permute_two_by_destination::<8>, &[M::Vpermi2q]),
    two(1, shuffle::permute_two_by_source::<1>, &[M::Vpermt2b]),
    two(2, shuffle::permute_two_by_source::<2>, &[M::Vpermt2w]),
    two(4, shuffle::permute_two_by_source::<4>, &[M::Vpermt2d, M::Vpermt2ps]),
    two(8, shuffle::permute_two_by_source::<8>, &[M::Vpermt2q]),
    two(4, shuffle::permute_halves, &[M::Vperm2i128, M::Vperm2f128]),
    two(4, shuffle::shuffle_blocks, &[M::Vshufi32x4, M::Vshuff32x4]),
    two(8, shuffle::shuffle_blocks, &[M::Vshufi64x2, M::Vshuff64x2]),
    two(4, shuffle::insert::<16>, &[M::Vinserti128, M::Vinsertf128, M::Vinserti32x4, M::Vinsertf32x4]),
    two(8, shuffle::insert::<16>, &[M::Vinserti64x2, M::Vinsertf64x2]),
    two(4, shuffle::insert::<32>, &[M::Vinserti32x8, M::Vinsertf32x8]),
    two(8, shuffle::insert::<32>, &[M::Vinserti64x4, M::Vinsertf64x4]),
    two(8, shuffle::high_to_low, &[M::Vmovhlps, M::Movhlps]),
    two(8, shuffle::low_to_high, &[M::Vmovlhps, M::Movlhps]),

    two(2, shuffle::blend::<2>, &[M::Vpblendw, M::Pblendw]),
    two(4, shuffle::blend::<4>, &[M::Vpblendd, M::Vblendps, M::Blendps]),
    two(1, shuffle::blend_by_sign::<1>, &[M::Vpblendvb]),
    two(4, shuffle::blend_by_sign::<4>, &[M::Vblendvps]),
    two(2, shuffle::add_neighbours::<2>, &[M::Vphaddw, M::Phaddw]),
    two(4, shuffle::add_neighbours::<4>, &[M::Vphaddd, M::Phaddd]),
    two(4, shuffle::add_float_neighbours, &[M::Vhaddps, M::Haddps]),
];
