//! A wrong instruction in an emitted kernel is caught, logged with a command that reproduces it, and the next
//! candidate runs.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use craftsman_golden::gemm::ternary_gemm;
use craftsman_golden::{Scales, TernaryMatrix};
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::{
    Activations, Code, KernelCompiler, KernelConfig, KernelError, KernelKey, OutputMatrix, candidates,
};

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Replaces the first mask that the code loads by one that keeps other bits. x86-64 code loads constants with
/// `mov eax, imm32`; where Cranelift put the masks in memory, the mask's bytes themselves are found. Code without a mask
/// returns at once.
fn plant(code: &mut Code) {
    let masks = [0x0C_u8, 0x03].map(|mask| code.bytes.windows(4).position(|window| window == [mask; 4]));
    match masks.into_iter().flatten().next() {
        Some(place) => code.bytes[place..place + 4].copy_from_slice(&[0x04; 4]),
        None => code.bytes[0] = 0xC3,
    }
}

fn weights(m: usize, k: usize) -> TernaryMatrix {
    let trits = (0..m * k).map(|i| (i * 7 % 3) as i8 - 1).collect();
    TernaryMatrix::new(m, k, trits, Scales::Tensor(0.25)).unwrap()
}

#[test]
fn a_wrong_kernel_is_caught_logged_and_replaced() {
    let log = Log::default();
    let writer = log.clone();
    // For the whole program: a subscriber of one thread would miss events that another test's thread met first.
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let caps = HardwareCaps::detect();
    let key: KernelKey = "200x90-decode-tensor-a8".parse().unwrap();
    let first = candidates(&caps, &key)[0];
    let filter = move |config: &KernelConfig, code: &mut Code| {
        if *config == first {
            plant(code);
        }
    };

    let w = weights(200, 90);
    let compiler = KernelCompiler::with_filter(caps, Box::new(filter));
    let linear = compiler.linear(&w).unwrap();

    assert_ne!(*linear.kernel(1).config(), first, "the wrong kernel must not run");
    let q: Vec<i8> = (0..90).map(|i| (i * 5 % 251) as i8).collect();
    let mut y = [0.0; 200];
    let mut x = Activations::from_quantized(&q, &[3.0], 90, linear.scales());
    linear.prepare(&mut x);
    linear.run(&x, &mut OutputMatrix::new(&mut y, 1, 200).whole());
    assert_eq!(y.as_slice(), ternary_gemm(&w, &q, &[3.0]), "the next candidate is right");
    let command = format!("kernelgen verify {key} --config {first} --seed");
    assert!(log.text().contains("ERROR") && log.text().contains(&command), "{}", log.text());
}

#[test]
fn when_every_kernel_is_wrong_none_runs() {
    let spoil = |_: &KernelConfig, code: &mut Code| plant(code);
    let compiler = KernelCompiler::with_filter(HardwareCaps::detect(), Box::new(spoil));
    let error = compiler.linear(&weights(50, 70)).unwrap_err();
    assert!(
        matches!(error, KernelError::NoCandidate { .. }) && error.to_string().contains("report"),
        "{error}"
    );
}
