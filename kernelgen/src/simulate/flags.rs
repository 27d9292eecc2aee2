//! The flags that compares set and branches read.

use super::bits::low_bits;
use iced_x86::ConditionCode;

/// CF, PF, ZF, SF and OF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // as the processor has them
pub(super) struct Flags {
    pub(super) carry: bool,
    pub(super) parity: bool,
    pub(super) zero: bool,
    pub(super) sign: bool,
    pub(super) overflow: bool,
}

impl Flags {
    /// Flags of a result of `size` bytes that neither carried nor overflowed.
    pub(super) fn of(result: u64, size: usize) -> Self {
        Self {
            carry: false,
            overflow: false,
            zero: result & low_bits(size * 8) == 0,
            sign: result >> (size * 8 - 1) & 1 == 1,
            parity: (result as u8).count_ones().is_multiple_of(2),
        }
    }

    /// `a + b + carry` in `size` bytes.
    pub(super) fn add(a: u64, b: u64, carry: bool, size: usize) -> (u64, Self) {
        let mask = u128::from(low_bits(size * 8));
        let wide = (u128::from(a) & mask) + (u128::from(b) & mask) + u128::from(carry);
        let result = (wide & mask) as u64;
        let overflow = ((a ^ result) & (b ^ result)) >> (size * 8 - 1) & 1 == 1;
        (result, Self { carry: wide > mask, overflow, ..Self::of(result, size) })
    }

    /// `a - b - borrow` in `size` bytes.
    pub(super) fn sub(a: u64, b: u64, borrow: bool, size: usize) -> (u64, Self) {
        let (result, flags) = Self::add(a, !b, !borrow, size);
        (result, Self { carry: !flags.carry, ..flags })
    }

    /// Whether `condition` holds.
    pub(super) fn holds(self, condition: ConditionCode) -> bool {
        let less = self.sign != self.overflow;
        match condition {
            ConditionCode::None => true,
            ConditionCode::o => self.overflow,
            ConditionCode::no => !self.overflow,
            ConditionCode::b => self.carry,
            ConditionCode::ae => !self.carry,
            ConditionCode::e => self.zero,
            ConditionCode::ne => !self.zero,
            ConditionCode::be => self.carry || self.zero,
            ConditionCode::a => !self.carry && !self.zero,
            ConditionCode::s => self.sign,
            ConditionCode::ns => !self.sign,
            ConditionCode::p => self.parity,
            ConditionCode::np => !self.parity,
            ConditionCode::l => less,
            ConditionCode::ge => !less,
            ConditionCode::le => less || self.zero,
            ConditionCode::g => !less && !self.zero,
        }
    }
}
