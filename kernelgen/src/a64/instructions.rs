//! The instructions that are used, each with all its registers zero: they are or-ed into their fields. Encodings come from
//! Arm's machine-readable architecture, by way of `aarchmrs-instructions`.

use aarchmrs_instructions::A64::simd_dp::{
    asimddiff, asimdext, asimdimm, asimdins, asimdmisc, asimdperm, asimdsame, asimdsame2, asimdshf, asimdtbl,
};
use aarchmrs_types::BitValue;

/// A register to be filled in.
pub(super) const R: BitValue<5> = BitValue::new_u32(0);
pub(super) const NO: BitValue<1> = BitValue::new_u32(0);
pub(super) const YES: BitValue<1> = BitValue::new_u32(1);
/// Lanes of 8, 16, 32 and 64 bits.
const B: BitValue<2> = BitValue::new_u32(0);
const H: BitValue<2> = BitValue::new_u32(1);
const S: BitValue<2> = BitValue::new_u32(2);
const D: BitValue<2> = BitValue::new_u32(3);

/// `vd, vn, vm`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Three(pub(super) u32);

/// `vd, vn`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Two(pub(super) u32);

/// `vd, vn, #shift`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByImmediate {
    code: u32,
    /// Bits of a lane.
    lane: u32,
    left: bool,
}

impl ByImmediate {
    /// The instruction for a shift by `bits`, where there is one.
    pub(super) fn by(self, bits: u8) -> Option<Two> {
        let bits = u32::from(bits);
        // immh:immb counts left shifts from a lane's width upwards, right shifts from twice the width downwards.
        match (self.left, bits) {
            (true, bits) if bits < self.lane => Some(self.lane + bits),
            (false, bits) if (1..=self.lane).contains(&bits) => Some(2 * self.lane - bits),
            _ => None,
        }
        .map(|immediate| Two(self.code | immediate << 16))
    }
}

macro_rules! three {
    ($($name:ident = $group:ident :: $code:ident ($($fixed:expr),*);)*) => {
        $(pub(super) const $name: Three = Three($group::$code::$code($($fixed,)* R, R, R).unpack());)*
    };
}

macro_rules! two {
    ($($name:ident = $group:ident :: $code:ident ($($fixed:expr),*);)*) => {
        $(pub(super) const $name: Two = Two($group::$code::$code($($fixed,)* R, R).unpack());)*
    };
}

three! {
    AND = asimdsame::AND_asimdsame_only(YES);
    BIC = asimdsame::BIC_asimdsame_only(YES);
    ORR = asimdsame::ORR_asimdsame_only(YES);
    EOR = asimdsame::EOR_asimdsame_only(YES);
    BSL = asimdsame::BSL_asimdsame_only(YES);
    ADD_B = asimdsame::ADD_asimdsame_only(YES, B);
    ADD_H = asimdsame::ADD_asimdsame_only(YES, H);
    ADD_S = asimdsame::ADD_asimdsame_only(YES, S);
    SUB_B = asimdsame::SUB_asimdsame_only(YES, B);
    SUB_H = asimdsame::SUB_asimdsame_only(YES, H);
    SUB_S = asimdsame::SUB_asimdsame_only(YES, S);
    UQSUB_B = asimdsame::UQSUB_asimdsame_only(YES, B);
    URHADD_B = asimdsame::URHADD_asimdsame_only(YES, B);
    SMAX_S = asimdsame::SMAX_asimdsame_only(YES, S);
    ADDP_B = asimdsame::ADDP_asimdsame_only(YES, B);
    ADDP_H = asimdsame::ADDP_asimdsame_only(YES, H);
    ADDP_S = asimdsame::ADDP_asimdsame_only(YES, S);
    MUL_H = asimdsame::MUL_asimdsame_only(YES, H);
    FADD = asimdsame::FADD_asimdsame_only(YES, NO);
    FSUB = asimdsame::FSUB_asimdsame_only(YES, NO);
    FMUL = asimdsame::FMUL_asimdsame_only(YES, NO);
    FDIV = asimdsame::FDIV_asimdsame_only(YES, NO);
    FMLA = asimdsame::FMLA_asimdsame_only(YES, NO);
    FMLS = asimdsame::FMLS_asimdsame_only(YES, NO);
    FCMGT = asimdsame::FCMGT_asimdsame_only(YES, NO);
    FCMGE = asimdsame::FCMGE_asimdsame_only(YES, NO);
    TBL = asimdtbl::TBL_asimdtbl_L1_1(YES);
    ZIP1_B = asimdperm::ZIP1_asimdperm_only(YES, B);
    ZIP2_B = asimdperm::ZIP2_asimdperm_only(YES, B);
    UZP1_B = asimdperm::UZP1_asimdperm_only(YES, B);
    ZIP1_S = asimdperm::ZIP1_asimdperm_only(YES, S);
    ZIP2_S = asimdperm::ZIP2_asimdperm_only(YES, S);
    ZIP1_D = asimdperm::ZIP1_asimdperm_only(YES, D);
    ZIP2_D = asimdperm::ZIP2_asimdperm_only(YES, D);
    UZP1_S = asimdperm::UZP1_asimdperm_only(YES, S);
    UZP2_S = asimdperm::UZP2_asimdperm_only(YES, S);
    // Products of the low and of the high halves, twice as wide.
    SMULL_B = asimddiff::SMULL_asimddiff_L(NO, B);
    SMULL2_B = asimddiff::SMULL_asimddiff_L(YES, B);
    SMULL_H = asimddiff::SMULL_asimddiff_L(NO, H);
    SMULL2_H = asimddiff::SMULL_asimddiff_L(YES, H);
    SDOT = asimdsame2::SDOT_asimdsame2_D(YES, S);
    USDOT = asimdsame2::USDOT_asimdsame2_D(YES);
    // Two rows of eight unsigned bytes with two of eight signed ones.
    USMMLA = asimdsame2::USMMLA_asimdsame2_G();
}

