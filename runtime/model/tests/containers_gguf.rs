//! GGUF as a format: what is written is read back, and what contradicts itself is refused by name.

use std::io::Write;

use craftsman_model::container::{Array, Checkpoint, Gguf, GgufWriter, I2sRule, TensorType, Value};
use craftsman_model::{ErrorKind, ModelError};
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        (-1e30_f32..1e30).prop_map(Value::F32),
        (-1e300_f64..1e300).prop_map(Value::F64),
    ]
}

fn array() -> impl Strategy<Value = Value> {
    let scalars =
        (scalar(), 0_usize..20).prop_map(|(value, count)| Array::of_scalars(&vec![value; count]).unwrap());
    let strings = prop::collection::vec(any::<String>(), 0..10).prop_map(Array::of_strings);
    prop_oneof![scalars, strings].prop_map(Value::Array)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![scalar(), any::<String>().prop_map(Value::Str), array()]
}

/// A type with a shape that fits it.
fn tensor() -> impl Strategy<Value = (TensorType, Vec<usize>)> {
    let kind = prop::sample::select(vec![
        "F32",
        "F16",
        "BF16",
        "Q8_0",
        "TQ1_0",
        "TQ2_0",
        "I2_S",
        "BITNET_T158",
        "Q4_K",
        "Q2_0",
        "IQ1_BN",
        "MXFP4",
    ]);
    (kind, prop::collection::vec(1_usize..5, 0..4), 1_usize..4).prop_map(|(kind, mut shape, blocks)| {
        shape.push(256 * blocks);
        (TensorType::named(kind).unwrap(), shape)
    })
}

fn length(kind: TensorType, shape: &[usize]) -> usize {
    kind.bytes_of(shape).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        pairs in prop::collection::btree_map("[a-z.]{1,12}", value(), 0..8),
        tensors in prop::collection::btree_map("[a-z.0-9]{1,20}", tensor(), 0..6),
        alignment in prop::sample::select(vec![1_u32, 8, 32, 64, 4096]),
        seed in any::<u8>(),
    ) {
        let data = |at: usize, length: usize| -> Vec<u8> {
            (0..length).map(|byte| (byte * 31 + at) as u8 ^ seed).collect()
        };
        let mut writer = GgufWriter::new().metadata("general.alignment", alignment);
        for (key, value) in &pairs {
            writer = writer.metadata(key, value.clone());
        }
        for (at, (name, (kind, shape))) in tensors.iter().enumerate() {
            let bytes = data(at, length(*kind, shape));
            writer = match at % 2 {
                0 => writer.tensor(name, shape, *kind, bytes),
                _ => writer.tensor(name, shape, *kind, move |out: &mut dyn Write| {
                    bytes.chunks(7).try_for_each(|chunk| out.write_all(chunk))
                }),
            };
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("written.gguf");
        writer.write(&path).unwrap();
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing temporary is left");

        let read = Gguf::open(&path).unwrap();
        prop_assert_eq!(read.version(), 3);
        prop_assert_eq!(read.metadata().iter().count(), pairs.len() + 1);
        for (key, value) in &pairs {
            prop_assert_eq!(read.metadata().get(key), Some(value));
        }
        prop_assert_eq!(read.tensors().len(), tensors.len());
        for (at, (name, (kind, shape))) in tensors.iter().enumerate() {
            let tensor = read.tensor(name).unwrap();
            prop_assert_eq!((tensor.kind(), tensor.shape()), (*kind, &shape[..]));
            prop_assert_eq!(tensor.offset() % u64::from(alignment), 0);
            prop_assert_eq!(&read.data(tensor)[..], &data(at, length(*kind, shape))[..]);
        }
    }
}

const F32: &str = "F32";

fn kind(name: &str) -> TensorType {
    TensorType::named(name).unwrap()
}

#[test]
fn arrays_are_walked_by_type() {
    let strings = Array::of_strings(["a", "", "\u{4E2D}"]);
    assert_eq!(strings.strings().collect::<Vec<_>>(), ["a", "", "\u{4E2D}"]);
    assert_eq!((strings.len(), strings.scalars().count()), (3, 0));
    let numbers = Array::of_scalars(&[Value::I16(-1), Value::I16(7)]).unwrap();
    assert_eq!(numbers.scalars().collect::<Vec<_>>(), [Value::I16(-1), Value::I16(7)]);
    assert_eq!(numbers.strings().count(), 0);
    assert!(Array::of_scalars(&[Value::I16(1), Value::U16(1)]).is_none());
    assert!(Array::of_scalars(&[Value::from("text")]).is_none());
    assert!(Array::of_scalars(&[Value::I16(1), Value::Array(numbers)]).is_none());
}

