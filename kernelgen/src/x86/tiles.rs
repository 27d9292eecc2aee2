//! Tile words, for the tiers that have AMX.

use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::assembler::{Assembler, POINTERS};
use crate::vocabulary::{Pointer, TileEmitter, TileRegister, TileShape, tiles};

/// The instructions of a tier that has tiles.
#[derive(Debug, Clone, Copy)]
pub struct TileIsa {
    /// Shapes the tile registers as 64 bytes of memory say.
    pub configure: Code,
    /// Makes them unusable, and thread switches cheap, again.
    pub release: Code,
    /// Zeroes a tile.
    pub zero: Code,
    /// Loads rows that lie an index register apart.
    pub load: Code,
    /// Loads them without keeping them near.
    pub pass: Code,
    /// Stores them.
    pub store: Code,
    /// Sums of products of signed bytes and unsigned ones.
    pub dot: Code,
}

/// Holds the distance of rows that are cache lines, from [`TileEmitter::configure`] on.
const LINE_STRIDE: Register = POINTERS[POINTERS.len() - 1];
/// What it holds.
const LINE: usize = tiles::ROW_BYTES;

fn register(tile: TileRegister) -> Register {
    Register::TMM0 + tile.0
}

/// What LDTILECFG reads: palette 1, then the bytes of a row from byte 16 and the rows from byte 48.
fn configuration(shapes: &[TileShape; tiles::REGISTERS]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for (index, shape) in shapes.iter().enumerate() {
        bytes[16 + 2 * index] = shape.row_bytes as u8;
        bytes[48 + index] = shape.rows as u8;
    }
    bytes
}

impl Assembler<'_> {
    /// An operand of rows `stride` apart.
    fn rows(&mut self, pointer: Pointer, offset: i64, stride: usize) -> MemoryOperand {
        let memory = self.memory(pointer, offset);
        let lines = stride / LINE;
        let (index, scale) = if stride.is_multiple_of(LINE) && matches!(lines, 1 | 2 | 4 | 8) {
            (LINE_STRIDE, lines as u32)
        } else {
            (self.constant_in_counter(stride), 1)
        };
        MemoryOperand { index, scale, ..memory }
    }

    /// The instructions of tiles. Only an emitter whose row has them is ever asked.
    fn tile(&mut self, op: impl FnOnce(TileIsa) -> Code) -> Code {
        self.isa.tiles.map_or(Code::Nopd, op)
    }
}

impl TileEmitter for Assembler<'_> {
    fn configure(&mut self, shapes: &[TileShape; tiles::REGISTERS]) {
        let fits = |shape: &TileShape| shape.rows <= tiles::ROWS && shape.row_bytes <= tiles::ROW_BYTES;
        if !shapes.iter().all(fits) {
            return self.fail("a tile beyond 16 rows of 64 bytes");
        }
        self.keep_last_pointer();
        self.push(Instruction::with2(Code::Mov_r32_imm32, LINE_STRIDE.full_register32(), LINE as u32));
        let op = self.tile(|isa| isa.configure);
        let memory = MemoryOperand::with_base_displ(Register::RIP, 0);
        self.push_with_constant(Instruction::with1(op, memory), &configuration(shapes));
    }

    fn clear(&mut self, to: TileRegister) {
        let op = self.tile(|isa| isa.zero);
        self.push(Instruction::with1(op, register(to)));
    }

    fn load_rows(&mut self, to: TileRegister, from: Pointer, offset: i64, stride: usize) {
        let (op, memory) = (self.tile(|isa| isa.load), self.rows(from, offset, stride));
        self.push(Instruction::with2(op, register(to), memory));
    }

    fn pass_rows(&mut self, to: TileRegister, from: Pointer, offset: i64, stride: usize) {
        let (op, memory) = (self.tile(|isa| isa.pass), self.rows(from, offset, stride));
        self.push(Instruction::with2(op, register(to), memory));
    }

    fn store_rows(&mut self, to: Pointer, offset: i64, stride: usize, from: TileRegister) {
        let (op, memory) = (self.tile(|isa| isa.store), self.rows(to, offset, stride));
        self.push(Instruction::with2(op, memory, register(from)));
    }

    fn multiply(&mut self, sum: TileRegister, a: TileRegister, b: TileRegister) {
        let op = self.tile(|isa| isa.dot);
        self.push(Instruction::with3(op, register(sum), register(a), register(b)));
    }
}
