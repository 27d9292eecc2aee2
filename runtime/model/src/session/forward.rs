//! The forward pass: tokens of one or several sessions through all layers together.
//!
//! No sum crosses tokens, and attention reads the cache of a token's own session, so which tokens go through together does
//! not show in any result.

use std::ops::Range;

use super::Session;
use crate::head::HeadInput;
use crate::layer::{Place, Scratch, Sequence, sized};
use crate::{ErrorKind, Model, ModelError};

/// Tokens that go through the layers together: bounds the memory of a long prompt, and does not change its result.
const CHUNK: usize = 512;

/// Tokens whose logits are computed together.
const HEAD_CHUNK: usize = 32;

/// What a forward pass needs besides weights and caches; the model keeps those that are not in use.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    x: Vec<f32>,
    chosen: Vec<f32>,
    logits: Vec<f32>,
    head: HeadInput,
    layers: Scratch,
}

/// Tokens that one session is to go on with.
pub(super) struct Feed<'a> {
    pub(super) session: &'a mut Session,
    pub(super) tokens: &'a [u32],
    /// After how many of the last tokens logits are wanted.
    pub(super) wanted: usize,
}

/// Is given the feed, the number of the token among the feed's, and the logits after it.
pub(super) type Visit<'v> = dyn FnMut(usize, usize, &[f32]) + Send + 'v;

/// Appends all tokens, and hands over the wanted logits of each feed in order. After an error all sessions are as they
/// were before.
pub(super) fn run(model: &Model, feeds: &mut [Feed<'_>], visit: &mut Visit<'_>) -> Result<(), ModelError> {
    for feed in &*feeds {
        check(model, feed)?;
    }
    let before: Vec<usize> = feeds.iter().map(|feed| feed.session.tokens.len()).collect();
    for feed in &mut *feeds {
        feed.session.tokens.extend_from_slice(feed.tokens);
    }
    let outcome = run_all(model, feeds, visit);
    for (feed, before) in feeds.iter_mut().zip(before) {
        match outcome {
            Ok(()) => feed.session.settle(),
            Err(_) => feed.session.truncate(before),
        }
    }
    outcome
}

fn check(model: &Model, feed: &Feed<'_>) -> Result<(), ModelError> {
    let vocab = model.config().vocab;
    if feed.tokens.is_empty() {
        return Err(ModelError::new(ErrorKind::Input, "there are no tokens", "give at least one token"));
    }
    match feed.tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(token) => {
            let problem = format!("token {token} is beyond the vocabulary of {vocab}");
            Err(ModelError::new(ErrorKind::Input, problem, "use the tokenizer that belongs to the model"))
        }
        None => Ok(()),
    }
}

impl Session {
    /// Finds what others keep of the tokens that the cache lacks, and makes room for the rest.
    fn prepare(&mut self, wanted: usize) -> Result<(), ModelError> {
        if self.cache.is_empty() {
            // Up to the first token whose logits are wanted.
            let known = self.tokens.len() + 1 - wanted.max(1);
            self.shared = self.cache.adopt(&self.tokens[..known]);
        }
        self.cache.reserve(self.tokens.len() - self.cache.len())
    }

    /// After a pass: shares full pages, and gives back those that nothing reads any more.
    fn settle(&mut self) {
        self.cache.share(&self.tokens, &mut self.shared);
        self.cache.trim();
    }
}

