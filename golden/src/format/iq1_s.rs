//! `IQ1_S` (llama.cpp): 256 weights in 50 bytes, eight at a time from a codebook. Not lossless for ternary models:
//! it is read as numbers.

use std::sync::LazyLock;

use half::f16;

use super::walk::NumberCode;
use super::{Coding, Format};

/// `{ f16 d; u8 qs[32]; u16 qh[8] }`. Of the 32 weights that belong to one `qh`, the four words of eight have their
/// codebook index in a byte of `qs` and three bits of `qh` (bits 0 to 11); bits 12 to 14 are a scale `s`, bit 15
/// the sign of a shift of 1/8: weight = `(d * (2 s + 1)) * (trit + shift)`. Source: llama.cpp `ggml-quants.c`,
/// `dequantize_row_iq1_s`.
pub static IQ1_S: Format = Format {
    name: "IQ1_S",
    type_id: 19,
    weights: 256,
    bytes: 50,
    coding: Coding::Numbers(NumberCode { read, write: None }),
};

/// What trits are shifted by.
const SHIFT: f32 = 0.125;

fn read(bytes: &[u8], values: &mut [f32]) {
    let words = &*WORDS;
    for (block, values) in bytes.as_chunks::<50>().0.iter().zip(values.chunks_exact_mut(256)) {
        let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let (low, high) = block[2..].split_at(32);
        let high = high.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
        for ((values, low), high) in values.chunks_exact_mut(32).zip(low.chunks_exact(4)).zip(high) {
            let scale = d * f32::from(2 * (high >> 12 & 7) + 1);
            let shift = if high >> 15 == 1 { -SHIFT } else { SHIFT };
            for (at, (values, low)) in values.chunks_exact_mut(8).zip(low).enumerate() {
                let word = words[usize::from(*low) | usize::from(high >> (3 * at) & 7) << 8];
                for (value, trit) in values.iter_mut().zip(word) {
                    *value = scale * (f32::from(trit) + shift);
                }
            }
        }
    }
}

/// The 2048 words of the codebook.
static WORDS: LazyLock<Vec<[i8; 8]>> = LazyLock::new(|| {
    let in_codebook = |number: &u16| CODEBOOK[usize::from(number / 64)] >> (number % 64) & 1 == 1;
    let word = |number: u16| std::array::from_fn(|at| (number / 3_u16.pow(at as u32) % 3) as i8 - 1);
    (0..3_u16.pow(8)).filter(in_codebook).map(word).collect()
});

/// Which words of eight trits are in the codebook, in ascending order: bit `n % 64` of number `n / 64` stands for the
/// word whose base-3 digits `t + 1`, the first weight's least significant, make `n`. Source: llama.cpp
/// `ggml-common.h`, `iq1s_grid` (MIT licence, The ggml authors), which lists them in this order.
#[rustfmt::skip]
static CODEBOOK: [u64; 103] = [
    0x5142_02A0_8514_2555, 0xA28A_2086_A831_4508, 0x1450_8514_202A_081A, 0xA005_1525_4544_2082,
    0x8208_0018_8820_8202, 0x0AAA_BB88_A02A_03A0, 0xAA0A_0022_000B_AA90, 0x4508_5140_08A0_828C,
    0x0851_4214_5080_8821, 0x2A80_08A0_9808_308A, 0x4248_2085_1421_4508, 0x20A0_C22C_0145_0855,
    0xA2AA_A824_2A00_268A, 0x0028_2808_08AF_E208, 0xA820_28AA_2842_02A0, 0xA8BA_B908_9B0A_2080,
    0x3AAA_AEA2_89AE_CA20, 0xB80E_82BB_BAEA_EB7C, 0x2202_920E_D3CA_BA22, 0x820A_BA8A_A820_2200,
    0x3BA2_E04A_2A00_0802, 0x8140_8100_A22B_2022, 0x8514_0122_0828_8AAA, 0x5421_4509_2082_1550,
    0x203A_A823_0208_A085, 0xA208_5142_5420_8284, 0x082A_0214_5095_0820, 0x2002_48A0_8082_A8B8,
    0xAB28_02A2_68A2_8208, 0x0830_8208_2085_082A, 0xA085_1421_4500_4045, 0x8229_0145_0051_4200,
    0x1430_A108_2A82_8A00, 0x2145_0828_8214_5005, 0x2AAA_2002_0220_8514, 0xA828_AE8A_B112_2000,
    0x0A82_0070_A8AA_A1BA, 0x8200_8402_2228_0208, 0xAA2A_B0EA_A080_4800, 0xA7DA_EA22_BA8B_20C2,
    0xAA2A_B092_A86E_8B8B, 0x4820_2A0C_448A_8B72, 0x20AA_082A_8A28_4084, 0xA09A_AFA2_22A2_CCC8,
    0xA82A_0002_0002_A8E8, 0xA2A2_8BA0_8020_0088, 0xBA0A_3282_80A0_BA28, 0x2BA0_A2EB_FEBA_B8BE,
    0x00A2_EA28_0A8A_08A2, 0xDEEA_A4FA_0C02_32A1, 0xEB7E_BE8D_2EA8_2BEF, 0xDEBA_7DE6_BF7F_F7FA,
    0x12FA_26BF_FF27_FB69, 0x0EBE_AA10_228A_E1E9, 0xAE82_0BA8_B208_AA84, 0x6204_8083_E924_BAFF,
    0x002B_A40A_A8F2_682C, 0x0012_AAE2_0808_2A02, 0x82C9_20A6_0A2A_8202, 0x8C00_A200_2882_9089,
    0x6C00_0808_8200_1380, 0x8ABE_A602_BBAA_AA8A, 0xD02E_976B_8002_CAA0, 0xDEAA_2E10_8210_E9B2,
    0x820A_0004_A5D1_1528, 0x20A1_0108_2082_8A00, 0xA084_3222_BA39_AA82, 0x0262_A28A_0018_8009,
    0xAC21_4500_5144_1481, 0x20AA_0851_4214_5082, 0x4508_2A12_0A87_AA28, 0x0851_4208_A005_1421,
    0x22A2_40A0_0220_0145, 0x8A6A_08A2_0800_8800, 0x0A20_0080_AAAA_B86E, 0x5044_0821_22C8_E282,
    0x8515_208A_0951_4214, 0x2A2A_AA08_0A86_1450, 0x2145_0851_420A_0080, 0xE208_5142_1450_00A8,
    0x082A_8218_0A82_8820, 0x0A02_8BB0_8AAA_A2AA, 0x0AAA_8082_2820_AA2A, 0x2202_88A9_0028_0828,
    0xBA8A_08B8_280B_BEA0, 0xAEF8_A4BA_FFAE_B24B, 0x30A0_B668_2852_20AA, 0x6A22_0828_020A_80E6,
    0x2BAA_AA02_0A20_8062, 0x0808_A2A0_A9A2_EAAA, 0x0E82_0022_8AA0_2010, 0x400A_A085_1421_4500,
    0x4A00_06A9_2145_0851, 0x440D_1000_A508_02AA, 0x0514_2145_0828_8214, 0x0020_F2AC_8282_0800,
    0x20BA_0A28_0AAA_0000, 0x2809_4882_0002_A2EA, 0x0051_454B_1100_14E9, 0x5142_1450_02A8_0145,
    0x400A_2888_0824_8808, 0x02A0_0514_0145_0008, 0x0000_0001_4508_5140,
];
