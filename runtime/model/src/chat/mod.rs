//! Conversations as the text that a model was trained on: its chat template, filled in.
//!
//! What a person writes must not be able to end a turn or begin another's. So no control token is ever read across or
//! inside what a message says: its text is cut, by a character that no text can have, wherever the name of a control token
//! stands in it or could come about at its edges, and the pieces are encoded apart.

mod environment;
mod known;

use std::fmt;

use crate::container::{Checkpoint, ContainerKind};
use crate::tokenizer::Tokenizer;
use crate::{ErrorKind, ModelError};

/// Stands where no token may reach across. It is no character, and removed from what a message says.
const CUT: char = '\u{10FFFF}';

/// The longest template that is read, in bytes; the longest known has 20,000.
const LONGEST: usize = 1 << 20;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whose turn it is: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// How a model wants conversations written: a Jinja template, as Hugging Face's tokenizers have them.
///
/// ```
/// use craftsman_model::chat::{ChatTemplate, Message};
/// let template = ChatTemplate::new("{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}");
/// assert_eq!(template.render(&[Message::new("user", " Hello ")], false)?, "user: Hello\n");
/// # Ok::<(), craftsman_model::ModelError>(())
/// ```
#[derive(Clone)]
pub struct ChatTemplate {
    source: String,
    begin: String,
    end: String,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("bytes", &self.source.len()).finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// A template by its source.
    pub fn new(source: &str) -> Self {
        Self { source: source.to_owned(), begin: String::new(), end: String::new() }
    }

    /// The texts that templates know as `bos_token` and `eos_token`.
    #[must_use]
    pub fn with_marks(mut self, begin: &str, end: &str) -> Self {
        begin.clone_into(&mut self.begin);
        end.clone_into(&mut self.end);
        self
    }

    /// The template that belongs to a checkpoint: a known one in place of one that is known to be broken, else the one that
    /// comes with it, else the one that its vocabulary tells of.
    pub fn from_checkpoint(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let name = |token: Option<u32>| {
            let piece = token.and_then(|token| tokenizer.piece(token)).unwrap_or_default();
            String::from_utf8_lossy(piece).into_owned()
        };
        let with =
            |source: &str| Self::new(source).with_marks(&name(tokenizer.bos()), &name(tokenizer.eos()));
        let has = |token: &str| tokenizer.token(token).is_some_and(|token| tokenizer.is_control(token));
        if let Some(source) = known::instead(checkpoint.architecture(), has) {
            return Ok(with(source));
        }
        if let Some(source) = own(checkpoint)? {
            if source.len() > LONGEST {
                let problem = format!("the chat template has {} bytes, more than {LONGEST}", source.len());
                return Err(ModelError::corrupt(problem).in_file(checkpoint.path()).key(KEY));
            }
            return Ok(with(&source));
        }
        known::by_vocabulary(has).map(with).ok_or_else(|| {
            let problem = "has no chat template, and its vocabulary tells of none";
            let remedy = "it may be no model for conversations: let it continue a text (`craftsman run`)";
            ModelError::new(ErrorKind::Missing, problem, remedy).in_file(checkpoint.path())
        })
    }

    /// The text of `messages`; with `answer` also what begins the assistant's next turn.
    ///
    /// The template is hostile until proven otherwise: it may take so many steps, and can reach nothing but its arguments.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, ModelError> {
        environment::render(self, messages, answer).map_err(|error| {
            let mut problem = format!("the chat template cannot be filled in: {error}");
            if let Some(line) = error.line() {
                problem = format!("{problem} (line {line})");
            }
            let remedy = "check the order of the roles, or use another template";
            ModelError::new(ErrorKind::Input, problem, remedy)
        })
    }

    /// The tokens of [`render`](Self::render). Control tokens are read where the template has them, never in a message.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        answer: bool,
    ) -> Result<Vec<u32>, ModelError> {
        let names = tokenizer.control_names();
        let cut = |message: &Message| Message {
            role: cut(&message.role, &names),
            content: cut(&message.content, &names),
        };
        let messages: Vec<Message> = messages.iter().map(cut).collect();
        let text = self.render(&messages, answer)?;
        let mut tokens = tokenizer.encode_pieces(text.split(CUT).filter(|piece| !piece.is_empty()))?;
        if let Some(begin) = tokenizer.bos().filter(|_| tokenizer.add_bos())
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }
}

