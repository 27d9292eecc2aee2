//! One generation under way.

use super::stream::{Event, Sink};
use super::{Request, SessionId};
use crate::generate::{Answer, Finish};
use crate::session::{BatchEntry, Session};
use crate::tokenizer::Tokenizer;
use crate::{ErrorKind, ModelError};

/// A generation with its session.
#[derive(Debug)]
pub(super) struct Running<'t> {
    pub(super) id: SessionId,
    session: Session,
    answer: Answer<'t>,
    sink: Sink,
    /// Whether its session is forgotten at the end.
    pub(super) closing: bool,
    /// Tokens that went into the session in this pass.
    fed: usize,
}

impl<'t> Running<'t> {
    /// Begins a generation; what is wrong with the request goes to the sink, and the session comes back.
    pub(super) fn start(
        tokenizer: &'t Tokenizer,
        id: SessionId,
        mut session: Session,
        request: Request,
        sink: Sink,
    ) -> Result<Self, Box<Session>> {
        let Request { prompt, options, drafter, .. } = request;
        let seen = session.rewind(&prompt);
        let checked = check_length(&session, &prompt);
        match checked.and_then(|()| Answer::new(tokenizer, &prompt, &prompt[seen..], &options)) {
            Ok(mut answer) => {
                if let Some(drafter) = drafter {
                    answer.draft_with(drafter);
                }
                Ok(Self { id, session, answer, sink, closing: false, fed: 0 })
            }
            Err(error) => {
                sink.send(Event::Failed(error));
                Err(Box::new(session))
            }
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.sink.is_cancelled()
    }

    /// What goes into the session next, of a prompt at most `most` tokens.
    pub(super) fn entry(&mut self, most: usize) -> BatchEntry<'_> {
        let (tokens, wanted) = self.answer.feed(most);
        self.fed = tokens.len();
        self.answer.prepare(&mut self.session);
        BatchEntry { session: &mut self.session, tokens, wanted }
    }

    /// Draws what the pass allows.
    pub(super) fn advance(&mut self) -> Result<Option<Finish>, ModelError> {
        let Self { session, answer, sink, fed, .. } = self;
        answer.advance(session, *fed, |token| sink.send(Event::Token(token)))
    }

    /// Gives its cache's memory back, to be computed again.
    pub(super) fn release(&mut self) {
        self.session.release();
    }

    /// Whether it holds memory that it could give back.
    pub(super) fn holds(&self) -> bool {
        !self.session.cache().is_empty()
    }

    /// Ends it: tells why, and gives the session back.
    pub(super) fn end(self, outcome: Result<Finish, ModelError>) -> Session {
        let event = match outcome {
            Ok(finish) => Event::End(Box::new(self.answer.into_generation(finish))),
            Err(error) => Event::Failed(error),
        };
        self.sink.send(event);
        self.session
    }
}

/// A prompt goes through in pieces: what can never fit is told before the first.
fn check_length(session: &Session, prompt: &[u32]) -> Result<(), ModelError> {
    let context = session.cache().limit();
    if prompt.len() > context {
        let problem = format!("a prompt of {} tokens does not fit the context of {context}", prompt.len());
        return Err(ModelError::new(ErrorKind::Input, problem, "shorten the prompt"));
    }
    Ok(())
}
