//! Kernels for WebAssembly, run by wasmtime: against golden, with what lies between the buffers looked at.

use std::collections::HashSet;

use craftsman_golden::Granularity;
use craftsman_isa::recorded;
use craftsman_kernelgen::aot;
use craftsman_kernelgen::simulate::Access;
use craftsman_kernelgen::vocabulary::{Arguments, Field};
use craftsman_kernelgen::{
    Batch, Buffer, Code, Epilogue, KernelConfig, KernelKey, Runner, Tile, VERIFY_SEED, candidates,
    verify_elsewhere,
};
use wasmtime::{Config, Engine, Instance, Memory, MemoryType, Module, Store, Val};

/// An engine, and how many calls it was asked for.
struct Wasmtime {
    engine: Engine,
    calls: usize,
}

impl Wasmtime {
    fn new() -> Self {
        let mut config = Config::new();
        config.wasm_relaxed_simd(true);
        Self { engine: Engine::new(&config).unwrap(), calls: 0 }
    }
}

const PAGE: usize = 65536;
/// Bytes between buffers, which nobody may write.
const GAP: usize = 64;
const UNTOUCHED: u8 = 0xC3;

/// Linear memory as it grows.
struct Layout(Vec<u8>);

impl Layout {
    /// Adds `bytes` and a gap; returns their address.
    fn add(&mut self, bytes: &[u8]) -> usize {
        let address = self.0.len();
        self.0.extend(bytes);
        self.0.resize((self.0.len() + GAP).next_multiple_of(GAP), UNTOUCHED);
        address
    }
}

impl Runner for Wasmtime {
    fn call(&mut self, code: &Code, buffers: &mut [Buffer], counts: &[(Field, usize)]) -> Result<(), String> {
        let mut layout = Layout(vec![UNTOUCHED; GAP]);
        let places: Vec<_> = buffers.iter().map(|buffer| layout.add(&buffer.bytes)).collect();
        let scratch = layout.add(&vec![0xA5; code.scratch]);
        let addresses = buffers.iter().zip(&places).map(|(buffer, &place)| (buffer.field, place));
        let values = addresses.chain([(Field::Scratch, scratch)]).chain(counts.iter().copied());
        let arguments = Arguments::encode(values.map(|(field, value)| (field, value as u64)));
        let arguments_at = layout.add(&arguments);

        let module = aot::module([("kernel", &code.bytes[..])].into_iter());
        let said = |error: wasmtime::Error| format!("{error:?}");
        let module = Module::new(&self.engine, module).map_err(said)?;
        let mut store = Store::new(&self.engine, ());
        let pages = layout.0.len().div_ceil(PAGE) as u32;
        let memory = Memory::new(&mut store, MemoryType::new(pages, None)).map_err(said)?;
        memory.write(&mut store, 0, &layout.0).unwrap();
        let instance = Instance::new(&mut store, &module, &[memory.into()]).map_err(said)?;
        let kernel = instance.get_func(&mut store, "kernel").ok_or("no kernel")?;
        kernel.call(&mut store, &[Val::I32(arguments_at as i32)], &mut []).map_err(said)?;
        self.calls += 1;

        let after = &memory.data(&store)[..layout.0.len()];
        let written = |at: usize| {
            let within = |place: usize, length: usize| (place..place + length).contains(&at);
            let buffer = buffers.iter().zip(&places).any(|(buffer, &place)| {
                buffer.access == Access::ReadWrite && within(place, buffer.bytes.len())
            });
            buffer || within(scratch, code.scratch) || within(arguments_at, arguments.len())
        };
        let outside = (0..after.len()).find(|&at| after[at] != layout.0[at] && !written(at));
        if let Some(at) = outside {
            return Err(format!("a write outside of the buffers, at {at}"));
        }
        for (buffer, place) in buffers.iter_mut().zip(places) {
            let length = buffer.bytes.len();
            buffer.bytes.copy_from_slice(&after[place..place + length]);
        }
        Ok(())
    }
}

/// The candidates of WebAssembly, one of those that differ in unrolling and prefetch only.
fn representatives(machine: &str, key: &KernelKey) -> Vec<KernelConfig> {
    let mut seen = HashSet::new();
    let mut configs = candidates(&recorded::by_name(machine).unwrap(), key);
    configs.retain(|config| {
        let tile = Tile { unroll: 0, prefetch: 0, ..config.tile };
        config.backend != "portable" && seen.insert(KernelConfig { tile, ..*config })
    });
    configs
}

/// Runs the representatives for `keys`; says how many of what there were.
fn check(machine: &str, keys: &[KernelKey]) {
    let caps = recorded::by_name(machine).unwrap();
    let mut engine = Wasmtime::new();
    let (mut kernels, mut failed) = (Vec::new(), Vec::new());
    for key in keys {
        for config in representatives(machine, key) {
            kernels.push((config.backend, config.family, config.variant));
            let outcome = verify_elsewhere(key, &config, &caps, VERIFY_SEED, &mut engine);
            failed.extend(outcome.err().map(|error| format!("{key} {config}: {error}")));
        }
    }
    println!("{} calls", engine.calls);
    for way in kernels.iter().collect::<HashSet<_>>() {
        println!("{way:?}: {}", kernels.iter().filter(|kernel| *kernel == way).count());
    }
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), kernels.len());
}

#[test]
fn every_family_at_every_edge() {
    const SCALES: [Granularity; 3] = [Granularity::Tensor, Granularity::Row, Granularity::Block(64)];
    let shapes = [(1, 4), (15, 61), (16, 130), (33, 64), (81, 67)];
    let keys: Vec<_> = SCALES
        .into_iter()
        .flat_map(|scales| Batch::ALL.map(|batch| (scales, batch)))
        .zip(shapes.iter().cycle())
        .map(|((scales, batch), &(m, k))| KernelKey::new(m, k, batch, scales))
        .collect();
    check("browser", &keys);
    // Whatever factors of eight bits would do, ours have seven.
    check("relaxed-browser", &keys[..4]);
}

#[test]
fn every_epilogue_and_four_bits() {
    let scales = [Granularity::Tensor, Granularity::Row, Granularity::Block(64)];
    let mut keys: Vec<_> = [Epilogue::Add, Epilogue::Silu, Epilogue::Relu2]
        .into_iter()
        .zip(Batch::ALL.into_iter().zip(scales))
        .map(|(epilogue, (batch, scales))| KernelKey { epilogue, ..KernelKey::new(37, 70, batch, scales) })
        .collect();
    keys.push(KernelKey { activation_bits: 4, ..KernelKey::new(34, 66, Batch::Small, Granularity::Row) });
    check("browser", &keys);
}

#[test]
fn a_module_has_the_kernels_of_several_shapes() {
    let caps = recorded::by_name("browser").unwrap();
    let functions: Vec<_> = ["64x256-decode-tensor-a8", "256x64-prefill-row-a8-add"]
        .iter()
        .map(|key| {
            let key: KernelKey = key.parse().unwrap();
            let config = representatives("browser", &key)[0];
            aot::Functions::new(&key, &config, &caps, &aot::Functions::default_name(&key)).unwrap()
        })
        .collect();
    let bytes = aot::write(&functions, aot::Target::by_name("wasm").unwrap()).unwrap();
    let module = Module::new(&Engine::default(), bytes).unwrap();
    let names: Vec<_> = module.exports().map(|export| export.name().to_owned()).collect();
    for name in ["craftsman_64x256_decode_tensor_a8", "craftsman_256x64_prefill_row_a8_add_quantize"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
}