two! {
    CNT = asimdmisc::CNT_asimdmisc_R(YES, B);
    // Bytes below zero: all bits, else none.
    CMLT_B = asimdmisc::CMLT_asimdmisc_Z(YES, B);
    // 32-bit lanes += pairs of 16-bit lanes.
    SADALP_H = asimdmisc::SADALP_asimdmisc_P(YES, H);
    XTN_H = asimdmisc::XTN_asimdmisc_N(NO, B);
    XTN_S = asimdmisc::XTN_asimdmisc_N(NO, H);
    SCVTF = asimdmisc::SCVTF_asimdmisc_R(YES, NO);
    // To nearest, ties to even.
    FCVTNS = asimdmisc::FCVTNS_asimdmisc_R(YES, NO);
    // Lane 0 of vn, or wn, in every 32-bit lane.
    DUP_LANE = asimdins::DUP_asimdins_DV_v(YES, FIRST_WORD);
    DUP_WORD = asimdins::DUP_asimdins_DR_r(YES, FIRST_WORD);
}

/// `imm5` of DUP for 32-bit lane 0.
const FIRST_WORD: BitValue<5> = BitValue::new_u32(0b00100);
const NONE3: BitValue<3> = BitValue::new_u32(0);
const NONE4: BitValue<4> = BitValue::new_u32(0);

/// Widening without a shift: `sxtl` and `uxtl` of the low and high eight bytes.
pub(super) const SXTL: Two =
    Two(asimdshf::SSHLL_asimdshf_L::SSHLL_asimdshf_L(NO, BYTES, NONE3, R, R).unpack());
pub(super) const SXTL2: Two =
    Two(asimdshf::SSHLL_asimdshf_L::SSHLL_asimdshf_L(YES, BYTES, NONE3, R, R).unpack());
pub(super) const UXTL: Two =
    Two(asimdshf::USHLL_asimdshf_L::USHLL_asimdshf_L(NO, BYTES, NONE3, R, R).unpack());
pub(super) const UXTL2: Two =
    Two(asimdshf::USHLL_asimdshf_L::USHLL_asimdshf_L(YES, BYTES, NONE3, R, R).unpack());
/// `immh` of a shift of bytes by nothing.
const BYTES: BitValue<4> = BitValue::new_u32(1);

pub(super) const USHR_H: ByImmediate = ByImmediate {
    code: asimdshf::USHR_asimdshf_R::USHR_asimdshf_R(YES, NONE4, NONE3, R, R).unpack(),
    lane: 16,
    left: false,
};
pub(super) const SSHR_S: ByImmediate = ByImmediate {
    code: asimdshf::SSHR_asimdshf_R::SSHR_asimdshf_R(YES, NONE4, NONE3, R, R).unpack(),
    lane: 32,
    left: false,
};
pub(super) const SHL_S: ByImmediate = ByImmediate {
    code: asimdshf::SHL_asimdshf_R::SHL_asimdshf_R(YES, NONE4, NONE3, R, R).unpack(),
    lane: 32,
    left: true,
};

/// Bytes from number `from` on of `vn` followed by `vm`.
pub(super) fn ext(from: usize) -> Three {
    let from = BitValue::new_u32(from as u32 & 0xF);
    Three(asimdext::EXT_asimdext_only::EXT_asimdext_only(YES, R, from, R, R).unpack())
}

/// Every byte of a register, to be filled in, = `byte`.
pub(super) fn movi(byte: u8) -> u32 {
    let bit = |n: u32| BitValue::new_u32(u32::from(byte) >> n & 1);
    let [a, b, c, d, e, f, g, h] = [7, 6, 5, 4, 3, 2, 1, 0].map(bit);
    asimdimm::MOVI_asimdimm_N_b::MOVI_asimdimm_N_b(YES, a, b, c, d, e, f, g, h, R).unpack()
}
