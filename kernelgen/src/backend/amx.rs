//! AMX-INT8: the words of AVX-512 VNNI, and products of tiles of bytes.
//!
//! A process may use tiles only once the operating system has let it. Detection asks
//! ([`HardwareCaps::detect`](craftsman_isa::HardwareCaps::detect)) and names the features only where the answer is yes, so
//! that [`Backend::runs_on`](super::Backend::runs_on) is the whole check. Each call of a kernel configures the tiles of
//! its thread and releases them again: a thread that is switched away between calls has no 8 KiB of tiles to save.

use craftsman_isa::Feature;
use iced_x86::Code as Op;

use super::{Tier, avx512vnni};
use crate::vocabulary::Word;
use crate::x86::{TileIsa, VectorIsa, X86Backend};

/// The tier's row. Without tiles it says nothing that AVX-512 VNNI does not.
pub static AMX: X86Backend = X86Backend {
    tier: Tier {
        name: "amx",
        summary: "tiles of bytes beside 512-bit vectors, TDPBSUD; Sapphire Rapids and later",
        requires: &[
            Feature::Avx512F,
            Feature::Avx512Bw,
            Feature::Avx512Vnni,
            Feature::AmxTile,
            Feature::AmxInt8,
        ],
    },
    adds: &[Word::Tiles],
    isa: VectorIsa {
        tiles: Some(TileIsa {
            configure: Op::VEX_Ldtilecfg_m512,
            release: Op::VEX_Tilerelease,
            zero: Op::VEX_Tilezero_tmm,
            load: Op::VEX_Tileloadd_tmm_sibmem,
            pass: Op::VEX_Tileloaddt1_tmm_sibmem,
            store: Op::VEX_Tilestored_sibmem_tmm,
            dot: Op::VEX_Tdpbsud_tmm_tmm_tmm,
        }),
        ..avx512vnni::ISA
    },
};
