//! A generation as an iterator.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::{Answer, Drafter, Finish, GenerateOptions, Generation, Token};
use crate::ModelError;
use crate::session::{BatchEntry, Session};
use crate::tokenizer::Tokenizer;

/// The tokens of an answer, drawn as they are asked for.
///
/// ```no_run
/// # use craftsman_model::{GenerateOptions, LoadOptions, LookupDrafter, Model, Tokens, container::Checkpoint, tokenizer::Tokenizer};
/// # let checkpoint = Checkpoint::open("model.gguf".as_ref())?;
/// # let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
/// # let model = Model::load(&checkpoint, &LoadOptions::default())?;
/// let prompt = tokenizer.encode("Once upon a time", tokenizer.add_bos())?;
/// let mut session = model.session();
/// let mut tokens = Tokens::new(&mut session, &tokenizer, &prompt, &GenerateOptions::default())?
///     .draft_with(LookupDrafter::default());
/// for token in &mut tokens {
///     print!("{}", token?.text);
/// }
/// println!("\n{:?}", tokens.into_generation().finish);
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Tokens<'a> {
    session: &'a mut Session,
    answer: Answer<'a>,
    drawn: VecDeque<Token>,
    finish: Option<Finish>,
    failed: bool,
}

impl<'a> Tokens<'a> {
    /// The answer to what `session` has seen with `prompt` appended.
    pub fn new(
        session: &'a mut Session,
        tokenizer: &'a Tokenizer,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self, ModelError> {
        let answer = Answer::new(tokenizer, prompt, prompt, options)?;
        Ok(Self { session, answer, drawn: VecDeque::new(), finish: None, failed: false })
    }

    /// Lets `drafter` guess tokens, so that several may be drawn from one pass. The tokens stay the same.
    #[must_use]
    pub fn draft_with(mut self, drafter: impl Drafter + 'a) -> Self {
        self.answer.draft_with(Box::new(drafter));
        self
    }

    /// What was generated; [`Finish::Cancelled`] if it had not come to an end.
    pub fn into_generation(self) -> Generation {
        self.answer.into_generation(self.finish.unwrap_or(Finish::Cancelled))
    }

    /// Draws all, and hands over the text as it comes; `ControlFlow::Break` ends the generation.
    pub fn run(mut self, mut receive: impl FnMut(&str) -> ControlFlow<()>) -> Result<Generation, ModelError> {
        for token in &mut self {
            let text = token?.text;
            if !text.is_empty() && receive(&text).is_break() {
                self.finish = Some(Finish::Cancelled);
                break;
            }
        }
        Ok(self.into_generation())
    }

    fn pass(&mut self) -> Result<(), ModelError> {
        let Self { session, answer, drawn, finish, .. } = self;
        let (tokens, wanted) = answer.feed(usize::MAX);
        let fed = tokens.len();
        answer.prepare(session);
        Session::prefill_batch(&mut [BatchEntry { session, tokens, wanted }])?;
        *finish = answer.advance(session, fed, |token| drawn.push_back(token))?;
        Ok(())
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token, ModelError>;

    /// The next token. After an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(token) = self.drawn.pop_front() {
                return Some(Ok(token));
            }
            if self.finish.is_some() || self.failed {
                return None;
            }
            if let Err(error) = self.pass() {
                self.failed = true;
                return Some(Err(error));
            }
        }
    }
}
