//! Hostile GGUF files: each ends in a model or in a typed error that names the file, never in a panic, and never takes
//! more memory than the file's size and 64 MiB.
//!
//! The corpus is made here, from one small valid file: cut off, bits turned, every field set to extremes, and files
//! that lie in one chosen place. Files that a fuzzer found are in `tests/fixtures/hostile`.

mod containers_support;
mod counting;

use std::sync::PoisonError;

use counting::{TURN, peak_of};
use craftsman_model::ModelError;
use craftsman_model::container::{Array, GgufWriter, TensorType, Value};
use craftsman_model::fuzz;

const ALLOWANCE: usize = 64 << 20;

/// Runs `body` on `data` and checks what it allocated.
fn measured(name: &str, data: &[u8], body: fn(&[u8]) -> Result<(), ModelError>) -> Result<(), ModelError> {
    measured_within(ALLOWANCE, name, data, body)
}

fn measured_within(
    allowance: usize,
    name: &str,
    data: &[u8],
    body: fn(&[u8]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let (result, peak) = peak_of(|| body(data));
    assert!(peak <= data.len() + allowance, "{name}: {peak} bytes allocated for {} of file", data.len());
    if let Err(error) = &result {
        assert!(error.file().is_some() && !error.remedy().is_empty(), "{name}: {error}");
    }
    result
}

/// A small file with every kind of value, every type of tensor that has no table of shapes, and a tokenizer.
fn valid() -> Vec<u8> {
    let scalars = [Value::U8(1), Value::I8(-1), Value::U16(1), Value::I16(-1), Value::U64(1), Value::I64(-1)];
    let others = [Value::F32(1.0), Value::F64(1.0), Value::Bool(true), Value::from("text")];
    let mut writer = GgufWriter::new()
        .metadata("general.architecture", "llama")
        .metadata("general.alignment", 32_u32)
        .metadata("tokenizer.ggml.model", "gpt2")
        .metadata("tokenizer.ggml.pre", "gpt-2")
        .metadata("tokenizer.ggml.tokens", Array::of_strings(["a", "b", "ab", "<|im_end|>"]))
        .metadata(
            "tokenizer.ggml.token_type",
            Array::of_scalars(&[1, 1, 1, 3].map(Value::I32)).unwrap_or_else(|| unreachable!()),
        )
        .metadata("tokenizer.ggml.merges", Array::of_strings(["a b"]))
        .metadata("tokenizer.ggml.bos_token_id", 0_u32);
    for (at, value) in scalars.into_iter().chain(others).enumerate() {
        writer = writer.metadata(&format!("x.{at}"), value);
    }
    let tensors: [(&str, &[usize], &str); 16] = [
        ("output_norm.weight", &[8], "F32"),
        ("token_embd.weight", &[4, 8], "F16"),
        ("blk.0.attn_q.weight", &[2, 256], "TQ2_0"),
        ("blk.0.attn_k.weight", &[1, 256], "TQ1_0"),
        ("blk.0.attn_v.weight", &[4, 64], "I2_S"),
        ("blk.0.ffn_up_exps.weight", &[2, 1, 256], "TQ2_0"),
        ("blk.0.ffn_down.weight", &[2, 32], "Q8_0"),
        ("blk.1.attn_q.weight", &[1, 256], "BITNET_T158"),
        ("blk.1.attn_k.weight", &[2, 64], "Q2_0"),
        ("blk.1.attn_v.weight", &[2, 64], "IQ1_BN"),
        ("blk.1.attn_output.weight", &[2, 64], "IQ2_BN"),
        ("blk.1.ffn_up.weight", &[1, 256], "IQ1_S"),
        ("blk.1.ffn_gate.weight", &[1, 256], "Q4_K"),
        ("blk.1.ffn_down.weight", &[1, 256], "Q5_K"),
        ("blk.2.ffn_up.weight", &[1, 256], "Q6_K"),
        ("blk.2.ffn_down.weight", &[2, 32], "Q4_0"),
    ];
    for (name, shape, kind) in tensors {
        let kind = TensorType::named(kind).unwrap();
        let length = kind.bytes_of(shape).unwrap();
        // 0x15 holds valid codes of every ternary type.
        writer = writer.tensor(name, shape, kind, vec![0x15; length]);
    }
    writer.into_bytes().unwrap()
}

/// Where the tensor data starts: the least offset behind which only weights follow.
fn header_len(file: &[u8]) -> usize {
    let gguf = craftsman_model::container::Gguf::from_bytes("valid", file.to_vec()).unwrap();
    gguf.tensors().iter().map(|tensor| tensor.offset() as usize).min().unwrap()
}

/// Steps of a small generator (splitmix64), so that the corpus is the same everywhere.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as usize
}

