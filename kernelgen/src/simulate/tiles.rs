//! Tiles (AMX): their configuration, moves row by row, and the products of bytes, as the Intel SDM's pseudo-code says
//! them for palette 1, the only one there is.

use super::bits::{Bytes, lane, set_lane};
use super::core::Core;
use super::fault::FaultKind;
use super::operation::Row;
use iced_x86::{Instruction, Mnemonic as M, Register};

type Done = Result<(), FaultKind>;

/// Tile registers, and the most rows and bytes a row that palette 1 gives each.
const TILES: usize = 8;
const MAX_ROWS: u8 = 16;
const MAX_COLSB: u16 = 64;

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    (&[M::Ldtilecfg], configure),
    (&[M::Sttilecfg], store_configuration),
    (&[M::Tilerelease], |core, _| { core.tiles = None; Ok(()) }),
    (&[M::Tilezero], |core, i| { core.tiles()?.set(i.op0_register(), [[0; 64]; 16]) }),
    (&[M::Tileloadd, M::Tileloaddt1], load),
    (&[M::Tilestored], store),
    (&[M::Tdpbssd], |core, i| multiply(core, i, [signed, signed])),
    (&[M::Tdpbsud], |core, i| multiply(core, i, [signed, i32::from])),
    (&[M::Tdpbusd], |core, i| multiply(core, i, [i32::from, signed])),
    (&[M::Tdpbuud], |core, i| multiply(core, i, [i32::from, i32::from])),
];

/// The content of a tile, rows and columns beyond its configuration included.
type Rows = [Bytes; MAX_ROWS as usize];

/// A configuration and the tiles that it made.
#[derive(Debug)]
pub(super) struct Tiles {
    /// As LDTILECFG takes it: palette, start row, from byte 16 the bytes of a row, from byte 48 the rows, by tile.
    configuration: Bytes,
    data: [Rows; TILES],
}

/// Rows and bytes a row of a configured tile.
#[derive(Debug, Clone, Copy)]
struct Shape {
    rows: usize,
    colsb: usize,
}

impl Tiles {
    /// What LDTILECFG makes of its operand: nothing for palette 0, else tiles of zeros.
    fn configured(configuration: Bytes) -> Result<Option<Box<Self>>, FaultKind> {
        let refuse = |what| Err(FaultKind::TileConfiguration { what });
        if configuration[0] == 0 {
            return Ok(None);
        }
        if configuration[0] != 1 {
            return refuse("a palette that does not exist");
        }
        let reserved = [&configuration[2..16], &configuration[32..48], &configuration[56..64]];
        if reserved.into_iter().flatten().any(|&byte| byte != 0) {
            return refuse("reserved bytes that are not zero");
        }
        for tile in 0..TILES {
            let (rows, colsb) = sizes(&configuration, tile);
            if rows > MAX_ROWS || colsb > MAX_COLSB {
                return refuse("a tile beyond 16 rows of 64 bytes");
            }
            if (rows == 0) != (colsb == 0) {
                return refuse("a tile of rows without columns, or columns without rows");
            }
        }
        Ok(Some(Box::new(Self { configuration, data: [[[0; 64]; 16]; TILES] })))
    }

    /// The shape of a tile that is configured.
    fn shape(&self, tile: Register) -> Result<Shape, FaultKind> {
        let (rows, colsb) = sizes(&self.configuration, number(tile)?);
        if rows == 0 {
            return Err(FaultKind::TileUse { what: "this tile is not configured" });
        }
        Ok(Shape { rows: rows.into(), colsb: colsb.into() })
    }

    /// Sets a tile, and what lies outside its shape to zero, as every instruction that writes one does.
    fn set(&mut self, tile: Register, mut rows: Rows) -> Done {
        let shape = self.shape(tile)?;
        for row in &mut rows {
            row[shape.colsb..].fill(0);
        }
        rows[shape.rows..].fill([0; 64]);
        self.data[number(tile)?] = rows;
        self.configuration[START_ROW] = 0;
        Ok(())
    }
}

/// Where a load or store that was interrupted goes on.
const START_ROW: usize = 1;

/// Rows and bytes a row that a configuration gives tile `index`.
fn sizes(configuration: &Bytes, index: usize) -> (u8, u16) {
    (configuration[48 + index], lane(configuration, 2, 8 + index) as u16)
}

fn number(tile: Register) -> Result<usize, FaultKind> {
    if tile.is_tmm() { Ok(tile.number()) } else { Err(FaultKind::Unsupported) }
}

fn signed(byte: u8) -> i32 {
    byte.cast_signed().into()
}

