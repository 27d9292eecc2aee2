//! The engine's thread: takes requests, and pass after pass lets everything under way go on by a token or a piece of prompt.
//!
//! When memory is short, idle sessions give theirs back first, the least recently used before the others; then the
//! generation that came last waits, and gives its memory back too. The first one always goes on, so all come to an end.
//! What was given back is computed again from the tokens, to the same bits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::running::Running;
use super::sessions::Sessions;
use super::stream::{Event, Sink};
use super::{Counters, EngineOptions, Request, SessionId};
use crate::cache::KvPool;
use crate::generate::Finish;
use crate::session::Session;
use crate::tokenizer::Tokenizer;
use crate::{ErrorKind, ModelError};

/// What the engine asks of its thread.
#[derive(Debug)]
pub(super) enum Command {
    Generate { request: Request, session: SessionId, new: bool, sink: Sink },
    Close(SessionId),
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Worker {
    pool: KvPool,
    options: EngineOptions,
    counters: Arc<Counters>,
    sessions: Sessions,
    /// How many generations had room in the last pass, if it was short of it.
    admitted: usize,
}

impl Worker {
    pub(super) fn new(pool: KvPool, options: EngineOptions, counters: Arc<Counters>) -> Self {
        Self { pool, options, counters, sessions: Sessions::default(), admitted: usize::MAX }
    }

    /// Works until nobody can send commands any more.
    pub(super) fn work(mut self, tokenizer: &Tokenizer, commands: &Receiver<Command>) {
        // The first is served first.
        let mut running: VecDeque<Running<'_>> = VecDeque::new();
        loop {
            loop {
                let command = match commands.try_recv() {
                    Err(TryRecvError::Empty) if running.is_empty() => {
                        commands.recv().map_err(|_| TryRecvError::Disconnected)
                    }
                    other => other,
                };
                match command {
                    Ok(command) => self.obey(command, tokenizer, &mut running),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
                self.count(&running);
            }
            self.end_cancelled(&mut running);
            self.pass(&mut running);
            self.count(&running);
        }
    }

    fn count(&mut self, running: &VecDeque<Running<'_>>) {
        self.sessions.close_beyond(self.options.most_sessions.saturating_sub(running.len()));
        self.counters.running.store(running.len(), Ordering::Relaxed);
        self.counters.sessions.store(self.sessions.len() + running.len(), Ordering::Relaxed);
    }

    fn obey<'t>(&mut self, command: Command, tokenizer: &'t Tokenizer, running: &mut VecDeque<Running<'t>>) {
        match command {
            Command::Close(id) => {
                self.sessions.take(id);
                running
                    .iter_mut()
                    .filter(|running| running.id == id)
                    .for_each(|running| running.closing = true);
            }
            Command::Generate { request, session: id, new, sink } => {
                let session = if new { Some(self.pool.session()) } else { self.sessions.take(id) };
                let Some(session) = session else {
                    let busy = running.iter().any(|running| running.id == id);
                    sink.send(Event::Failed(no_session(id, busy)));
                    return;
                };
                match Running::start(tokenizer, id, session, request, sink) {
                    Ok(started) => running.push_back(started),
                    Err(session) => self.sessions.put(id, *session),
                }
            }
        }
    }

    /// Ends generations that nobody waits for.
    fn end_cancelled(&mut self, running: &mut VecDeque<Running<'_>>) {
        for index in (0..running.len()).rev() {
            if running[index].is_cancelled() {
                self.end(running, index, Ok(Finish::Cancelled));
            }
        }
    }

    /// One pass for as many as may run and have room; after a pass that was short of it, for one more than had.
    fn pass(&mut self, running: &mut VecDeque<Running<'_>>) {
        let mut count =
            running.len().min(self.options.most_running.max(1)).min(self.admitted.saturating_add(1));
        self.admitted = usize::MAX;
        let most = self.options.prompt_chunk.max(1);
        while count > 0 {
            let mut batch: Vec<_> =
                running.iter_mut().take(count).map(|running| running.entry(most)).collect();
            let Err(error) = Session::prefill_batch(&mut batch) else { break };
            if error.kind() == ErrorKind::Memory && self.make_room(running, &mut count) {
                self.admitted = count;
                continue;
            }
            // One at a time tells which of them is at fault; what one lacks must not end the others.
            if count > 1 {
                self.pass_apart(running, count);
            } else {
                self.end(running, 0, Err(error));
            }
            return;
        }
        (0..count).rev().for_each(|index| self.draw(running, index));
    }

    /// Passes the first `count` one by one.
    fn pass_apart(&mut self, running: &mut VecDeque<Running<'_>>, count: usize) {
        let most = self.options.prompt_chunk.max(1);
        for index in (0..count).rev() {
            match Session::prefill_batch(&mut [running[index].entry(most)]) {
                Ok(()) => self.draw(running, index),
                Err(error) => self.end(running, index, Err(error)),
            }
        }
    }

    /// Frees memory: that of an idle session, else the last of the pass waits; `false` where there is only the first.
    fn make_room(&mut self, running: &mut VecDeque<Running<'_>>, count: &mut usize) -> bool {
        let mut released = self.sessions.release_oldest();
        let waits = !released && *count > 1;
        if waits {
            *count -= 1;
            released = running[*count].holds();
            running[*count].release();
        }
        self.counters.released.fetch_add(u64::from(released), Ordering::Relaxed);
        released || waits
    }

    /// Draws tokens after a pass.
    fn draw(&mut self, running: &mut VecDeque<Running<'_>>, index: usize) {
        if let Some(outcome) = running[index].advance().transpose() {
            self.end(running, index, outcome);
        }
    }

    fn end(
        &mut self,
        running: &mut VecDeque<Running<'_>>,
        index: usize,
        outcome: Result<Finish, ModelError>,
    ) {
        let Some(ended) = running.remove(index) else { return };
        let (id, closing) = (ended.id, ended.closing);
        let session = ended.end(outcome);
        if !closing {
            self.sessions.put(id, session);
        }
    }
}

fn no_session(id: SessionId, busy: bool) -> ModelError {
    let (problem, remedy) = if busy {
        (format!("session {id} is still generating"), "wait for its stream to end, or cancel it")
    } else {
        (format!("there is no session {id}"), "begin a new one: it may have been closed, or unused for long")
    };
    ModelError::new(ErrorKind::Input, problem, remedy)
}
