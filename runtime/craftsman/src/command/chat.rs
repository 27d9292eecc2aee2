//! `craftsman chat`: a conversation, a line a turn.

use std::io::{self, BufRead, IsTerminal, Write};

use craftsman::{
    ChatTemplate, Finish, GenerateOptions, Generation, KvOptions, KvPool, Message, Sampler, Session,
    Tokenizer, Tokens,
};
use serde::Serialize;

use super::run::{Stream, describe};
use super::{load, open};
use crate::cli::{Chat, Shared};
use crate::failure::Failure;

/// What a person may type instead of a message.
const COMMANDS: &[(&str, &str)] =
    &[("/reset", "begin a new conversation"), ("/help", "show this"), ("/exit", "end, as Ctrl-D does")];

/// What `--json` prints of every answer, in one line.
#[derive(Serialize)]
struct Row<'a> {
    role: &'a str,
    content: &'a str,
    finish: String,
    prompt_tokens: usize,
    kept_tokens: usize,
    tokens: usize,
    tokens_per_second: f64,
}

/// Answers the lines of standard input until there are no more.
pub fn run(arguments: &Chat, shared: &Shared) -> Result<(), Failure> {
    Sampler::new(shared.sampling())?;
    let checkpoint = open(arguments.model.as_deref(), shared)?;
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
    let template = ChatTemplate::from_checkpoint(&checkpoint, &tokenizer)?;
    let model = load(&checkpoint, shared)?;
    let kv = KvOptions { kind: shared.kv, ..KvOptions::default() };
    let system = arguments.system.iter().map(|text| Message::new("system", text.as_str())).collect();
    let mut conversation = Conversation {
        template: &template,
        tokenizer: &tokenizer,
        shared,
        session: KvPool::new(&model, kv).session(),
        beginning: system,
        messages: Vec::new(),
    };
    conversation.reset();
    let person = io::stdin().is_terminal() && !shared.json;
    if person {
        eprintln!("A line is a message. {}", help());
    }
    for line in lines(person) {
        let line = line?;
        match line.trim() {
            "" => {}
            "/exit" => break,
            "/reset" => conversation.reset(),
            "/help" => eprintln!("{}", help()),
            message => match conversation.answer(message) {
                Err(failure) if person => _ = failure.report(),
                answered => answered?,
            },
        }
    }
    Ok(())
}

/// The lines of standard input, each asked for where a person types them.
fn lines(person: bool) -> impl Iterator<Item = io::Result<String>> {
    let mut lines = io::stdin().lock().lines();
    std::iter::from_fn(move || {
        if person {
            eprint!("> ");
        }
        lines.next()
    })
}

fn help() -> String {
    let all: Vec<String> = COMMANDS.iter().map(|(name, what)| format!("{name}: {what}")).collect();
    all.join("; ")
}

/// What was said, and the session that has seen it.
struct Conversation<'a> {
    template: &'a ChatTemplate,
    tokenizer: &'a Tokenizer,
    shared: &'a Shared,
    session: Session,
    beginning: Vec<Message>,
    messages: Vec<Message>,
}

impl Conversation<'_> {
    fn reset(&mut self) {
        self.messages.clone_from(&self.beginning);
    }

    /// Says `message` and streams the model's turn. After an error it is as if nothing was said.
    fn answer(&mut self, message: &str) -> Result<(), Failure> {
        self.messages.push(Message::new("user", message));
        let generation = self.generate().inspect_err(|_| _ = self.messages.pop())?;
        self.messages.push(Message::new("assistant", generation.text));
        Ok(())
    }

    fn generate(&mut self) -> Result<Generation, Failure> {
        let prompt = self.template.encode(self.tokenizer, &self.messages, true)?;
        let kept = self.session.rewind(&prompt);
        let options = GenerateOptions {
            sampling: self.shared.sampling(),
            stop: self.shared.stops(),
            max_tokens: self.shared.max_tokens.unwrap_or(usize::MAX),
            ignore_end: false,
        };
        let mut stream = Stream::new(self.shared.json);
        let tokens = Tokens::new(&mut self.session, self.tokenizer, &prompt[kept..], &options)?;
        let generation = tokens.run(|piece| stream.pass_on(piece))?;
        stream.finish()?;
        self.report(&generation, kept)?;
        Ok(generation)
    }

    fn report(&self, generation: &Generation, kept: usize) -> Result<(), Failure> {
        let statistics = generation.statistics;
        if self.shared.json {
            let row = Row {
                role: "assistant",
                content: &generation.text,
                finish: describe(&generation.finish),
                prompt_tokens: kept + statistics.prompt_tokens,
                kept_tokens: kept,
                tokens: generation.tokens.len(),
                tokens_per_second: statistics.decode_rate(),
            };
            writeln!(io::stdout().lock(), "{}", serde_json::to_string(&row)?)?;
        } else if self.shared.verbose > 0 {
            eprintln!(
                "[{} tokens read, {kept} known; {} tokens, {:.1} tokens/s; ended by {}]",
                statistics.prompt_tokens,
                generation.tokens.len(),
                statistics.decode_rate(),
                describe(&generation.finish)
            );
        }
        if generation.finish == Finish::ContextFull {
            eprintln!("The model's context is full: /reset begins a new conversation.");
        }
        Ok(())
    }
}
