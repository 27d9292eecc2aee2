//! The planes of a packed byte, and how the rows' dot products follow from theirs.

use crate::vocabulary::Accumulation;

/// Fields of a byte, that is, groups of L rows in a panel.
pub(super) const FIELDS: usize = 4;

/// A byte-wise view of the packed bytes.
#[derive(Debug)]
pub(super) struct Plane {
    /// Bits that 16-bit lanes are shifted right before the mask.
    pub(super) shift: u8,
    /// Bits of each byte that stay; all of them means no operation.
    pub(super) mask: u8,
}

/// How a field's dot product follows from the planes' sums.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) plane: usize,
    pub(super) minus: Option<usize>,
    pub(super) shift: u8,
}

/// A variant of the family.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) planes: [Plane; FIELDS],
    pub(super) fields: [Recovery; FIELDS],
    /// Largest byte of a plane, which bounds sixteen-bit sums and k.
    pub(super) largest: usize,
}

const fn plane(shift: u8, mask: u8) -> Plane {
    Plane { shift, mask }
}

const fn field(plane: usize, minus: Option<usize>, shift: u8) -> Recovery {
    Recovery { plane, minus, shift }
}

pub(super) static PLANS: [Plan; 2] = [
    Plan {
        name: "planes",
        planes: [plane(0, 0xFF), plane(0, 0x3F), plane(0, 0x0F), plane(0, 0x03)],
        fields: [field(3, None, 0), field(2, Some(3), 2), field(1, Some(2), 4), field(0, Some(1), 6)],
        largest: 0b1010_1010,
    },
    Plan {
        name: "masked",
        planes: [plane(0, 0x03), plane(0, 0x0C), plane(4, 0x03), plane(4, 0x0C)],
        fields: [field(0, None, 0), field(1, None, 2), field(2, None, 0), field(3, None, 2)],
        largest: 0b1000,
    },
];

impl Plan {
    pub(super) fn by_name(name: &str) -> Option<&'static Self> {
        PLANS.iter().find(|plan| plan.name == name)
    }

    /// Whether sums over `k` columns can be recovered: the widest difference must fit 31 bits.
    pub(super) fn holds(&self, k: usize) -> bool {
        self.largest.next_power_of_two() * 128 * k < 1 << 31
    }

    /// Steps after which sixteen-bit sums must be widened: each step adds two products to a lane.
    pub(super) fn steps_in_16_bits(&self) -> usize {
        i16::MAX as usize / (2 * 128 * self.largest)
    }

    pub(super) fn suits(&self, accumulation: Accumulation) -> bool {
        match accumulation {
            Accumulation::Direct => true,
            Accumulation::DirectSmall => self.largest < 128,
            Accumulation::Pairs => self.steps_in_16_bits() > 0,
        }
    }
}
