//! Packings as data: the planes of a packed byte, and how the rows' dot products follow from theirs.

use crate::vocabulary::Accumulation;

/// How a plane's bytes are got from the packed ones.
#[derive(Debug)]
pub(super) enum View {
    /// The bytes themselves.
    Whole,
    /// 16-bit lanes shifted right, then some bits of each byte.
    Bits { shift: u8, mask: u8 },
    /// The highest base-3 digit of a byte `ceil(256 n / 243)`: three times it, shifted right by eight.
    Digit,
}

/// A byte-wise view of the packed bytes.
#[derive(Debug)]
pub(super) struct Plane {
    /// Whether the bytes are first multiplied by three, modulo 256, for this plane and those after it.
    pub(super) triple: bool,
    pub(super) view: View,
}

/// How a field's dot product follows from the planes' sums: `(times * sum[plane] - sum[minus]) >> shift`.
#[derive(Debug)]
pub(super) struct Recovery {
    /// 1 or 3.
    pub(super) times: u8,
    pub(super) plane: usize,
    pub(super) minus: Option<usize>,
    pub(super) shift: u8,
}

/// A way to compute with a packing.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) planes: &'static [Plane],
    pub(super) fields: &'static [Recovery],
    /// Largest byte of a plane, which bounds sums in 16 bits. Bytes of signed planes are not meant.
    pub(super) largest: usize,
    /// Whether the whole bytes among its planes are signed.
    pub(super) signed: bool,
    /// Largest factor of one activation before the shift of a recovery, which bounds sums in 32 bits.
    pub(super) reach: usize,
}

/// A packed layout.
#[derive(Debug)]
pub(super) struct Packing {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) fields: usize,
    /// What each field's code (trit plus one) counts in the sum of all codes that a byte is.
    pub(super) weights: &'static [u8],
    /// Makes of such a sum what the planes read, where that is not the sum itself.
    pub(super) finish: Option<fn(u8) -> u8>,
    /// How many fields, from the first on, have dot products of their codes; those of the others are of the trits.
    pub(super) biased: usize,
    pub(super) plans: &'static [Plan],
}

const fn bits(shift: u8, mask: u8) -> Plane {
    Plane { triple: false, view: View::Bits { shift, mask } }
}

const fn whole(triple: bool) -> Plane {
    Plane { triple, view: View::Whole }
}

const fn digit(triple: bool) -> Plane {
    Plane { triple, view: View::Digit }
}

const fn field(plane: usize, minus: Option<usize>, shift: u8) -> Recovery {
    Recovery { times: 1, plane, minus, shift }
}

/// A base-3 digit as the difference of two planes.
const fn trit(plane: usize) -> Recovery {
    Recovery { times: 3, plane, minus: Some(plane + 1), shift: 8 }
}

/// Two bits a weight: codes of four rows at bits 0, 2, 4 and 6.
///
/// - `planes` (difference planes): the whole byte, then its low 6, 4 and 2 bits; neighbouring sums differ by exactly one
///   field, times a power of four. No shift at all.
/// - `masked` isolates each field, two of them by one shift. Values stay small, so sixteen-bit sums can hold them.
pub(super) static I2S: Packing = Packing {
    name: "i2s",
    summary: "2 bits a weight, byte planes",
    fields: 4,
    weights: &[1, 4, 16, 64],
    finish: None,
    biased: 4,
    plans: &[
        Plan {
            name: "planes",
            planes: &[whole(false), bits(0, 0x3F), bits(0, 0x0F), bits(0, 0x03)],
            fields: &[field(3, None, 0), field(2, Some(3), 2), field(1, Some(2), 4), field(0, Some(1), 6)],
            largest: 0b1010_1010,
            signed: false,
            reach: 2 << 6,
        },
        Plan {
            name: "masked",
            planes: &[bits(0, 0x03), bits(0, 0x0C), bits(4, 0x03), bits(4, 0x0C)],
            fields: &[field(0, None, 0), field(1, None, 2), field(2, None, 0), field(3, None, 2)],
            largest: 0b1000,
            signed: false,
            reach: 2 << 2,
        },
    ],
};

/// 1.6 bits a weight: codes of five rows as the base-3 number n, stored as `q = ceil(256 n / 243)`, as TQ1_0 of
/// llama.cpp stores five columns. Tripling q modulo 256 drops its highest digit: `3 q = 256 digit + next q`.
///
/// - `planes`: dot products S(i) with q and its five triples; digit i's is `(3 S(i) - S(i + 1)) >> 8`.
/// - `digits` isolates each digit; small values for sixteen-bit sums.
pub(super) static BASE3: Packing = Packing {
    name: "base3",
    summary: "1.6 bits a weight, byte planes in base 3",
    fields: 5,
    weights: &[81, 27, 9, 3, 1],
    finish: Some(base3_byte),
    biased: 5,
    plans: &[
        Plan {
            name: "planes",
            planes: &[whole(false), whole(true), whole(true), whole(true), whole(true), whole(true)],
            fields: &[trit(0), trit(1), trit(2), trit(3), trit(4)],
            largest: 0xFF,
            signed: false,
            reach: 2 << 8,
        },
        Plan {
            name: "digits",
            planes: &[digit(false), digit(true), digit(true), digit(true), digit(true)],
            fields: &[
                field(0, None, 0),
                field(1, None, 0),
                field(2, None, 0),
                field(3, None, 0),
                field(4, None, 0),
            ],
            largest: 2,
            signed: false,
            reach: 2,
        },
    ],
};

