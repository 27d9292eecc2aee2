//! Tiles beside a plain rendering of the manual's pseudo-code, and what their configuration forbids.

use super::super::fault::FaultKind;
use super::*;

const CONFIGURATION: u64 = 0x1000;
/// Where tiles are loaded from, by their number; what tile 0 holds in the end goes to the first.
const MEMORIES: [u64; 3] = [0x1_0000, 0x2_0000, 0x3_0000];
const TILES: [Register; 3] = [Register::TMM0, Register::TMM1, Register::TMM2];

/// Rows and bytes a row of tiles 0, 1, ...
fn configuration(shapes: &[(u8, u16)]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for (tile, (rows, colsb)) in shapes.iter().enumerate() {
        bytes[16 + 2 * tile..][..2].copy_from_slice(&colsb.to_le_bytes());
        bytes[48 + tile] = *rows;
    }
    bytes
}

fn configure() -> Instruction {
    Instruction::with1(Code::VEX_Ldtilecfg_m512, MemoryOperand::with_base(Register::RDI)).unwrap()
}

fn at(base: Register, stride: Register) -> MemoryOperand {
    MemoryOperand::with_base_index(base, stride)
}

fn load(tile: Register, base: Register, stride: Register) -> Instruction {
    Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, tile, at(base, stride)).unwrap()
}

fn store(base: Register, stride: Register, tile: Register) -> Instruction {
    Instruction::with2(Code::VEX_Tilestored_sibmem_tmm, at(base, stride), tile).unwrap()
}

fn end() -> [Instruction; 2] {
    [Instruction::with(Code::VEX_Tilerelease), Instruction::with(Code::Retnq)]
}

/// Runs `code` with the configuration at rdi.
fn run_with(configuration: [u8; 64], code: &[Instruction]) -> Result<Outcome, FaultKind> {
    let mut machine = Machine::new();
    machine.map(CONFIGURATION, configuration.to_vec(), Access::Read).unwrap();
    machine.run(&assemble(code), CODE_ADDRESS, &[CONFIGURATION]).map_err(|fault| fault.kind)
}

/// A matrix of bytes: rows of equal length.
type Matrix = Vec<Vec<u8>>;

/// The rows of a matrix in memory, `stride` apart; not a byte after the last.
fn laid_out(matrix: &Matrix, stride: usize) -> Vec<u8> {
    let mut memory = Vec::new();
    for (row, bytes) in matrix.iter().enumerate() {
        memory.resize(row * stride, 0xEE);
        memory.extend(bytes);
    }
    memory
}

/// DPBD of the manual, over whole matrices: `c += a b`, bytes of `a` and `b` signed or not.
fn product(c: &Matrix, a: &Matrix, b: &Matrix, signs: [bool; 2]) -> Matrix {
    let number = |byte: u8, signed| if signed { i32::from(byte as i8) } else { i32::from(byte) };
    let mut result = c.clone();
    for m in 0..a.len() {
        for n in 0..b[0].len() / 4 {
            let cell = &mut result[m][4 * n..4 * n + 4];
            let mut sum = i32::from_le_bytes((&*cell).try_into().unwrap());
            for k in 0..b.len() {
                for i in 0..4 {
                    let factors = number(a[m][4 * k + i], signs[0]) * number(b[k][4 * n + i], signs[1]);
                    sum = sum.wrapping_add(factors);
                }
            }
            cell.copy_from_slice(&sum.to_le_bytes());
        }
    }
    result
}

fn matrix(rows: usize, bytes: usize) -> impl Strategy<Value = Matrix> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(vec![0_u8, 0x7f, 0x80, 0xff])];
    prop::collection::vec(prop::collection::vec(byte, bytes), rows)
}

/// Matrices that can be multiplied: `c` of m x n dwords, `a` of m x k, `b` of k x n.
fn factors() -> impl Strategy<Value = [Matrix; 3]> {
    (1_usize..=16, 1_usize..=16, 1_usize..=16)
        .prop_flat_map(|(m, k, n)| (matrix(m, 4 * n), matrix(m, 4 * k), matrix(k, 4 * n)))
        .prop_map(|(c, a, b)| [c, a, b])
}

