//! An answer under way: which tokens go into the session next, what is drawn from its logits, and the text it makes.

use std::time::{Duration, Instant};

use super::stop::StopFilter;
use super::{Drafter, Finish, GenerateOptions, Generation, Seen, Statistics, Token};
use crate::ModelError;
use crate::sampler::Sampler;
use crate::session::Session;
use crate::tokenizer::{TextStream, Tokenizer};

/// Tokens that a drafter is asked for at most.
const MOST_DRAFTED: usize = 8;

/// The state of one generation, apart from its session.
#[derive(Debug)]
pub(crate) struct Answer<'t> {
    options: GenerateOptions,
    sampler: Sampler,
    decoder: TextStream<'t>,
    stop: StopFilter,
    ends: Vec<u32>,
    drafter: Option<Box<dyn Drafter + 't>>,
    /// What goes into the session next: the rest of the prompt; or the last token drawn, and what may follow it.
    feed: Vec<u32>,
    /// How many tokens at the end of `feed` are guesses.
    drafts: usize,
    /// Tokens that the next guess may have: it shrinks when guesses are wrong.
    eager: usize,
    tokens: Vec<u32>,
    text: String,
    started: Instant,
    /// When the prompt was processed.
    prompted: Option<Instant>,
    statistics: Statistics,
}

