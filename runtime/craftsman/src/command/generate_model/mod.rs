//! `craftsman generate-model`: random weights in the shape of a known model, for measuring speed.
//!
//! The same seed gives the same file. Weights are made row by row while the file is written, so memory stays small.

mod shape;

use std::io::{self, Write};

use craftsman::QuantKind;
use craftsman::container::{Array, GgufWriter, TensorType, Value};
use craftsman_golden::format::{self, Format};
use craftsman_golden::{Scales, TernaryMatrix};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::cli::{GenerateModel, Shared};
use crate::failure::Failure;
use crate::progress::{self, Progress};
use shape::{Filling, Shape, Tensor};

/// Writes the model.
pub fn run(arguments: &GenerateModel, shared: &Shared) -> Result<(), Failure> {
    let shape = Shape::find(&arguments.shape).map_err(Failure::usage)?;
    let ternary = ternary_format(&arguments.format, shape)?;
    let tensors = shape.tensors();
    let total = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
    let bar = progress::bar("writing random weights", total);
    let mut writer = metadata(shape);
    for (index, tensor) in tensors.iter().enumerate() {
        let source = Source {
            tensor,
            format: format_of(tensor, ternary, shared.head),
            seed: stream(shared.seed, index),
            bar: &bar,
        };
        let kind = TensorType::named(source.format.name()).ok_or_else(|| unknown(source.format.name()))?;
        let write = move |out: &mut dyn Write| source.write(out);
        writer = writer.tensor(&tensor.name, &tensor.shape, kind, write);
    }
    writer.write(&arguments.out)?;
    Ok(())
}

/// A random stream of its own for each tensor, so that none depends on how another is filled.
fn stream(seed: u64, index: usize) -> u64 {
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index as u64)
}

fn unknown(format: &str) -> Failure {
    let known = TensorType::written().filter(|format| format.is_ternary()).map(Format::name);
    Failure::usage(format!(
        "unknown ternary format `{format}`; use one of {}",
        known.collect::<Vec<_>>().join(", ")
    ))
}

fn ternary_format(name: &str, shape: &Shape) -> Result<&'static Format, Failure> {
    let found = TensorType::written().find(|format| format.name().eq_ignore_ascii_case(name));
    let found = found.filter(|format| format.is_ternary());
    let found = found.ok_or_else(|| unknown(name))?;
    // With one scale behind all codes of a tensor the experts of a stack cannot be written one by one.
    if shape.experts.is_some() && found.has_tensor_scale() {
        return Err(Failure::usage(format!(
            "{} cannot hold the experts of {}; use --format tq2_0",
            found.name(),
            shape.name
        )));
    }
    Ok(found)
}

/// How a tensor is stored: ternary weights as `ternary` says, the head in half precision or as `head` says.
fn format_of(tensor: &Tensor, ternary: &'static Format, head: Option<&QuantKind>) -> &'static Format {
    let name = match tensor.filling {
        Filling::Trits => return ternary,
        Filling::Head => head.map_or("F16", |kind| kind.name),
        Filling::Numbers => "F16",
        Filling::Router | Filling::Ones => "F32",
    };
    format::by_name(name).unwrap_or(ternary)
}

/// The bytes of one tensor, made while they are written.
struct Source<'a> {
    tensor: &'a Tensor,
    format: &'static Format,
    seed: u64,
    bar: &'a Progress,
}

impl Source<'_> {
    fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let mut random = Pcg64Mcg::seed_from_u64(self.seed);
        let (&k, leading) = self.tensor.shape.split_last().unwrap_or((&1, &[]));
        // A stack is written expert by expert, numbers row by row, a ternary matrix as a whole.
        let rows: usize = leading.iter().product();
        let part = match self.tensor.filling {
            Filling::Trits => leading.last().copied().unwrap_or(1),
            _ => 1,
        };
        for _ in 0..rows / part {
            let bytes = match self.tensor.filling {
                Filling::Trits => self.format.encode_ternary(&trits(&mut random, part, k)),
                Filling::Ones => self.format.encode_f32(&vec![1.0; k]),
                Filling::Numbers | Filling::Head | Filling::Router => {
                    self.format.encode_f32(&numbers(&mut random, k))
                }
            };
            out.write_all(&bytes.map_err(io::Error::other)?)?;
            self.bar.advance((part * k) as u64);
        }
        Ok(())
    }
}