fn overwritten(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    let end = (at + bytes.len()).min(out.len());
    out[at..end].copy_from_slice(&bytes[..end - at]);
    out
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let file = valid();
    let header = header_len(&file);
    let mut out: Vec<(String, Vec<u8>)> =
        (0..file.len()).step_by(13).map(|at| (format!("cut at {at}"), file[..at].to_vec())).collect();
    let mut state = 1;
    for number in 0..400 {
        let mut flipped = file.clone();
        for _ in 0..=number % 4 {
            flipped[next(&mut state) % header] ^= 1 << (next(&mut state) % 8);
        }
        out.push((format!("flip {number}"), flipped));
    }
    let extremes =
        [0, 1, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 60, i64::MAX as u64, u64::MAX - 7, u64::MAX];
    for at in 4..header {
        let value: u64 = extremes[next(&mut state) % extremes.len()];
        out.push((format!("u64 {value:#x} at {at}"), overwritten(&file, at, &value.to_le_bytes())));
        let value = next(&mut state) as u32 % 160;
        out.push((format!("u32 {value} at {at}"), overwritten(&file, at, &value.to_le_bytes())));
    }
    for _ in 0..100 {
        let (from, to) = (next(&mut state) % header, next(&mut state) % header);
        let length = 8 + next(&mut state) % 24;
        let chunk = file[from..(from + length).min(file.len())].to_vec();
        out.push((format!("{length} bytes from {from} to {to}"), overwritten(&file, to, &chunk)));
    }
    let found = std::fs::read_dir(containers_support::fixture("hostile")).into_iter().flatten().flatten();
    out.extend(found.map(|entry| (entry.path().display().to_string(), std::fs::read(entry.path()).unwrap())));
    out
}

/// What the fuzzer starts from is the file that the corpus here is made of.
#[test]
fn the_seed_has_every_type() {
    let path = containers_support::fixture("hostile/every-type.gguf");
    let file = valid();
    if std::env::var_os("CRAFTSMAN_BLESS").is_some() {
        std::fs::write(&path, &file).unwrap();
    }
    let command = "CRAFTSMAN_BLESS=1 cargo test -p craftsman-model --test containers_hostile";
    assert!(
        std::fs::read(&path).is_ok_and(|seed| seed == file),
        "the seed is old; write it anew with {command}"
    );
}

#[test]
fn the_whole_corpus_ends_well() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    measured("valid", &valid(), fuzz::gguf).unwrap();
    let corpus = corpus();
    assert!(corpus.len() >= 200);
    let refused = corpus.iter().filter(|(name, file)| measured(name, file, fuzz::gguf).is_err()).count();
    assert!(refused * 2 > corpus.len(), "only {refused} of {} were refused", corpus.len());
}

/// A header made by hand: pairs and tensors as bytes, their counts as claimed.
fn header(tensors: u64, pairs: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend(tensors.to_le_bytes());
    out.extend(pairs.to_le_bytes());
    for part in rest {
        out.extend_from_slice(part);
    }
    out
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn tensor(name: &str, sizes: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name.as_bytes());
    out.extend((sizes.len() as u32).to_le_bytes());
    for size in sizes {
        out.extend(size.to_le_bytes());
    }
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

fn pair(key: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn array(element: u32, count: u64) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes()].concat()
}