fn run_all(model: &Model, feeds: &mut [Feed<'_>], visit: &mut Visit<'_>) -> Result<(), ModelError> {
    for feed in &mut *feeds {
        feed.session.prepare(feed.wanted)?;
    }
    let mut buffers = model.take_buffers();
    let outcome = model.threads.enter(|| {
        loop {
            let slices = plan(feeds);
            if slices.is_empty() {
                return Ok(());
            }
            pass(model, feeds, &slices, &mut buffers, visit)?;
        }
    });
    model.give_buffers(buffers);
    outcome
}

/// Tokens of one feed that go through in one pass.
struct Slice {
    feed: usize,
    /// Positions in the session.
    positions: Range<usize>,
}

/// What goes through next: of each feed in turn what its cache lacks, up to the most tokens of a pass.
fn plan(feeds: &[Feed<'_>]) -> Vec<Slice> {
    let mut room = CHUNK;
    let mut slices = Vec::with_capacity(feeds.len());
    for (feed, Feed { session, .. }) in feeds.iter().enumerate() {
        let start = session.cache.len();
        let count = room.min(session.tokens.len() - start);
        if count > 0 {
            slices.push(Slice { feed, positions: start..start + count });
            room -= count;
        }
    }
    slices
}

/// Takes the tokens of `slices` through all layers, and their wanted rows through the head.
fn pass(
    model: &Model,
    feeds: &mut [Feed<'_>],
    slices: &[Slice],
    buffers: &mut Buffers,
    visit: &mut Visit<'_>,
) -> Result<(), ModelError> {
    let width = model.config().hidden;
    let rows = slices.iter().map(|slice| slice.positions.len()).sum::<usize>();
    let x = sized(&mut buffers.x, rows * width);
    embed(model, feeds, slices, x);
    run_blocks(model, feeds, slices, x, &mut buffers.layers)?;
    keep_states(model, feeds, slices, x);

    let wanted = wanted(feeds, slices);
    for part in wanted.chunks(HEAD_CHUNK) {
        let chosen = sized(&mut buffers.chosen, part.len() * width);
        for (wanted, to) in part.iter().zip(chosen.chunks_exact_mut(width)) {
            to.copy_from_slice(&x[wanted.row * width..][..width]);
        }
        let vocab = model.config().vocab;
        let logits = sized(&mut buffers.logits, part.len() * vocab);
        buffers.head.run(model, chosen, logits)?;
        for (wanted, logits) in part.iter().zip(logits.chunks_exact(vocab)) {
            visit(wanted.feed, wanted.token, logits);
        }
    }
    Ok(())
}

/// Appends the final states, normed, to those of sessions that keep them.
fn keep_states(model: &Model, feeds: &mut [Feed<'_>], slices: &[Slice], x: &[f32]) {
    let width = model.config().hidden;
    let mut first = 0;
    for Slice { feed, positions } in slices {
        let rows = first..first + positions.len();
        first = rows.end;
        if let Some(states) = &mut feeds[*feed].session.states {
            let start = states.len();
            states.resize(start + rows.len() * width, 0.0);
            model.norm.apply(&model.engine(), &x[rows.start * width..rows.end * width], &mut states[start..]);
        }
    }
}

/// A row of a pass whose logits are wanted.
struct Wanted {
    feed: usize,
    /// The number of the token among the feed's.
    token: usize,
    row: usize,
}

fn wanted(feeds: &[Feed<'_>], slices: &[Slice]) -> Vec<Wanted> {
    let mut first = 0;
    let mut all = Vec::new();
    for Slice { feed, positions } in slices {
        let Feed { session, tokens, wanted } = &feeds[*feed];
        let start = session.tokens.len() - tokens.len();
        let chosen = positions.clone().filter(|position| position + wanted >= session.tokens.len());
        all.extend(chosen.map(|position| Wanted {
            feed: *feed,
            token: position - start,
            row: first + position - positions.start,
        }));
        first += positions.len();
    }
    all
}

/// The vectors of the tokens, `[rows, hidden]`.
fn embed(model: &Model, feeds: &[Feed<'_>], slices: &[Slice], x: &mut [f32]) {
    let tokens = slices.iter().flat_map(|slice| &feeds[slice.feed].session.tokens[slice.positions.clone()]);
    for (&token, row) in tokens.zip(x.chunks_exact_mut(model.config().hidden)) {
        model.embedding.row(token as usize, row);
    }
}

/// Takes `x` through all blocks.
fn run_blocks(
    model: &Model,
    feeds: &mut [Feed<'_>],
    slices: &[Slice],
    x: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), ModelError> {
    let positions = slices.iter().flat_map(|slice| slice.positions.clone());
    let rotations: Vec<_> = positions.map(|position| model.rope.rotation(position)).collect();
    let mut cancel = Vec::new();
    let mut sequences = Vec::with_capacity(slices.len());
    let mut slices = slices.iter().peekable();
    let mut first = 0;
    for (feed, Feed { session, .. }) in feeds.iter_mut().enumerate() {
        let Some(Slice { positions, .. }) = slices.next_if(|slice| slice.feed == feed) else { continue };
        let Session { cache, cancel: token, .. } = &mut **session;
        cancel.extend(token.as_ref());
        sequences.push(Sequence { cache, rows: first..first + positions.len() });
        first += positions.len();
    }
    for (layer, block) in model.blocks.iter().enumerate() {
        cancel.iter().try_for_each(|token| token.check())?;
        let mut place = Place { layer, rotations: &rotations, sequences: &mut sequences };
        block.forward(&model.engine(), x, &mut place, scratch)?;
    }
    for Sequence { cache, rows } in sequences {
        cache.advance(rows.len());
    }
    Ok(())
}
