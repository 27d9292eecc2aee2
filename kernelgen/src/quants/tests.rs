use super::*;
use crate::KernelCompiler;
use crate::verify::{Buffer, runner, words};
use crate::vocabulary::Field;
use craftsman_isa::recorded;
use proptest::prelude::*;

/// Random bytes with finite scales: codes, scales and minimums of every value.
fn any_matrix(kind: &'static QuantKind, m: usize, k: usize, seed: u64) -> QuantMatrix {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> = (0..m * k / kind.columns * kind.bytes).map(|_| random.next() as u8).collect();
    for superblock in bytes.chunks_exact_mut(kind.bytes) {
        // Halves with their highest exponent bit clear are below 2.
        kind.halves.iter().for_each(|&place| superblock[place + 1] &= 0xBF);
    }
    QuantMatrix::from_bytes(kind, m, k, bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn products_are_golden_s_on_every_backend_that_is_here(
        which in 0..quants::ALL.len(), m in 1_usize..200, spans in 1_usize..4, odd in any::<bool>(),
        tokens in 1_usize..6, threads in 1_usize..4, seed in any::<u64>(),
    ) {
        let kind = quants::ALL[which];
        let k = if kind.columns == 32 { 64 * spans + 32 * usize::from(odd) } else { 256 * spans };
        let matrix = any_matrix(kind, m, k, seed);
        let compiler = KernelCompiler::new(HardwareCaps::detect());
        let quantizer = compiler.quantizer(k, Granularity::Block(kind.block), 8).unwrap();
        let mut random = Random::new(seed);
        let (q, a) = trial_tokens(tokens, k, &mut random);
        let x = Activations::from_quantized(&q, &a, k, Granularity::Block(kind.block));
        let expected: Vec<u32> = quantized_gemm(&matrix, &q, &a).into_iter().map(f32::to_bits).collect();
        for backend in backend::ALL.iter().filter(|b| b.runs_on(compiler.caps()) && b.serves(&[])) {
            let geometry = Geometry { kind, lanes: backend.lanes(), m, k };
            let kernel = QuantKernel::on(*backend, geometry, compiler.caps(), &quantizer).unwrap();
            let linear = QuantLinear::pack(&matrix, Arc::new(kernel), threads).unwrap();
            let mut y = vec![f32::NAN; tokens * m];
            for mut part in OutputMatrix::new(&mut y, tokens, m).split(linear.panel_rows(), threads) {
                linear.run(&x, &mut part);
            }
            let found: Vec<u32> = y.into_iter().map(f32::to_bits).collect();
            prop_assert_eq!(&found, &expected, "{}", backend.name());
        }
    }
}

/// The backends that are not here, on other machines: the right bits, and nothing outside the buffers.
#[test]
fn every_assembler_multiplies_as_golden_does() {
    for machine in ["sapphire-rapids", "alder-lake", "skylake-x", "graviton3"] {
        let caps = recorded::by_name(machine).unwrap();
        let Some(mut machine) = runner(&caps) else { continue };
        let backends =
            backend::ALL.iter().filter(|b| b.name() != "portable" && b.runs_on(&caps) && b.serves(&[]));
        for backend in backends {
            for kind in quants::ALL {
                let (m, k, tokens) = (70, if kind.columns == 32 { 160 } else { 256 }, 2);
                let geometry = Geometry { kind, lanes: backend.lanes(), m, k };
                let mut random = Random::new(11);
                let matrix = any_matrix(kind, m, k, 5);
                let (q, a) = trial_tokens(tokens, k, &mut random);
                let x = Activations::from_quantized(&q, &a, k, Granularity::Block(kind.block));
                let used = &x.words()[..tokens * (1 + k / kind.block)];
                let mut buffers = [
                    Buffer::write(Field::Output, vec![0xA5; 4 * tokens * m]),
                    Buffer::read(Field::Weights, geometry.pack(&matrix, 1).unwrap().to_vec()),
                    Buffer::read(Field::Activations, x.q().iter().map(|q| q.cast_unsigned()).collect()),
                    Buffer::read(Field::TokenWords, words(used)),
                ];
                let counts =
                    [(Field::Panels, m / geometry.panel_rows()), (Field::Tail, 1), (Field::Tokens, tokens)];
                let code = code(*backend, geometry, &caps).unwrap();
                machine.call(&code, &mut buffers, &counts).unwrap();
                let expected: Vec<u32> =
                    quantized_gemm(&matrix, &q, &a).into_iter().map(f32::to_bits).collect();
                assert_eq!(buffers[0].bytes, words(&expected), "{} {}", backend.name(), kind.name);
            }
        }
    }
}

#[test]
fn memory_is_little_more_than_the_file_s() {
    for (kind, most) in quants::ALL.iter().zip([8.5, 6.63, 4.63]) {
        let geometry = Geometry { kind, lanes: 8, m: 128, k: 2560 };
        let bits = (geometry.panels() * geometry.panel_bytes() * 8) as f64 / (128.0 * 2560.0);
        assert!(bits <= most, "{}: {bits}", kind.name);
    }
}