impl Core {
    /// The tiles, once configured.
    fn tiles(&mut self) -> Result<&mut Tiles, FaultKind> {
        self.tiles.as_deref_mut().ok_or(FaultKind::TileUse { what: "no tile is configured" })
    }

    /// Base and displacement of the memory operand, and the index register as the distance of rows.
    fn rows_at(&self, instruction: &Instruction) -> Result<(u64, u64), FaultKind> {
        let register = |register| match register {
            Register::None => Ok(0),
            register => self.read_general(register),
        };
        let base = register(instruction.memory_base())?;
        let stride = register(instruction.memory_index())?;
        let first = base.wrapping_add(instruction.memory_displacement64());
        Ok((first, stride.wrapping_mul(instruction.memory_index_scale().into())))
    }
}

fn configure(core: &mut Core, instruction: &Instruction) -> Done {
    let configuration = core.memory.read(core.address(instruction)?, 64)?;
    core.tiles = Tiles::configured(configuration)?;
    Ok(())
}

fn store_configuration(core: &mut Core, instruction: &Instruction) -> Done {
    let address = core.address(instruction)?;
    let configuration = core.tiles.as_ref().map_or([0; 64], |tiles| tiles.configuration);
    core.memory.write(address, &configuration)
}

fn load(core: &mut Core, instruction: &Instruction) -> Done {
    let (first, stride) = core.rows_at(instruction)?;
    let tile = instruction.op0_register();
    let tiles = core.tiles()?;
    let (shape, mut rows) = (tiles.shape(tile)?, tiles.data[number(tile)?]);
    let start = tiles.configuration[START_ROW].into();
    for (index, row) in rows.iter_mut().enumerate().take(shape.rows).skip(start) {
        let address = first.wrapping_add(stride.wrapping_mul(index as u64));
        *row = core.memory.read(address, shape.colsb)?;
    }
    core.tiles()?.set(tile, rows)
}

fn store(core: &mut Core, instruction: &Instruction) -> Done {
    let (first, stride) = core.rows_at(instruction)?;
    let tile = instruction.op1_register();
    let tiles = core.tiles()?;
    let (shape, rows) = (tiles.shape(tile)?, tiles.data[number(tile)?]);
    let start = usize::from(std::mem::take(&mut tiles.configuration[START_ROW]));
    for (index, row) in rows.iter().enumerate().take(shape.rows).skip(start) {
        let address = first.wrapping_add(stride.wrapping_mul(index as u64));
        core.memory.write(address, &row[..shape.colsb])?;
    }
    Ok(())
}

/// TDPB**D: `sum[m][n] += a[m][k] . b[k][n]` for every k, modulo 2^32, where the dot is of four bytes; `signs` says
/// what the bytes of `a` and `b` are as numbers.
fn multiply(core: &mut Core, instruction: &Instruction, signs: [fn(u8) -> i32; 2]) -> Done {
    let operands = [instruction.op0_register(), instruction.op1_register(), instruction.op2_register()];
    let tiles = core.tiles()?;
    check_product(tiles, operands)?;
    let (rows, depth) = (tiles.shape(operands[1])?.rows, tiles.shape(operands[2])?.rows);
    let mut sums = tiles.data[number(operands[0])?];
    let a = tiles.data[number(operands[1])?].map(|row| row.map(signs[0]));
    let b = tiles.data[number(operands[2])?].map(|row| row.map(signs[1]));
    for (sum, a) in sums.iter_mut().zip(&a).take(rows) {
        for (a, b) in a.as_chunks::<4>().0.iter().zip(&b).take(depth) {
            for (n, b) in b.as_chunks::<4>().0.iter().enumerate() {
                let dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
                set_lane(sum, 4, n, lane(sum, 4, n).wrapping_add(dot as u64));
            }
        }
    }
    tiles.set(operands[0], sums)
}

/// What the manual asks of the operands of a product: shapes that fit together. (That the three differ, the decoder has
/// seen to.)
fn check_product(tiles: &Tiles, [sum, a, b]: [Register; 3]) -> Done {
    let refuse = |what| Err(FaultKind::TileUse { what });
    let [sum, a, b] = [tiles.shape(sum)?, tiles.shape(a)?, tiles.shape(b)?];
    if [sum, a, b].iter().any(|shape| shape.colsb % 4 != 0) {
        return refuse("a row of a product's tile is not whole dwords");
    }
    if sum.rows != a.rows || sum.colsb != b.colsb || a.colsb / 4 != b.rows {
        return refuse("the shapes of the tiles do not fit together");
    }
    Ok(())
}