/// Codes of five rows, as [`BASE3`] stores them.
fn base3_byte(n: u8) -> u8 {
    (u16::from(n) * 256).div_ceil(243) as u8
}

/// As [`I2S`], for dot products of signed bytes: 64 less, so that the top field, in two's complement, is the trit itself
/// and a byte lies between -64 and 106. The lower fields' bits do not change.
pub(super) static I2S_SIGNED: Packing = Packing {
    name: "i2s_signed",
    summary: "2 bits a weight, signed byte planes",
    fields: 4,
    weights: &[1, 4, 16, 64],
    finish: Some(|n| n.wrapping_sub(64)),
    biased: 3,
    plans: &[Plan {
        name: "planes",
        planes: &[whole(false), bits(0, 0x3F), bits(0, 0x0F), bits(0, 0x03)],
        fields: &[field(3, None, 0), field(2, Some(3), 2), field(1, Some(2), 4), field(0, Some(1), 6)],
        largest: 0x3F,
        signed: true,
        reach: 2 << 6,
    }],
};

/// As [`BASE3`], for dot products of signed bytes: 128 less, which tripling modulo 256 keeps, since 3 * 128 is 128 more
/// than 256. Three planes less one then give 256 (digit - 1): the trit itself.
pub(super) static BASE3_SIGNED: Packing = Packing {
    name: "base3_signed",
    summary: "1.6 bits a weight, signed byte planes in base 3",
    fields: 5,
    weights: &[81, 27, 9, 3, 1],
    finish: Some(|n| base3_byte(n) ^ 0x80),
    biased: 0,
    plans: &[Plan {
        name: "planes",
        planes: &[whole(false), whole(true), whole(true), whole(true), whole(true), whole(true)],
        fields: &[trit(0), trit(1), trit(2), trit(3), trit(4)],
        largest: 0,
        signed: true,
        reach: 2 << 8,
    }],
};

impl Packing {
    /// Whether it is for signed bytes only.
    pub(super) fn signed(&self) -> bool {
        self.plans.iter().any(|plan| plan.signed)
    }

    pub(super) fn plan(&self, name: &str) -> Option<&'static Plan> {
        self.plans.iter().find(|plan| plan.name == name)
    }
}

impl Plan {
    /// Columns over which sums can be recovered: what is shifted must fit 31 bits. A multiple of four.
    pub(super) fn most_columns(&self) -> usize {
        ((1 << 31) - 1) / (self.reach * 128) / 4 * 4
    }

    /// Steps after which sixteen-bit sums must be widened: each step adds two products to a lane.
    pub(super) fn steps_in_16_bits(&self) -> usize {
        i16::MAX as usize / (2 * 128 * self.largest)
    }

    pub(super) fn suits(&self, accumulation: Accumulation) -> bool {
        match accumulation {
            Accumulation::Signed => self.signed || self.largest < 128,
            _ if self.signed => false,
            Accumulation::Direct => true,
            Accumulation::DirectSmall => self.largest < 128,
            Accumulation::Pairs => self.steps_in_16_bits() > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of every plane for one packed byte.
    fn planes(plan: &Plan, byte: u8) -> Vec<i32> {
        let mut q = byte;
        let view = |plane: &Plane| {
            if plane.triple {
                q = q.wrapping_mul(3);
            }
            match plane.view {
                View::Whole if plan.signed => i32::from(q.cast_signed()),
                View::Whole => i32::from(q),
                View::Bits { shift, mask } => i32::from(q >> shift & mask),
                View::Digit => i32::from(digit_by_averages(q)),
            }
        };
        plan.planes.iter().map(view).collect()
    }

    /// As the steps say it, see there.
    fn digit_by_averages(q: u8) -> u8 {
        let average = |a: u8, b: u8| (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
        let p = q.saturating_sub(1);
        let digit = average(p, average(p, 0)) >> 6;
        assert_eq!(u16::from(digit), (u16::from(q) * 3) >> 8, "{q}");
        digit
    }

    #[test]
    fn every_byte_of_every_packing_gives_its_codes_back() {
        for packing in [&I2S, &BASE3, &I2S_SIGNED, &BASE3_SIGNED] {
            for combination in 0..3_usize.pow(packing.fields as u32) {
                let code = |field: usize| (combination / 3_usize.pow(field as u32) % 3) as u8;
                let byte =
                    (0..packing.fields).fold(0, |byte, field| byte + packing.weights[field] * code(field));
                let byte = packing.finish.map_or(byte, |finish| finish(byte));
                for plan in packing.plans {
                    let sums = planes(plan, byte);
                    let small = |sum: &i32| plan.signed || *sum <= plan.largest as i32;
                    assert!(sums.iter().all(small), "{} {byte}", plan.name);
                    for (field, rule) in plan.fields.iter().enumerate() {
                        let minus = rule.minus.map_or(0, |minus| sums[minus]);
                        let value = i32::from(rule.times) * sums[rule.plane] - minus;
                        assert!(value.unsigned_abs() as usize <= plan.reach, "{} {byte}", plan.name);
                        let unbiased = i32::from(field >= packing.biased);
                        assert_eq!(
                            value >> rule.shift,
                            i32::from(code(field)) - unbiased,
                            "{} {byte}",
                            plan.name
                        );
                        assert_eq!(value & ((1 << rule.shift) - 1), 0, "{} {byte}", plan.name);
                    }
                }
            }
        }
    }
}
