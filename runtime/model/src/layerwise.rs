//! A model walked block by block, one in memory at a time, with a view of what its projections are given.

use std::collections::HashMap;
use std::fmt;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use craftsman_golden::float::RopeTable;
use craftsman_kernelgen::float::FloatOps;

use crate::cache::{KvCache, Pool};
use crate::container::Checkpoint;
use crate::head::Embedding;
use crate::layer::{Block, Engine, InputObserver, Linear, Place, Scratch, Sequence};
use crate::load::Loader;
use crate::model::Setup;
use crate::threads::Threads;
use crate::{ErrorKind, KvOptions, LoadOptions, ModelError};

/// The most tokens of a sequence, which goes through a block in one piece.
const LONGEST: usize = 512;

/// What a projection is given.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The tensor of its weights, by GGUF's name.
    pub tensor: &'a str,
    /// Its number in a stack of experts; 0 of what is no stack.
    pub expert: usize,
    /// Rows of it, `[n, k]`.
    pub x: &'a [f32],
    /// Its columns.
    pub k: usize,
}

/// Token sequences on their way through a checkpoint's blocks.
///
/// Memory holds one block, and the residual stream of all tokens: so a model need not fit.
pub struct Layerwise {
    loader: Arc<Loader>,
    threads: Threads,
    ops: FloatOps,
    rope: RopeTable,
    /// The residual stream of each sequence, `[tokens, hidden]`.
    states: Vec<Vec<f32>>,
    next: usize,
}

impl fmt::Debug for Layerwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layerwise")
            .field("loader", &self.loader)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Layerwise {
    /// Puts `sequences`, each of 1 to 512 tokens and a context of its own, in front of the first block.
    pub fn new(
        checkpoint: &Checkpoint,
        options: &LoadOptions<'_>,
        sequences: &[Vec<u32>],
    ) -> Result<Self, ModelError> {
        // All experts of the block that is in memory: a projection is recognised by where it lies.
        let options = LoadOptions { resident: true, ..options.clone() };
        let Setup { caps, threads, loader } = Setup::new(checkpoint, &options)?;
        let embedding = Embedding::load(&loader, "token_embd.weight")?;
        let (hidden, vocab) = (loader.config.hidden, loader.config.vocab);
        let states = sequences.iter().map(|tokens| {
            if tokens.is_empty()
                || tokens.len() > LONGEST
                || tokens.iter().any(|&token| token as usize >= vocab)
            {
                let problem = format!("a sequence of {} tokens, or with one beyond {vocab}", tokens.len());
                let remedy = format!("give 1 to {LONGEST} tokens of the model's own tokenizer");
                return Err(ModelError::new(ErrorKind::Input, problem, remedy));
            }
            let mut states = vec![0.0; tokens.len() * hidden];
            let rows = tokens.iter().zip(states.chunks_exact_mut(hidden));
            rows.for_each(|(&token, row)| embedding.row(token as usize, row));
            Ok(states)
        });
        let states = states.collect::<Result<_, _>>()?;
        let rope = loader.rope()?;
        Ok(Self { loader, threads, ops: FloatOps::for_caps(&caps), rope, states, next: 0 })
    }

    /// The float operations that it computes with.
    pub fn ops(&self) -> FloatOps {
        self.ops
    }

    /// Blocks of the model.
    pub fn blocks(&self) -> usize {
        self.loader.config.layers
    }

    /// The block that is next.
    pub fn next_block(&self) -> usize {
        self.next
    }

    /// Takes all sequences through the next block, in their order, and shows each projection's inputs to `see`. `false`
    /// where there is no further block.
    pub fn step(&mut self, see: impl FnMut(Input<'_>) + Send) -> Result<bool, ModelError> {
        if self.next == self.blocks() {
            return Ok(false);
        }
        let block = self.loader.block(self.next)?;
        let sites = Sites::new(&block, self.next, see);
        let Self { threads, ops, states, rope, loader, .. } = self;
        let engine = Engine { ops: *ops, threads, recorder: None, observer: Some(&sites) };
        let mut scratch = Scratch::default();
        for x in states {
            let tokens = x.len() / loader.config.hidden;
            let pool = Pool::new(&[block.mixer.keeps()], tokens, KvOptions::default());
            let mut cache = KvCache::new(Arc::new(pool));
            cache.reserve(tokens)?;
            let rotations: Vec<_> = (0..tokens).map(|position| rope.rotation(position)).collect();
            let mut sequences = [Sequence { cache: &mut cache, rows: 0..tokens }];
            let mut place = Place { layer: 0, rotations: &rotations, sequences: &mut sequences };
            engine.threads.enter(|| block.forward(&engine, x, &mut place, &mut scratch))?;
        }
        self.next += 1;
        Ok(true)
    }
}

/// The projections of a block by their addresses, and who is told of their inputs.
struct Sites<F> {
    names: HashMap<usize, (String, usize)>,
    see: Mutex<F>,
}

impl<F> fmt::Debug for Sites<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sites").field("names", &self.names).finish_non_exhaustive()
    }
}

fn address(linear: &Linear) -> usize {
    ptr::from_ref(linear).addr()
}

impl<F: FnMut(Input<'_>) + Send> Sites<F> {
    fn new(block: &Block, number: usize, see: F) -> Self {
        let names = block.projections().into_iter().map(|projection| {
            let name = format!("blk.{number}.{}.weight", projection.part);
            (address(projection.linear), (name, projection.expert))
        });
        Self { names: names.collect(), see: Mutex::new(see) }
    }
}

impl<F: FnMut(Input<'_>) + Send> InputObserver for Sites<F> {
    fn see(&self, linear: &Linear, x: &[f32]) {
        if let Some((tensor, expert)) = self.names.get(&address(linear)) {
            let mut see = self.see.lock().unwrap_or_else(PoisonError::into_inner);
            see(Input { tensor, expert: *expert, x, k: linear.k() });
        }
    }
}