#[test]
fn the_writer_refuses_what_no_reader_would_take() {
    let refused = |writer: GgufWriter<'_>| writer.into_bytes().unwrap_err().to_string();
    let four = || vec![0; 4];
    let cases = [
        (GgufWriter::new().metadata("a", 1_u32).metadata("a", 2_u32), "added twice"),
        (
            GgufWriter::new().tensor("t", &[1], kind(F32), four()).tensor("t", &[1], kind(F32), four()),
            "added twice",
        ),
        (GgufWriter::new().tensor("t", &[2], kind(F32), four()), "was given 4 bytes, needs 8"),
        (GgufWriter::new().tensor("t", &[], kind(F32), four()), "a shape of []"),
        (GgufWriter::new().tensor("t", &[1, 0], kind(F32), four()), "a shape of [1, 0]"),
        (GgufWriter::new().tensor("t", &[100], kind("TQ2_0"), four()), "do not divide"),
        (GgufWriter::new().tensor("t", &[64], kind("Q2_0"), four()), "was given 4 bytes, needs 18"),
        (GgufWriter::new().metadata("general.alignment", 3_u32), "no power of two"),
        (
            GgufWriter::new().tensor("t", &[1], kind(F32), |out: &mut dyn Write| out.write_all(&[0; 3])),
            "1 bytes too few",
        ),
        (
            GgufWriter::new().tensor("t", &[1], kind(F32), |out: &mut dyn Write| out.write_all(&[0; 5])),
            "1 bytes more",
        ),
    ];
    for (writer, expected) in cases {
        let message = refused(writer);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, "the one before").unwrap();
    let writer = GgufWriter::new().tensor("t", &[1], kind(F32), |_: &mut dyn Write| Ok(()));
    assert!(writer.write(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"the one before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn open(bytes: Vec<u8>) -> Result<Gguf, ModelError> {
    Gguf::from_bytes("made.gguf", bytes)
}

#[test]
fn versions_and_byte_orders_are_told_apart() {
    let bytes = GgufWriter::new().metadata("general.architecture", "llama").into_bytes().unwrap();
    let with = |version: [u8; 4]| open([&bytes[..4], &version, &bytes[8..]].concat());
    assert_eq!(with([2, 0, 0, 0]).unwrap().version(), 2);
    for (version, expected) in [
        ([1, 0, 0, 0], "version 1; convert"),
        ([0, 0, 0, 3], "is big-endian; convert it with"),
        ([4, 0, 0, 0], "version 4; use a file of version 2 or 3"),
        ([0, 0, 0, 0], "version 0"),
    ] {
        let error = with(version).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Unsupported, Some(4)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = open(b"PK\x03\x04 and more".to_vec()).unwrap_err().to_string();
    assert!(error.contains("made.gguf: at byte 0: starts with `PK\\x03\\x04`"), "{error}");
}

#[test]
fn a_shard_in_memory_and_files_without_architecture_are_refused() {
    let shard = shard(1, 3, 4, &[]).into_bytes().unwrap();
    let error = Checkpoint::from_gguf(open(shard).unwrap()).err().unwrap().to_string();
    assert!(
        error.contains("made.gguf: is shard 2 of 3 with 4 tensors in all, which alone is no model"),
        "{error}"
    );
    let bare = open(GgufWriter::new().into_bytes().unwrap()).unwrap();
    let error = Checkpoint::from_gguf(bare).err().unwrap().to_string();
    assert!(error.contains("made.gguf: key `general.architecture`: the metadata key is missing"), "{error}");
    let missing = Checkpoint::open(std::path::Path::new("no/such.gguf")).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::Io);
}

/// A shard as `llama-gguf-split` writes it, with tensors of these names.
fn shard(number: u16, count: u16, tensors: i32, names: &[&str]) -> GgufWriter<'static> {
    let mut writer = GgufWriter::new()
        .metadata("split.no", number)
        .metadata("split.count", count)
        .metadata("split.tensors.count", tensors);
    if number == 0 {
        writer = writer.metadata("general.architecture", "llama");
    }
    for name in names {
        let bytes: Vec<u8> = [f32::from(number); 8].iter().flat_map(|x| x.to_le_bytes()).collect();
        writer = writer.tensor(name, &[8], kind(F32), bytes);
    }
    writer
}

#[test]
fn any_shard_opens_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u16| folder.path().join(format!("m-{:05}-of-00003.gguf", number + 1));
    for (number, names) in [(0, &[][..]), (1, &["a", "b"]), (2, &["c"])] {
        shard(number, 3, 3, names).write(&path(number)).unwrap();
    }
    for number in 0..3 {
        let checkpoint = Checkpoint::open(&path(number)).unwrap();
        assert_eq!(checkpoint.architecture(), "llama");
        assert_eq!(checkpoint.tensors().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!([checkpoint.vector("b").unwrap()[7], checkpoint.vector("c").unwrap()[0]], [1.0, 2.0]);
        let wrong = checkpoint.dense("c").unwrap_err().to_string();
        assert!(wrong.contains("m-00003-of-00003.gguf: tensor `c`"), "{wrong}");
    }
}

#[test]
fn shards_that_do_not_belong_together_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u16| folder.path().join(format!("m-{number:05}-of-00002.gguf"));
    let message = |given: &std::path::Path| {
        Checkpoint::open(given).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let write = |number: u16, writer: GgufWriter<'_>| writer.write(&path(number)).unwrap();
    write(1, shard(0, 2, 2, &["a"]));
    let cases: [(&str, Option<GgufWriter<'_>>); 6] = [
        ("m-00002-of-00002.gguf: shard 2 of 2 is not there; fetch all shards", None),
        ("is shard 2 of 2 with 3 tensors in all, but `", Some(shard(1, 2, 3, &["b"]))),
        ("is shard 2 of 3 with 2 tensors in all, but `", Some(shard(1, 3, 2, &["b"]))),
        ("is no shard, but `", Some(GgufWriter::new())),
        ("the 2 shards hold 3 tensors, not 2", Some(shard(1, 2, 2, &["b", "c"]))),
        ("tensor `a`: stands in two shards", Some(shard(1, 2, 2, &["a"]))),
    ];
    for (expected, second) in cases {
        if let Some(second) = second {
            write(2, second);
        }
        let found = message(&path(1));
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let renamed = folder.path().join("other.gguf");
    std::fs::copy(path(1), &renamed).unwrap();
    assert!(message(&renamed).contains("its name does not end with `-00001-of-00002.gguf`"));
    shard(5, 2, 2, &[]).write(&renamed).unwrap();
    assert!(message(&renamed).contains("key `split.no`: says it is shard 5 of 2"));
    std::fs::write(&renamed, open_shard_without_number()).unwrap();
    assert!(message(&renamed).contains("key `split.no`: the metadata key is missing"));
}

fn open_shard_without_number() -> Vec<u8> {
    GgufWriter::new().metadata("split.count", Value::U16(2)).into_bytes().unwrap()
}

/// A file whose tensors have type 42 and the bytes that `format` says.
fn of_id_42(format: &str, shapes: &[[usize; 2]]) -> Vec<u8> {
    let mut writer = GgufWriter::new().metadata("general.architecture", "llama");
    for (at, shape) in shapes.iter().enumerate() {
        let bytes = vec![0x55; kind(format).bytes_of(shape).unwrap()];
        writer = writer.tensor(&format!("t{at}"), shape, kind(format), bytes);
    }
    let mut file = writer.into_bytes().unwrap();
    let [from, to] = [kind(format).id(), 42].map(|id| [&id.to_le_bytes()[..], &[0; 3]].concat());
    // In the rows of the table the id stands before the offset, whose upper bytes are zero.
    let rows = file.len() - shapes.len();
    for at in 0..rows {
        if file[at..].starts_with(&from[..4]) && file[at + 4 + 4..].starts_with(&[0; 4]) {
            file[at..at + 4].copy_from_slice(&to[..4]);
        }
    }
    file
}

#[test]
fn id_42_is_told_by_the_bytes_between_tensors() {
    for (format, scales) in [("Q2_0", 64), ("PQ2_0", 128)] {
        // The first is too small to tell by itself.
        let file = of_id_42(format, &[[1, 128], [16, 512], [3, 1280]]);
        let read = open(file).unwrap();
        assert!(read.tensors().iter().all(|tensor| tensor.kind() == kind(format)), "{format}");
        assert_eq!(kind(format).bytes(1, 128), Ok(128 / scales * (2 + scales / 4)));
    }
    let mut cut = of_id_42("Q2_0", &[[16, 512]]);
    cut.truncate(cut.len() - 64);
    assert!(open(cut).unwrap_err().to_string().contains("its 2304 bytes start at offset 0"));
}

#[test]
fn i2_s_of_arm_is_read_when_asked_for() {
    // Code 0 everywhere but in the highest bits of byte 16: under one rule weight 16, under the other weight 64.
    let mut bytes = vec![0x55; 64];
    bytes[16] = 0b1001_0101;
    bytes[32..36].copy_from_slice(&1.0_f32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arm.gguf");
    let writer = GgufWriter::new().metadata("general.architecture", "llama");
    writer.tensor("blk.0.attn_q.weight", &[1, 128], kind("I2_S"), bytes).write(&path).unwrap();
    for (rule, at) in [(I2sRule::Official, 16), (I2sRule::Arm, 64)] {
        let weights =
            Checkpoint::open_with(&path, rule).unwrap().matrix("blk.0.attn_q.weight").unwrap().to_f32();
        assert_eq!(weights.iter().position(|&weight| weight == 1.0), Some(at));
    }
}
