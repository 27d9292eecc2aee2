//! The activations as tiles: how the form is laid out, and how it is made.

use crate::activations::InputForm;
use crate::code::EmitError;
use crate::key::KernelKey;
use crate::vocabulary::tiles::ROW_BYTES;
use crate::vocabulary::{Emitter, Field, Pointer, Vector};

/// Columns of a tile.
pub(super) const COLUMNS: usize = ROW_BYTES;
/// Columns of a lane.
pub(super) const STEP: usize = 4;

/// The form in which the activations of `key` are read `tokens` at a time: `[n / tokens][k / 64][tokens][64]`, zeros
/// beyond n and k. So a tile is consecutive lines: rows of a large matrix would share one set of the first cache.
pub(in super::super) fn form(key: &KernelKey, tokens: usize) -> InputForm {
    InputForm {
        name: "tiles",
        lanes: 0,
        group: tokens,
        token_bytes: ROW_BYTES,
        group_bytes: key.k.div_ceil(COLUMNS) * tokens * ROW_BYTES,
    }
}

/// Says how the form `tiles` is made of quantised rows.
///
/// # Errors
/// When the emitter's vectors are not rows of tiles.
pub(in super::super) fn emit(key: &KernelKey, tokens: usize, e: &mut dyn Emitter) -> Result<(), EmitError> {
    if e.lanes() * STEP != ROW_BYTES {
        return Err(EmitError::new("tiles are made of vectors of 64 bytes"));
    }
    let maker = Maker {
        row: InputForm::rows(key.k).token_bytes as i64,
        full: key.k / COLUMNS,
        rest: (key.k % COLUMNS).div_ceil(STEP),
        tokens,
        from: e.pointer(Field::Source),
        to: e.pointer(Field::Activations),
        vector: e.vector(),
    };
    e.copy_field(Field::TokensLeft, Field::Tokens);
    e.begin_while(Field::TokensLeft, tokens, &format!("{tokens} tokens"));
    maker.group(e, tokens);
    e.end_while();
    e.begin_portions(Field::TokensLeft, Field::TokensHere, tokens, "fewer tokens");
    maker.clear(e);
    e.begin_while(Field::TokensHere, 1, "1 token");
    maker.group(e, 1);
    e.end_while();
    e.end_while();
    Ok(())
}

/// Makes the form `tiles`.
struct Maker {
    /// Bytes of a row of the source.
    row: i64,
    /// Full tiles of a token, and lanes of the last one.
    full: usize,
    rest: usize,
    tokens: usize,
    from: Pointer,
    to: Pointer,
    vector: Vector,
}

impl Maker {
    /// The columns of `tokens` tokens; moves the pointers on by as many tokens.
    fn group(&self, e: &mut dyn Emitter, tokens: usize) {
        if self.full > 0 {
            e.begin_repeat(self.full, "tiles");
            self.columns(e, tokens, COLUMNS / STEP);
            e.end_repeat();
        }
        if self.rest > 0 {
            self.columns(e, tokens, self.rest);
        }
        let tiles = (self.full + usize::from(self.rest > 0)) as i64;
        e.advance(self.from, tokens as i64 * self.row - tiles * COLUMNS as i64);
        if tokens < self.tokens {
            e.advance(self.to, (tokens * ROW_BYTES) as i64 - tiles * self.tile_bytes());
        }
    }

    /// The first `lanes` lanes of the next tile of `tokens` tokens.
    fn columns(&self, e: &mut dyn Emitter, tokens: usize, lanes: usize) {
        for token in 0..tokens as i64 {
            e.load_lanes(self.vector, self.from, token * self.row, lanes);
            e.store(self.to, token * ROW_BYTES as i64, self.vector);
        }
        e.advance(self.from, COLUMNS as i64);
        e.advance(self.to, self.tile_bytes());
    }

    /// Zeroes a group.
    fn clear(&self, e: &mut dyn Emitter) {
        let tiles = self.full + usize::from(self.rest > 0);
        e.zero(self.vector);
        e.begin_repeat(tiles, "zeros");
        for token in 0..self.tokens {
            e.store(self.to, (token * ROW_BYTES) as i64, self.vector);
        }
        e.advance(self.to, self.tile_bytes());
        e.end_repeat();
        e.advance(self.to, -(tiles as i64) * self.tile_bytes());
    }

    fn tile_bytes(&self) -> i64 {
        (self.tokens * ROW_BYTES) as i64
    }
}
