//! Activations whose rows are cut in pieces, those of a group of tokens together: how such a form is laid out, and how it
//! is made.

use crate::activations::InputForm;
use crate::code::EmitError;
use crate::key::KernelKey;
use crate::vocabulary::{Emitter, Field, Pointer, Vector, Weave};

/// Columns of a lane.
pub(super) const STEP: usize = 4;

/// A form `[n / tokens][k / columns][tokens][columns]`, zeros beyond n and k.
#[derive(Debug)]
pub(super) struct Pieces {
    name: &'static str,
    /// Columns of a piece.
    pub(super) columns: usize,
    /// Columns that a vector holds.
    vector: usize,
    /// How many tokens are taken at once where fewer than a group are left.
    fewer: &'static [usize],
    /// Says the next columns of so many tokens, in so many lanes.
    say: fn(&Maker, &mut dyn Emitter, usize, usize),
}

/// Tiles, which so are consecutive lines: rows of a large matrix would share one set of the first cache.
pub(super) static TILES: Pieces =
    Pieces { name: "tiles", columns: 64, vector: 64, fewer: &[1], say: Maker::copy };

/// Matrices of two tokens, each a vector.
pub(super) static MATRICES: Pieces =
    Pieces { name: "matrices", columns: 8, vector: 16, fewer: &[2, 1], say: Maker::weave };

impl Pieces {
    /// The form in which the activations of `key` are read `tokens` at a time.
    pub(super) fn form(&self, key: &KernelKey, tokens: usize) -> InputForm {
        InputForm {
            name: self.name,
            lanes: 0,
            group: tokens,
            token_bytes: self.columns,
            group_bytes: key.k.div_ceil(self.columns) * tokens * self.columns,
        }
    }

    /// Says how it is made of quantised rows.
    ///
    /// # Errors
    /// When the emitter's vectors are of another length.
    pub(super) fn emit(
        &'static self,
        key: &KernelKey,
        tokens: usize,
        e: &mut dyn Emitter,
    ) -> Result<(), EmitError> {
        if e.lanes() * STEP != self.vector {
            return Err(EmitError::new(format_args!("{} are made of {} bytes", self.name, self.vector)));
        }
        let maker = Maker {
            pieces: self,
            row: InputForm::rows(key.k).token_bytes as i64,
            k: key.k,
            group: tokens,
            from: e.pointer(Field::Source),
            to: e.pointer(Field::Activations),
            vectors: std::array::from_fn(|_| e.vector()),
            zero: e.vector(),
        };
        e.zero(maker.zero);
        e.copy_field(Field::TokensLeft, Field::Tokens);
        e.begin_while(Field::TokensLeft, tokens, &format!("{tokens} tokens"));
        maker.tokens(e, tokens);
        e.end_while();
        e.begin_portions(Field::TokensLeft, Field::TokensHere, tokens, "fewer tokens");
        maker.clear(e);
        for &few in self.fewer {
            e.begin_while(Field::TokensHere, few, &format!("{few} of them"));
            maker.tokens(e, few);
            e.end_while();
        }
        e.end_while();
        Ok(())
    }
}

/// Makes a form.
struct Maker {
    pieces: &'static Pieces,
    /// Bytes of a row of the source.
    row: i64,
    k: usize,
    /// Tokens of a group.
    group: usize,
    from: Pointer,
    to: Pointer,
    vectors: [Vector; 3],
    zero: Vector,
}

impl Maker {
    /// All columns of `tokens` tokens; moves the pointers on by as many tokens.
    fn tokens(&self, e: &mut dyn Emitter, tokens: usize) {
        let vector = self.pieces.vector;
        let (full, rest) = (self.k / vector, self.k % vector);
        if full > 0 {
            e.begin_repeat(full, "vectors");
            (self.pieces.say)(self, e, tokens, vector / STEP);
            self.advance(e, vector);
            e.end_repeat();
        }
        if rest > 0 {
            (self.pieces.say)(self, e, tokens, rest.div_ceil(STEP));
            self.advance(e, rest);
        }
        e.advance(self.from, tokens as i64 * self.row - (full * vector + rest) as i64);
        if tokens < self.group {
            e.advance(self.to, (tokens * self.pieces.columns) as i64 - self.group_bytes(self.k));
        }
    }

    fn advance(&self, e: &mut dyn Emitter, columns: usize) {
        e.advance(self.from, columns as i64);
        e.advance(self.to, self.group_bytes(columns));
    }

    /// Bytes of `columns` columns of a group.
    fn group_bytes(&self, columns: usize) -> i64 {
        (columns.next_multiple_of(self.pieces.columns) * self.group) as i64
    }

    /// Pieces as long as vectors.
    fn copy(&self, e: &mut dyn Emitter, tokens: usize, lanes: usize) {
        let [vector, ..] = self.vectors;
        for token in 0..tokens as i64 {
            e.load_lanes(vector, self.from, token * self.row, lanes);
            e.store(self.to, token * self.pieces.columns as i64, vector);
        }
    }

    /// Pieces half as long as vectors: those of two tokens in each. A token that is missing is zeros.
    fn weave(&self, e: &mut dyn Emitter, tokens: usize, lanes: usize) {
        let [first, second, both] = self.vectors;
        for token in (0..tokens).step_by(2) {
            e.load_lanes(first, self.from, token as i64 * self.row, lanes);
            let alone = token + 1 == tokens;
            if !alone {
                e.load_lanes(second, self.from, (token + 1) as i64 * self.row, lanes);
            }
            let second = if alone { self.zero } else { second };
            let pieces = lanes.div_ceil(2);
            for (piece, word) in [Weave::Low64, Weave::High64].into_iter().enumerate().take(pieces) {
                if let Some(matrices) = e.matrices() {
                    matrices.weave(word, both, first, second);
                }
                let at = (piece * self.group + token) * self.pieces.columns;
                e.store(self.to, at as i64, both);
            }
        }
    }

    /// Zeroes a group.
    fn clear(&self, e: &mut dyn Emitter) {
        let piece = self.group_bytes(self.pieces.columns);
        e.begin_repeat(self.k.div_ceil(self.pieces.columns), "zeros");
        for offset in (0..piece).step_by(self.pieces.vector) {
            e.store(self.to, offset, self.zero);
        }
        e.advance(self.to, piece);
        e.end_repeat();
        e.advance(self.to, -self.group_bytes(self.k));
    }
}