#[test]
fn each_lie_is_named() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let data = [0; 4096];
    let one = |sizes: &[u64], kind, offset| header(1, 0, &[&tensor("t", sizes, kind, offset), &data]);
    let two = |a: u64, b: u64| header(2, 0, &[&tensor("a", &[64], 0, a), &tensor("b", &[64], 0, b), &data]);
    let kv = |kind, value: &[u8]| header(0, 1, &[&pair(b"k", kind, value), &data]);
    let alignment = |value: u32| header(0, 1, &[&pair(b"general.alignment", 4, &value.to_le_bytes()), &data]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("`t` at byte 24: its data starts at offset 1152921504606846976", one(&[8], 0, 1 << 60)),
        ("`t` at byte 24: its data starts at offset 18446744073709551584", one(&[8], 0, u64::MAX - 31)),
        ("`t` at byte 24: its offset 8 is not aligned to 32", one(&[8], 0, 8)),
        ("`t` at byte 24: its 32768 bytes start at offset 0", one(&[8192], 0, 0)),
        ("`t` at byte 24: F32: a ternary matrix of 1099511627776 x", one(&[1 << 40, 1 << 40], 0, 0)),
        ("`t` at byte 24: ", one(&[1 << 62, 2], 0, 0)),
        ("`t` at byte 24: TQ2_0 stores blocks of 256 weights", one(&[100], 35, 0)),
        ("a dimension of 0 is impossible", one(&[0], 0, 0)),
        ("has 0 dimensions", one(&[], 0, 0)),
        ("has 5 dimensions", one(&[1; 5], 0, 0)),
        ("tensor `t` at byte 45: has the unknown type 31", one(&[8], 31, 0)),
        ("`a` at byte 24: its data overlaps that of `b`", two(0, 32)),
        ("its data overlaps that of", two(0, 0)),
        ("the name stands in the tensor table twice", {
            header(2, 0, &[&tensor("t", &[8], 0, 0), &tensor("t", &[8], 0, 32), &data])
        }),
        ("claims 18446744073709551615 tensors", header(u64::MAX, 0, &[&data])),
        ("claims 1152921504606846976 metadata pairs, but the rest of the file can hold at most 315", {
            header(0, 1 << 60, &[&data])
        }),
        ("key `k` at byte 41: claims 1152921504606846976 array elements", kv(9, &array(4, 1 << 60))),
        ("claims 1152921504606846976 array elements", kv(9, &array(8, 1 << 60))),
        ("9 is no type of a metadata value (arrays of arrays do not exist)", kv(9, &array(9, 1))),
        ("13 is no type of a metadata value", kv(13, &[0; 8])),
        ("a boolean holds 2", kv(7, &[2])),
        ("a string value needs 18446744073709551615 bytes", kv(8, &u64::MAX.to_le_bytes())),
        ("a string value is not UTF-8", kv(8, &text(b"\xFF\xFE"))),
        ("a key is not UTF-8", header(0, 1, &[&pair(b"\xFF", 4, &data)])),
        ("a key claims 65536 bytes", header(0, 1, &[&text(&[b'k'; 65536]), &data])),
        ("a tensor's name claims 129 bytes", header(1, 0, &[&text(&[b'n'; 129]), &data])),
        ("key `k` at byte 38: the key stands in the file twice", {
            header(0, 2, &[&pair(b"k", 0, &[1]), &pair(b"k", 0, &[2]), &data])
        }),
        ("an alignment of 0 is no power of two", alignment(0)),
        ("an alignment of 48 is no power of two", alignment(48)),
        ("the file ends before the data", header(1, 0, &[&tensor("t", &[8], 0, 0)])),
        ("TL1 is laid out by a table for each shape, and 8 x 8 is in none", one(&[8, 8], 38, 0)),
        ("MXFP4 stores blocks of 32 weights, which 8 are not a multiple of", one(&[8, 8], 39, 0)),
        ("the magic number needs 4 bytes, but the file ends after 0", Vec::new()),
    ];
    for (expected, file) in cases {
        let error = measured(expected, &file, fuzz::gguf).unwrap_err().to_string();
        assert!(error.starts_with("fuzz.gguf: ") && error.contains(expected), "{expected}:\n{error}");
    }
}

