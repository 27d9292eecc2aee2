//! Loads and stores: each in the form that its offset fits.

use aarchmrs_instructions::A64::ldst::{
    asisdlso, ldst_pos, ldst_regoff, ldst_unscaled, ldstpair_off, loadlit,
};
use aarchmrs_types::BitValue;

use super::general::{self as x, X};
use super::instructions::{NO, R, YES};

const UNSCALED: BitValue<9> = BitValue::new_u32(0);
const SCALED: BitValue<12> = BitValue::new_u32(0);
/// A 64-bit index register as it is.
const INDEX: BitValue<3> = BitValue::new_u32(0b011);

/// One kind of access in its three forms, with registers and offsets zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    /// What scaled offsets are multiples of.
    bytes: i64,
    scaled: u32,
    unscaled: u32,
    indexed: u32,
}

/// How an access reaches its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By an offset in the instruction, which is given with register fields zero.
    Immediate(u32),
    /// By an offset in an index register.
    Indexed(u32),
}

macro_rules! accesses {
    ($($name:ident = $bytes:literal $scaled:ident $unscaled:ident $indexed:ident;)*) => {
        $(pub(crate) const $name: Access = Access {
            bytes: $bytes,
            scaled: ldst_pos::$scaled::$scaled(SCALED, R, R).unpack(),
            unscaled: ldst_unscaled::$unscaled::$unscaled(UNSCALED, R, R).unpack(),
            indexed: ldst_regoff::$indexed::$indexed(R, INDEX, NO, R, R).unpack(),
        };)*
    };
}

accesses! {
    LOAD_Q = 16 LDR_Q_ldst_pos LDUR_Q_ldst_unscaled LDR_Q_ldst_regoff;
    LOAD_D = 8 LDR_D_ldst_pos LDUR_D_ldst_unscaled LDR_D_ldst_regoff;
    LOAD_S = 4 LDR_S_ldst_pos LDUR_S_ldst_unscaled LDR_S_ldst_regoff;
    LOAD_X = 8 LDR_64_ldst_pos LDUR_64_ldst_unscaled LDR_64_ldst_regoff;
    STORE_Q = 16 STR_Q_ldst_pos STUR_Q_ldst_unscaled STR_Q_ldst_regoff;
    STORE_D = 8 STR_D_ldst_pos STUR_D_ldst_unscaled STR_D_ldst_regoff;
    STORE_S = 4 STR_S_ldst_pos STUR_S_ldst_unscaled STR_S_ldst_regoff;
    STORE_H = 2 STR_H_ldst_pos STUR_H_ldst_unscaled STR_H_ldst_regoff;
    STORE_X = 8 STR_64_ldst_pos STUR_64_ldst_unscaled STR_64_ldst_regoff;
}

/// The line's address, into the first-level cache, to be kept: PLDL1KEEP is operation 0, where a register would be.
pub(crate) const PREFETCH: Access = Access {
    bytes: 8,
    scaled: ldst_pos::PRFM_P_ldst_pos::PRFM_P_ldst_pos(SCALED, R, R).unpack(),
    unscaled: ldst_unscaled::PRFUM_P_ldst_unscaled::PRFUM_P_ldst_unscaled(UNSCALED, R, R).unpack(),
    indexed: ldst_regoff::PRFM_P_ldst_regoff::PRFM_P_ldst_regoff(R, NO, YES, NO, R, R).unpack(),
};

/// A whole vector from a distance that is filled in later: instructions, 19 bits from bit 5.
pub(crate) const LOAD_CONSTANT: u32 = loadlit::LDR_Q_loadlit::LDR_Q_loadlit(BitValue::new_u32(0), R).unpack();

/// 32-bit lane 2, from or to where a general register points.
pub(crate) const LOAD_LANE_2: u32 = asisdlso::LD1_asisdlso_S1_1s::LD1_asisdlso_S1_1s(YES, NO, R, R).unpack();
pub(crate) const STORE_LANE_2: u32 = asisdlso::ST1_asisdlso_S1_1s::ST1_asisdlso_S1_1s(YES, NO, R, R).unpack();

const STORE_PAIR: u32 = ldstpair_off::STP_D_ldstpair_off::STP_D_ldstpair_off(NO_PAIR, R, R, R).unpack();
const LOAD_PAIR: u32 = ldstpair_off::LDP_D_ldstpair_off::LDP_D_ldstpair_off(NO_PAIR, R, R, R).unpack();
const NO_PAIR: BitValue<7> = BitValue::new_u32(0);
/// Bytes of the lower halves of v8 to v15.
const KEPT: u64 = 64;

/// The lower halves of v8 to v15, two an instruction, to or from the top of the stack.
fn kept(word: u32) -> impl Iterator<Item = u32> {
    (0..4).map(move |pair| {
        let (first, offset) = (8 + 2 * pair, 2 * pair);
        word | offset << 15 | (first + 1) << 10 | X::STACK.0 << 5 | first
    })
}

/// Puts what the caller wants back of v8 to v15 on the stack.
pub(crate) fn keep() -> impl Iterator<Item = u32> {
    std::iter::once(x::subtract(X::STACK, X::STACK, KEPT)).chain(kept(STORE_PAIR))
}

/// Takes it from there.
pub(crate) fn give_back() -> impl Iterator<Item = u32> {
    kept(LOAD_PAIR).chain(std::iter::once(x::add(X::STACK, X::STACK, KEPT)))
}

impl Access {
    /// The form for `offset`.
    pub(crate) fn at(self, offset: i64) -> Form {
        let units = offset / self.bytes;
        if offset % self.bytes == 0 && (0..1 << 12).contains(&units) {
            Form::Immediate(self.scaled | (units as u32) << 10)
        } else if (-256..256).contains(&offset) {
            Form::Immediate(self.unscaled | (offset as u32 & 0x1FF) << 12)
        } else {
            Form::Indexed(self.indexed)
        }
    }
}