impl<'t> Answer<'t> {
    /// The answer to `prompt`, of which `feed` is what the session has not seen.
    pub(crate) fn new(
        tokenizer: &'t Tokenizer,
        prompt: &[u32],
        feed: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self, ModelError> {
        let mut sampler = Sampler::new(options.sampling)?;
        for &token in prompt {
            sampler.accept(token);
        }
        Ok(Self {
            sampler,
            decoder: tokenizer.stream(),
            stop: StopFilter::new(&options.stop),
            ends: if options.ignore_end { Vec::new() } else { tokenizer.ends() },
            drafter: None,
            feed: feed.to_vec(),
            drafts: 0,
            eager: 1,
            tokens: Vec::new(),
            text: String::new(),
            started: Instant::now(),
            prompted: None,
            statistics: Statistics { prompt_tokens: feed.len(), ..Statistics::default() },
            options: options.clone(),
        })
    }

    /// Lets `drafter` guess tokens, so that several may be drawn from one pass. What is drawn stays the same.
    pub(crate) fn draft_with(&mut self, drafter: Box<dyn Drafter + 't>) {
        self.drafter = Some(drafter);
    }

    /// Prepares the session that the answer is drawn from.
    pub(crate) fn prepare(&self, session: &mut Session) {
        if self.drafter.as_ref().is_some_and(Drafter::wants_states) {
            session.keep_states();
        }
    }

    /// At most `most` of the tokens that go into the session next, and after how many of them logits are wanted.
    pub(crate) fn feed(&self, most: usize) -> (&[u32], usize) {
        if self.feed.len() > most.max(1 + self.drafts) {
            return (&self.feed[..most], 0);
        }
        (&self.feed, 1 + self.drafts)
    }

    /// After [`feed`](Self::feed) went into `session`: draws what its logits allow, and hands over each token with its text.
    /// Answers why the generation ends, if it does.
    pub(crate) fn advance(
        &mut self,
        session: &mut Session,
        fed: usize,
        mut receive: impl FnMut(Token),
    ) -> Result<Option<Finish>, ModelError> {
        if fed < self.feed.len() {
            self.feed.drain(..fed);
            return Ok(None);
        }
        if self.options.max_tokens == 0 {
            return Ok(Some(Finish::MaxTokens));
        }
        self.prompted.get_or_insert_with(Instant::now);
        let vocab = session.model().config().vocab;
        let known = session.position() - self.drafts;
        let mut accepted = 0;
        let finish = loop {
            let (mut token, finish) = self.draw(&session.logits()[accepted * vocab..][..vocab]);
            let guessed = self.feed.get(self.feed.len() - self.drafts + accepted) == Some(&token.id);
            let finish = finish.map(|finish| self.finish(finish, &mut token.text));
            receive(token);
            // A token that ends the answer was not needed in the session.
            if finish.is_some() || accepted == self.drafts || !guessed {
                break finish;
            }
            accepted += 1;
        };
        session.truncate(known + accepted);
        self.learn(accepted);
        match finish {
            Some(finish) => Ok(Some(finish)),
            None if session.remaining() == 0 => {
                let mut rest = Token { id: self.tokens[self.tokens.len() - 1], text: String::new() };
                let finish = self.finish(Finish::ContextFull, &mut rest.text);
                if !rest.text.is_empty() {
                    receive(rest);
                }
                Ok(Some(finish))
            }
            None => self.next_feed(session).map(|()| None),
        }
    }

    /// Counts guesses; the more come true, the more are made.
    fn learn(&mut self, accepted: usize) {
        self.statistics.drafted_tokens += self.drafts;
        self.statistics.accepted_tokens += accepted;
        if self.drafts > 0 {
            self.eager = if accepted == self.drafts { self.eager * 2 } else { accepted.max(1) };
        }
    }

    /// The last token drawn, and guesses of what follows it.
    fn next_feed(&mut self, session: &mut Session) -> Result<(), ModelError> {
        let last = self.tokens[self.tokens.len() - 1];
        self.feed.clear();
        self.feed.push(last);
        self.drafts = 0;
        let Some(drafter) = &mut self.drafter else { return Ok(()) };
        // The pass gives one token beyond the guesses.
        let most = self.options.max_tokens - self.tokens.len() - 1;
        self.eager = self.eager.min(MOST_DRAFTED);
        let most = self.eager.min(most).min(session.remaining() - 1);
        if most > 0 {
            let states = session.take_states();
            let tokens: Vec<u32> = session.tokens().iter().copied().chain([last]).collect();
            let mut drafts = drafter.propose(&Seen { tokens: &tokens, states: &states }, most)?;
            drafts.truncate(most);
            let vocab = session.model().config().vocab as u32;
            self.feed.extend(drafts.into_iter().take_while(|&token| token < vocab));
            self.drafts = self.feed.len() - 1;
        }
        Ok(())
    }

    /// Draws one token; answers it with its text, and why to end, if it is to end.
    fn draw(&mut self, logits: &[f32]) -> (Token, Option<Finish>) {
        let id = self.sampler.sample(logits);
        self.sampler.accept(id);
        self.tokens.push(id);
        if self.ends.contains(&id) {
            return (Token { id, text: String::new() }, Some(Finish::EndToken(id)));
        }
        let (text, stop) = self.stop.push(&self.decoder.push(id));
        self.text.push_str(&text);
        let full = self.tokens.len() >= self.options.max_tokens;
        (Token { id, text }, stop.map(Finish::Stop).or_else(|| full.then_some(Finish::MaxTokens)))
    }

    /// The text ends here, unless a stop string did so: what was held back because it might have become something else did
    /// not. It goes to `text`.
    fn finish(&mut self, finish: Finish, text: &mut String) -> Finish {
        if let Finish::Stop(_) = finish {
            return finish;
        }
        let (mut rest, stop) = self.stop.push(&self.decoder.finish());
        if stop.is_none() {
            rest.push_str(&self.stop.finish());
        }
        self.text.push_str(&rest);
        text.push_str(&rest);
        stop.map_or(finish, Finish::Stop)
    }

    /// What was generated.
    pub(crate) fn into_generation(self, finish: Finish) -> Generation {
        let (prompt_time, decode_time) = match self.prompted {
            Some(prompted) => (prompted - self.started, prompted.elapsed()),
            None => (self.started.elapsed(), Duration::ZERO),
        };
        let decoded_tokens = self.tokens.len().saturating_sub(1);
        let statistics = Statistics { prompt_time, decoded_tokens, decode_time, ..self.statistics };
        tracing::info!(
            name: "InferenceCompleted",
            prompt_tokens = statistics.prompt_tokens,
            prompt_rate = statistics.prompt_rate(),
            tokens = self.tokens.len(),
            decode_rate = statistics.decode_rate(),
            drafted = statistics.drafted_tokens,
            accepted = statistics.accepted_tokens,
            finish = ?finish,
        );
        Generation { text: self.text, tokens: self.tokens, finish, statistics }
    }
}