/// Random trits, half of them zero, under a scale that keeps activations near their size: about `1 / sqrt(k / 2)`,
/// rounded to a power of two, which every format holds exactly.
fn trits(random: &mut Pcg64Mcg, m: usize, k: usize) -> TernaryMatrix {
    const CODES: [i8; 4] = [-1, 0, 0, 1];
    let mut trits = Vec::with_capacity(m * k);
    while trits.len() < m * k {
        let bits = random.next_u64();
        trits.extend((0..32).map(|at| CODES[(bits >> (2 * at) & 3) as usize]));
    }
    trits.truncate(m * k);
    let scale = (-(k as f32 / 2.0).sqrt().log2().round()).exp2();
    TernaryMatrix::new(m, k, trits, Scales::Tensor(scale))
        .expect("the table's shapes are valid, and the scale finite")
}

/// Random numbers, evenly spread over [-1/16, 1/16).
fn numbers(random: &mut Pcg64Mcg, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random.next_u32() >> 8) as f32 / (1 << 27) as f32 - 0.0625).collect()
}

/// Metadata under the keys of GGUF, with a vocabulary of bytes and fillers.
fn metadata<'a>(shape: &Shape) -> GgufWriter<'a> {
    let key = |name: &str| format!("{}.{name}", shape.architecture);
    let size = |value: usize| Value::U32(value as u32);
    let mut writer = GgufWriter::new()
        .metadata("general.architecture", shape.architecture)
        .metadata("general.name", format!("random {}", shape.name))
        .metadata(&key("vocab_size"), size(shape.vocab))
        .metadata(&key("context_length"), size(shape.context))
        .metadata(&key("embedding_length"), size(shape.hidden))
        .metadata(&key("block_count"), size(shape.layers))
        .metadata(&key("feed_forward_length"), size(shape.ffn))
        .metadata(&key("attention.head_count"), size(shape.heads))
        .metadata(&key("attention.head_count_kv"), size(shape.kv_heads))
        .metadata(&key("attention.key_length"), size(shape.head_dim))
        .metadata(&key("attention.value_length"), size(shape.head_dim))
        .metadata(&key("attention.layer_norm_rms_epsilon"), Value::F32(shape.epsilon))
        .metadata(&key("rope.freq_base"), Value::F32(shape.theta))
        .metadata(&key("rope.dimension_count"), size(shape.head_dim));
    if let Some((count, used)) = shape.experts {
        writer = writer
            .metadata(&key("expert_count"), size(count))
            .metadata(&key("expert_used_count"), size(used))
            .metadata(&key("expert_feed_forward_length"), size(shape.ffn));
    }
    vocabulary(writer, shape.vocab)
}

/// The 256 bytes in GPT-2's spelling, fillers, and an end token: text goes in and comes out, without meaning.
fn vocabulary(writer: GgufWriter<'_>, size: usize) -> GgufWriter<'_> {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let bytes = (0..=255).map(|byte| byte_name(byte).to_string());
    let fillers = (256..size - 1).map(|index| format!("<filler {index}>"));
    let tokens = bytes.chain(fillers).chain(["<end>".to_string()]);
    let types: Vec<Value> =
        (1..=size).map(|index| Value::I32(if index == size { CONTROL } else { NORMAL })).collect();
    writer
        .metadata("tokenizer.ggml.model", "gpt2")
        .metadata("tokenizer.ggml.pre", "gpt-2")
        .metadata("tokenizer.ggml.tokens", Array::of_strings(tokens))
        .metadata("tokenizer.ggml.token_type", Array::of_scalars(&types).expect("all are i32"))
        .metadata("tokenizer.ggml.merges", Array::of_strings(Vec::<String>::new()))
        .metadata("tokenizer.ggml.eos_token_id", Value::U32(size as u32 - 1))
        .metadata("tokenizer.ggml.add_bos_token", Value::Bool(false))
}

/// How GPT-2's byte-level vocabulary spells a byte: printable Latin-1 as itself, the others from U+0100 on in order.
fn byte_name(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_as_gpt2_does() {
        assert_eq!(
            [byte_name(b'a'), byte_name(b' '), byte_name(b'\n'), byte_name(0xAD)],
            ['a', 'Ġ', 'Ċ', 'Ń']
        );
    }

    #[test]
    fn trits_come_from_their_seed() {
        let make = |seed| trits(&mut Pcg64Mcg::seed_from_u64(seed), 3, 128);
        assert_eq!(make(1).trits(), make(1).trits());
        assert_ne!(make(1).trits(), make(2).trits());
        assert_eq!(make(1).scales(), &Scales::Tensor(0.125));
    }
}
