//! Conversion holds one tensor at a time, above the mapped file.

mod counting;

use std::io::Write;
use std::path::Path;
use std::sync::PoisonError;

use craftsman_golden::{Scales, TernaryMatrix};
use craftsman_model::container::{Checkpoint, Conversion, GgufWriter, TensorType};

use counting::{TURN, peak_of};

/// The sides of a tensor, how many there are, and the weights of one.
const SHAPE: [usize; 2] = [512, 2048];
const TENSORS: usize = 32;
const WEIGHTS: usize = SHAPE[0] * SHAPE[1];

/// A model of ternary matrices and one embedding of many of their sizes.
fn write_model(path: &Path) {
    let trits = (0..WEIGHTS).map(|at| [1, 0, -1, 0][at % 4]).collect();
    let matrix = TernaryMatrix::new(SHAPE[0], SHAPE[1], trits, Scales::Tensor(0.5)).unwrap();
    let bytes = craftsman_golden::format::by_name("TQ2_0").unwrap().encode_ternary(&matrix).unwrap();
    let [tq2, f16] = ["TQ2_0", "F16"].map(|name| TensorType::named(name).unwrap());
    let mut writer = GgufWriter::new().metadata("general.architecture", "llama");
    for at in 0..TENSORS {
        writer = writer.tensor(&format!("blk.{at}.attn_q.weight"), &SHAPE, tq2, &bytes[..]);
    }
    let zeros = |out: &mut dyn Write| (0..16).try_for_each(|_| out.write_all(&vec![0; 2 * WEIGHTS]));
    writer.tensor("token_embd.weight", &[16 * SHAPE[0], SHAPE[1]], f16, zeros).write(path).unwrap();
}

#[test]
fn memory_is_that_of_one_tensor() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let [model, out] = ["model.gguf", "out.gguf"].map(|name| folder.path().join(name));
    write_model(&model);
    let checkpoint = Checkpoint::open(&model).unwrap();
    // Trits take a byte each, and the new bytes a quarter; numbers are made a million at a time, from f32.
    let slack = 1 << 18;
    for (target, most) in
        [("I2_S", 2 * WEIGHTS + slack), ("TQ1_0", 2 * WEIGHTS + slack), ("Q8_0", 8 * WEIGHTS + slack)]
    {
        let conversion = Conversion::to(target).unwrap();
        let (done, peak) = peak_of(|| conversion.write(&checkpoint, &out));
        done.unwrap();
        assert!(peak <= most, "{target}: {peak} bytes, {most} expected");
        println!("{target}: {peak} bytes");
    }
}
