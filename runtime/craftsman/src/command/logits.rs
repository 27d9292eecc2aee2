//! `craftsman logits`: the logits of every position as a safetensors file.

use std::io;
use std::path::Path;

use craftsman::{ModelError, Session, Tokenizer, write_aside};
use serde_json::json;

use super::{load, open, print_json};
use crate::cli::{Logits, Shared};
use crate::failure::Failure;

/// Computes and writes the logits.
pub fn run(arguments: &Logits, shared: &Shared) -> Result<(), Failure> {
    let checkpoint = open(Some(&arguments.model), shared)?;
    let tokens = match &arguments.text {
        Some(text) => {
            let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
            tokenizer.encode(text, tokenizer.add_bos())?
        }
        None => arguments.tokens.clone(),
    };
    let model = load(&checkpoint, shared)?;
    let vocabulary = model.config().vocab;
    write(&arguments.out, &mut model.session(), &tokens, vocabulary)?;
    if shared.json {
        return print_json(&json!({
            "file": arguments.out, "tokens": tokens, "shape": [tokens.len(), vocabulary],
        }));
    }
    eprintln!("{}: logits of {} tokens, vocabulary {vocabulary}", arguments.out.display(), tokens.len());
    Ok(())
}

/// Writes the file. Rows go to the disk as they are computed.
fn write(path: &Path, session: &mut Session, tokens: &[u32], vocabulary: usize) -> Result<(), ModelError> {
    let failed = |error| ModelError::io(path, error);
    write_aside(path, |out| {
        out.write_all(&header(tokens.len(), vocabulary)).map_err(failed)?;
        let mut written: io::Result<()> = Ok(());
        session.for_each_logits(tokens, |_, logits| {
            if written.is_ok() {
                written = logits.iter().try_for_each(|logit| out.write_all(&logit.to_le_bytes()));
            }
        })?;
        written.map_err(failed)?;
        let ids = tokens.iter().flat_map(|token| token.to_le_bytes());
        out.write_all(&ids.collect::<Vec<u8>>()).map_err(failed)
    })
}

/// The header of a safetensors file: its length, then JSON that names each tensor's type, shape and place, padded so
/// that the data is aligned. Format: huggingface/safetensors, README.
fn header(tokens: usize, vocabulary: usize) -> Vec<u8> {
    let logits = tokens * vocabulary * size_of::<f32>();
    let end = logits + tokens * size_of::<i32>();
    let json = json!({
        "logits": { "dtype": "F32", "shape": [tokens, vocabulary], "data_offsets": [0, logits] },
        "tokens": { "dtype": "I32", "shape": [tokens], "data_offsets": [logits, end] },
    });
    let mut text = json.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_by_the_safetensors_crate() {
        let mut bytes = header(2, 3);
        bytes.extend((0..6_u8).flat_map(|x| f32::from(x).to_le_bytes()));
        bytes.extend([7_i32, 8].iter().flat_map(|x| x.to_le_bytes()));
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("logits").unwrap().shape(), [2, 3]);
        assert_eq!(read.tensor("tokens").unwrap().data(), [7, 0, 0, 0, 8, 0, 0, 0]);
    }
}