/// Loads three tiles, does `instruction`, stores tile 0 over its memory, every row `stride` bytes after the other.
fn on_tiles(
    matrices: &[Matrix; 3],
    stride: usize,
    instruction: Instruction,
) -> Result<(Vec<u8>, Outcome), Fault> {
    let mut machine = Machine::new();
    let shapes = matrices.each_ref().map(|matrix| (matrix.len() as u8, matrix[0].len() as u16));
    machine.map(CONFIGURATION, configuration(&shapes).to_vec(), Access::Read)?;
    for (address, matrix) in MEMORIES.iter().zip(matrices) {
        machine.map(*address, laid_out(matrix, stride), Access::ReadWrite)?;
    }
    let bases = [Register::RSI, Register::RDX, Register::RCX];
    let mut code = vec![configure()];
    code.extend(TILES.iter().zip(bases).map(|(&tile, base)| load(tile, base, Register::R8)));
    code.extend([instruction, store(bases[0], Register::R8, TILES[0])]);
    code.extend(end());
    let [first, second, third] = MEMORIES;
    let arguments = [CONFIGURATION, first, second, third, stride as u64];
    let outcome = machine.run(&assemble(&code), CODE_ADDRESS, &arguments)?;
    Ok((machine.unmap(first).unwrap(), outcome))
}

/// The products, and whether the bytes of their factors are signed.
const PRODUCTS: [(Code, [bool; 2]); 4] = [
    (Code::VEX_Tdpbssd_tmm_tmm_tmm, [true, true]),
    (Code::VEX_Tdpbsud_tmm_tmm_tmm, [true, false]),
    (Code::VEX_Tdpbusd_tmm_tmm_tmm, [false, true]),
    (Code::VEX_Tdpbuud_tmm_tmm_tmm, [false, false]),
];

fn multiply(code: Code, [sum, a, b]: [Register; 3]) -> Instruction {
    Instruction::with3(code, sum, a, b).unwrap()
}

proptest! {
    #[test]
    fn products_are_the_manuals(matrices in factors(), gap in 0_usize..70) {
        let stride = 64 + gap;
        for (code, signs) in PRODUCTS {
            let [c, a, b] = &matrices;
            let expected = laid_out(&product(c, a, b, signs), stride);
            let (found, outcome) = on_tiles(&matrices, stride, multiply(code, TILES)).unwrap();
            prop_assert_eq!(found, expected, "{:?}", code);
            prop_assert_eq!(outcome.count("tileloadd"), 3);
        }
    }

    /// Whatever the last row lacks, a load of it faults there, and so does a store.
    #[test]
    fn rows_are_checked_one_by_one(shape in (1_u8..=16, 1_u16..=64), missing in 1_u16..=64) {
        let (rows, colsb) = shape;
        let missing = missing.min(colsb) as usize;
        let last = MEMORIES[0] + 64 * (u64::from(rows) - 1);
        let run = |code: Instruction, missing: usize| {
            let mut machine = Machine::new();
            machine.map(CONFIGURATION, configuration(&[shape]).to_vec(), Access::Read).unwrap();
            let bytes = 64 * (usize::from(rows) - 1) + usize::from(colsb) - missing;
            machine.map(MEMORIES[0], vec![1; bytes], Access::ReadWrite).unwrap();
            let [release, ret] = end();
            let arguments = [CONFIGURATION, MEMORIES[0], 64];
            machine.run(&assemble(&[configure(), code, release, ret]), CODE_ADDRESS, &arguments).map(|_| ())
        };
        let (address, size) = (last, usize::from(colsb));
        let read = load(TILES[0], Register::RSI, Register::RDX);
        let write = store(Register::RSI, Register::RDX, TILES[0]);
        prop_assert_eq!(run(read, 0), Ok(()));
        prop_assert_eq!(run(write, 0), Ok(()));
        prop_assert_eq!(run(read, missing).unwrap_err().kind, FaultKind::UnmappedRead { address, size });
        prop_assert_eq!(run(write, missing).unwrap_err().kind, FaultKind::UnmappedWrite { address, size });
    }

    #[test]
    fn a_configuration_is_taken_or_refused_and_never_panics(bytes in prop::array::uniform32(any::<u8>()), at in 0_usize..32) {
        let mut configuration = configuration(&[(16, 64); 8]);
        configuration[at..at + 32].copy_from_slice(&bytes);
        let _ = run_with(configuration, &[configure(), end()[0], end()[1]]);
    }
}

#[test]
fn zeroing_needs_a_tile_and_leaves_zeros() {
    let matrices = [vec![vec![7; 20]; 5], vec![vec![1; 4]; 1], vec![vec![1; 4]; 1]];
    let zero = Instruction::with1(Code::VEX_Tilezero_tmm, TILES[0]).unwrap();
    assert_eq!(on_tiles(&matrices, 20, zero).unwrap().0, vec![0; 100]);
}