#[test]
fn tables_at_their_limits_stay_in_bounds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let tensors = 1 << 17;
    let rows: Vec<u8> = (0..tensors).flat_map(|at| tensor(&format!("{at:x}"), &[1; 4], 0, at * 32)).collect();
    let file = header(tensors, 0, &[&rows, &vec![0; 32 + 32 * tensors as usize]]);
    assert!(measured("tensors", &file, fuzz::gguf).unwrap_err().to_string().contains("general.architecture"));
    let pairs = 1 << 16;
    let rows: Vec<u8> = (0..pairs).flat_map(|at| pair(format!("{at:x}").as_bytes(), 0, &[1])).collect();
    assert!(measured("pairs", &header(0, pairs, &[&rows]), fuzz::gguf).is_err());
    let mut strings = array(8, 1 << 22);
    strings.resize(strings.len() + (8 << 22), 0);
    let rows = [
        pair(b"general.architecture", 8, &text(b"llama")),
        pair(b"tokenizer.ggml.model", 8, &text(b"gpt2")),
        pair(b"tokenizer.ggml.tokens", 9, &strings),
    ];
    let file = header(0, 3, &[&rows.concat()]);
    assert!(measured("strings", &file, fuzz::gguf).unwrap_err().to_string().contains("4194304 strings"));
}

/// The maps of the `tokenizers` crate take some 300 bytes a token: a vocabulary as large as they come is the one thing
/// that may take more than the allowance, and never twice of it.
#[test]
fn a_vocabulary_at_its_limit_stays_in_bounds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Numbers in hexadecimal, each of which is cut into two at every place: all merges differ.
    let number = |at: u32| format!("{:x}", at + 16);
    let tokens = (0..1_u32 << 18).map(|at| if at < 16 { format!("{at:x}") } else { number(at - 16) });
    let cut = |at: u32, place: u32| {
        let text = number(at);
        let (left, right) = text.split_at_checked(place as usize + 1)?;
        (!right.is_empty() && !right.starts_with('0')).then(|| format!("{left} {right}"))
    };
    let merges =
        (0..(1 << 18) - 16).flat_map(|at| (0..4).filter_map(move |place| cut(at, place))).take(1 << 19);
    let file = GgufWriter::new()
        .metadata("general.architecture", "llama")
        .metadata("tokenizer.ggml.model", "gpt2")
        .metadata("tokenizer.ggml.tokens", Array::of_strings(tokens))
        .metadata("tokenizer.ggml.merges", Array::of_strings(merges))
        .into_bytes()
        .unwrap();
    measured_within(2 * ALLOWANCE, "vocabulary", &file, fuzz::gguf).unwrap();
}

/// A mutated text for the readers of JSON.
fn texts(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let (text, mut state) = (text.as_bytes().to_vec(), 7);
    let cuts: Vec<Vec<u8>> = (0..text.len()).step_by(5).map(|at| text[..at].to_vec()).collect();
    cuts.into_iter().chain((0..300).map(move |_| {
        let mut out = text.clone();
        for _ in 0..=next(&mut state) % 3 {
            let at = next(&mut state) % out.len();
            out[at] = br#"0123456789-e.{}[]",:ax"#[next(&mut state) % 22];
        }
        out
    }))
}

#[test]
fn hostile_folders_end_well() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let config = r#"{"model_type": "qwen3_moe", "hidden_size": 64, "num_attention_heads": 4, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "eos_token_id": [1, 2], "weight_map": {"a": "b"},
        "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]}}"#;
    for text in texts(config) {
        drop(fuzz::config(&text));
    }
    let tokenizer = r#"{"version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true}, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": [["a", "b"]]}}"#;
    for text in texts(tokenizer) {
        drop(fuzz::tokenizer(&text));
    }
    let header = r#"{"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "U8", "shape": [4], "data_offsets": [16, 20]}}"#;
    let file = |header: &[u8]| [&(header.len() as u64).to_le_bytes(), header, &[0; 20]].concat();
    fuzz::safetensors(&file(header.as_bytes())).unwrap();
    for text in texts(header) {
        drop(fuzz::safetensors(&file(&text)));
    }
    let template = "{%- for m in messages %}{{ '<|' + m.role + '|>' }}{% if loop.first %}{{ m['content'][1:] | trim }}{% endif %}\
        {% generation %}x{% endgeneration %}{% endfor -%}{% set ns = namespace(a=[1, 2]) %}{{ ns.a | tojson(indent=2) }}";
    fuzz::chat_template(template.as_bytes()).unwrap();
    for text in texts(template) {
        drop(fuzz::chat_template(&text));
    }
    // Sizes whose sum with the header's overflows.
    let huge = r#"{"a": {"dtype": "U8", "shape": [18446744073709551615], "data_offsets": [0, 18446744073709551615]}}"#;
    assert!(fuzz::safetensors(&file(huge.as_bytes())).is_err());
}
