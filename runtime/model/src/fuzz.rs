//! What hostile bytes are put through: the same code for the fuzz targets and for the test over a fixed corpus.
//!
//! Each function must end, in `Ok` or in an error, whatever it is given.

use crate::ModelError;
use crate::chat::{ChatTemplate, Message};
use crate::container::{Checkpoint, Gguf, fuzz as container};
use crate::tokenizer::Tokenizer;

/// A GGUF file: opened, every tensor decoded, its tokenizer made and used. The first error counts, but none ends the
/// rest.
pub fn gguf(data: &[u8]) -> Result<(), ModelError> {
    let gguf = Gguf::from_bytes("fuzz.gguf", data.to_vec())?;
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).and_then(|tokenizer| exercise(&tokenizer));
    let checkpoint = Checkpoint::from_gguf(gguf)?;
    let decoded = checkpoint.tensors().map(|info| match info.shape.len() {
        1 => checkpoint.vector(&info.name).map(drop),
        2 => checkpoint.matrix(&info.name).map(drop),
        _ => checkpoint.experts(&info.name).and_then(|experts| match experts.len().checked_sub(1) {
            Some(last) => checkpoint.expert(&info.name, last).map(drop),
            None => Ok(()),
        }),
    });
    // All of them are decoded before the first error is looked for.
    let decoded: Vec<_> = decoded.collect();
    decoded.into_iter().collect::<Result<(), _>>().and(tokenizer)
}

/// The header of a safetensors file.
pub fn safetensors(data: &[u8]) -> Result<(), ModelError> {
    container::safetensors(data)
}

/// `config.json`, and the same text as an index of shards.
pub fn config(data: &[u8]) -> Result<(), ModelError> {
    container::config(data)
}

/// `tokenizer.json`.
pub fn tokenizer(data: &[u8]) -> Result<(), ModelError> {
    exercise(&Tokenizer::from_json("tokenizer.json", data)?)
}

/// The source of a chat template.
pub fn chat_template(data: &[u8]) -> Result<(), ModelError> {
    let template = ChatTemplate::new(&String::from_utf8_lossy(data)).with_marks("<s>", "</s>");
    let conversation = [("system", "Be brief."), ("user", " 2 + 2? "), ("assistant", "4"), ("user", "<s>")];
    template.render(&conversation.map(|(role, content)| Message::new(role, content)), true).map(drop)
}

/// Encodes and decodes a little of everything.
fn exercise(tokenizer: &Tokenizer) -> Result<(), ModelError> {
    let text = "def f(x): # 12345 \u{E9}\u{4E2D}\u{1F980}\n\t  <|im_end|>";
    let ids = tokenizer.encode_control(text, true)?;
    let mut stream = tokenizer.stream();
    let streamed: String =
        tokenizer.encode(text, false)?.iter().chain(&ids).map(|&id| stream.push(id)).collect();
    drop((streamed, stream.finish(), tokenizer.ends()));
    Ok(())
}