#[test]
fn an_interrupted_load_goes_on_at_its_row() {
    let mut configuration = configuration(&[(3, 4)]);
    configuration[1] = 2;
    let mut machine = Machine::new();
    machine.map(CONFIGURATION, configuration.to_vec(), Access::Read).unwrap();
    machine.map(MEMORIES[0], vec![9; 12], Access::ReadWrite).unwrap();
    let (read, write) =
        (load(TILES[0], Register::RSI, Register::RDX), store(Register::RSI, Register::RDX, TILES[0]));
    let code = [configure(), read, write, end()[0], end()[1]];
    machine.run(&assemble(&code), CODE_ADDRESS, &[CONFIGURATION, MEMORIES[0], 4]).unwrap();
    assert_eq!(machine.bytes(MEMORIES[0]), Some([0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9].as_slice()));
}

#[test]
fn a_configuration_is_stored_as_it_was_loaded() {
    let shapes = configuration(&[(3, 4), (16, 64)]);
    let sttilecfg = |base| Instruction::with1(Code::VEX_Sttilecfg_m512, MemoryOperand::with_base(base));
    for (configured, expected) in [(true, shapes), (false, [0; 64])] {
        let mut machine = Machine::new();
        machine.map(CONFIGURATION, shapes.to_vec(), Access::Read).unwrap();
        machine.map(MEMORIES[0], vec![1; 64], Access::ReadWrite).unwrap();
        let mut code = vec![sttilecfg(Register::RSI).unwrap(), end()[0], end()[1]];
        if configured {
            code.insert(0, configure());
        }
        machine.run(&assemble(&code), CODE_ADDRESS, &[CONFIGURATION, MEMORIES[0]]).unwrap();
        assert_eq!(machine.bytes(MEMORIES[0]), Some(expected.as_slice()));
    }
}

#[test]
fn what_is_no_configuration_is_refused() {
    let good = configuration(&[(16, 64), (1, 4)]);
    let changed = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        bytes
    };
    let code = [configure(), end()[0], end()[1]];
    assert!(run_with(good, &code).is_ok());
    let bad =
        [(0, 2), (2, 1), (15, 1), (32, 1), (47, 9), (56, 1), (63, 1), (48, 17), (17, 1), (49, 0), (18, 0)];
    for (at, value) in bad {
        let fault = run_with(changed(at, value), &code).unwrap_err();
        assert!(matches!(fault, FaultKind::TileConfiguration { .. }), "byte {at}: {fault}");
    }
    // Palette 0 is the state of the beginning, whatever the rest says.
    assert!(run_with(changed(0, 0), &[configure(), end()[1]]).is_ok());
}

#[test]
fn tiles_may_be_used_only_as_configured() {
    let use_fault = |code: &[Instruction], shapes: &[(u8, u16)]| {
        let mut all = vec![configure()];
        all.extend(code);
        all.extend(end());
        matches!(run_with(configuration(shapes), &all), Err(FaultKind::TileUse { .. }))
    };
    let zero = |tile| Instruction::with1(Code::VEX_Tilezero_tmm, tile).unwrap();
    let dot = |operands| multiply(Code::VEX_Tdpbsud_tmm_tmm_tmm, operands);
    let [t0, t1, t2] = TILES;
    let fitting = [(3, 8), (3, 12), (3, 8)];
    assert!(!use_fault(&[dot(TILES)], &fitting));
    assert!(use_fault(&[zero(Register::TMM3)], &fitting));
    assert!(use_fault(&[zero(t0)], &[(0, 0), (3, 8)]));
    for operands in [[t0, t0, t2], [t0, t1, t0], [t0, t1, t1]] {
        let same = run_with(configuration(&[(2, 8); 3]), &[configure(), dot(operands)]);
        assert_eq!(same.unwrap_err(), FaultKind::Undecodable, "{operands:?}");
    }
    for misfit in [
        [(2, 8), (3, 12), (3, 8)],
        [(3, 4), (3, 12), (3, 8)],
        [(3, 8), (3, 16), (3, 8)],
        [(3, 8), (3, 12), (2, 8)],
        [(3, 6), (3, 12), (3, 6)],
        [(3, 8), (3, 13), (3, 8)],
    ] {
        assert!(use_fault(&[dot(TILES)], &misfit), "{misfit:?}");
    }
    assert!(use_fault(&[end()[0], zero(t0)], &fitting));
    let unconfigured = run_with([0; 64], &[zero(t0), end()[1]]);
    assert!(matches!(unconfigured, Err(FaultKind::TileUse { .. })));
}

#[test]
fn a_kernel_releases_its_tiles() {
    let configuration = configuration(&[(1, 4)]);
    let left = run_with(configuration, &[configure(), end()[1]]);
    assert_eq!(left.unwrap_err(), FaultKind::TilesConfigured);
    assert!(run_with(configuration, &[configure(), end()[0], end()[1]]).is_ok());
}