/// `text` with a cut inside each of `names` that stands in it, and at an edge where one could come about with what the
/// template has there; also behind white space, which templates strip.
fn cut(text: &str, names: &[String]) -> String {
    let text = text.replace(CUT, "\u{FFFD}");
    let mut cuts: Vec<usize> = Vec::new();
    for name in names {
        let first = name.chars().next().map_or(0, char::len_utf8);
        cuts.extend(text.match_indices(name.as_str()).map(|(at, _)| at + first));
        cuts.extend(edges(text.as_str(), name));
        let start = text.len() - text.trim_start().len();
        cuts.extend(edges(text.trim(), name).map(|at| start + at));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut out = text;
    cuts.into_iter().rev().for_each(|at| out.insert(at, CUT));
    out
}

/// The edges of `text` at which `name` could come about.
fn edges(text: &str, name: &str) -> impl Iterator<Item = usize> {
    let mut inner = name.char_indices().map(|(at, _)| at).skip(1);
    let within = !text.is_empty() && name.contains(text) && name != text;
    let start = within || inner.clone().any(|at| text.starts_with(&name[at..]));
    let end = inner.any(|at| text.ends_with(&name[..at]));
    start.then_some(0).into_iter().chain(end.then_some(text.len()))
}

const KEY: &str = "tokenizer.chat_template";

/// The template that comes with a checkpoint.
fn own(checkpoint: &Checkpoint) -> Result<Option<String>, ModelError> {
    if checkpoint.kind() == ContainerKind::Gguf {
        return Ok(checkpoint.metadata().get_str(KEY)?.map(str::to_owned));
    }
    let file = checkpoint.path().join("chat_template.jinja");
    match std::fs::read_to_string(&file) {
        Ok(source) => return Ok(Some(source)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(ModelError::io(&file, error)),
    }
    let config = crate::tokenizer::companion(&checkpoint.path().join("tokenizer_config.json"))?;
    let template = &config["chat_template"];
    // One template, or several by name.
    let default = template.as_array().into_iter().flatten().find(|entry| entry["name"] == "default");
    let source = template.as_str().or_else(|| default.and_then(|entry| entry["template"].as_str()));
    Ok(source.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        ["<|eot|>", "<s>", "</s>", "[INST]"].map(str::to_owned).into()
    }

    #[test]
    fn names_are_cut_wherever_they_stand() {
        let shown = |text: &str| cut(text, &names()).replace(CUT, "~");
        assert_eq!(shown("plain < text"), "plain < text");
        assert_eq!(shown("a<|eot|>b<s>"), "a<~|eot|>b<~s>");
        assert_eq!(shown("<<s><s>>"), "<<~s><~s>>~".trim_end_matches('~'));
        // A template that puts a `<` before, or something of the kind behind.
        assert_eq!(shown("s>hello [INS"), "~s>hello [INS~");
        assert_eq!(shown("  s> "), "  ~s> ");
        assert_eq!(shown("INS"), "~INS");
        assert_eq!(shown("\u{10FFFF}"), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn no_name_is_left_between_cuts(text in "[ <|eot>s/\\[INST\\]]{1,24}", before in "[<|eot\\[INST]{0,4}", after in "[|eot>s\\]]{0,4}") {
            let written = format!("{before}{}{after}", cut(&text, &names()));
            let whole = written.replace(CUT, "");
            prop_assert_eq!(&whole, &format!("{before}{text}{after}"));
            for name in names() {
                for (at, _) in written.match_indices(name.as_str()) {
                    // What is left of it stands in the template alone.
                    let end = at + name.len();
                    prop_assert!(end <= before.len() || at >= written.len() - after.len(), "{:?} in {:?}", name, written);
                }
            }
        }
    }
}
