//! The tokens of a generation that runs elsewhere: for threads that wait, and for tasks that must not.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_channel::{Receiver, Sender};
use futures_core::Stream;

use super::{SessionId, stopped};
use crate::ModelError;
use crate::generate::{Generation, Token};
use crate::session::CancelToken;

/// What the worker says of a generation.
#[derive(Debug)]
pub(super) enum Event {
    Token(Token),
    End(Box<Generation>),
    Failed(ModelError),
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Sink {
    sender: Sender<Event>,
    cancel: CancelToken,
}

impl Sink {
    /// Hands an event over; nobody may be listening any more.
    pub(super) fn send(&self, event: Event) {
        // Never full, and when it is closed the stream is gone, which `is_cancelled` says.
        self.sender.try_send(event).ok();
    }

    /// Whether nobody waits any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// Both ends for one generation in `session`.
pub(super) fn pair(session: SessionId) -> (Sink, TokenStream) {
    let (sender, receiver) = async_channel::unbounded();
    let cancel = CancelToken::new();
    let sink = Sink { sender, cancel: cancel.clone() };
    (sink, TokenStream { receiver: Box::pin(receiver), cancel, session, generation: None, ended: false })
}

/// The tokens of one generation as they are drawn: an [`Iterator`], which waits, and a [`Stream`], which does not block.
/// Dropping it cancels the generation.
#[derive(Debug)]
pub struct TokenStream {
    receiver: Pin<Box<Receiver<Event>>>,
    cancel: CancelToken,
    session: SessionId,
    generation: Option<Generation>,
    ended: bool,
}

impl TokenStream {
    /// The session: name it in the next request to go on.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Ends the generation soon; tokens that were drawn already still come.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A switch that does the same as [`cancel`](Self::cancel), for somebody else to throw.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// What was generated, once all tokens have come.
    pub fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Result<Generation, ModelError> {
        for token in &mut self {
            token?;
        }
        self.generation.take().ok_or_else(stopped)
    }

    fn item(&mut self, event: Option<Event>) -> Option<Result<Token, ModelError>> {
        match event {
            Some(Event::Token(token)) => return Some(Ok(token)),
            Some(Event::End(generation)) => self.generation = Some(*generation),
            Some(Event::Failed(error)) => {
                self.ended = true;
                return Some(Err(error));
            }
            None => {
                self.ended = true;
                return Some(Err(stopped()));
            }
        }
        self.ended = true;
        None
    }
}

impl Iterator for TokenStream {
    type Item = Result<Token, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.receiver.recv_blocking().ok();
        self.item(event)
    }
}

impl Stream for TokenStream {
    type Item = Result<Token, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.receiver.as_mut().poll_next(context).map(|event| self.item(event))
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
