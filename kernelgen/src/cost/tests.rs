use craftsman_isa::recorded;

use super::*;
use crate::selector::candidates;

fn key(name: &str) -> KernelKey {
    name.parse().unwrap()
}

fn at(machine: &str, key_name: &str, config: &str, residence: Residence) -> Prediction {
    let caps = recorded::by_name(machine).unwrap();
    let environment = Environment { residence, threads: 1 };
    predict(&key(key_name), &config.parse().unwrap(), &caps, environment).unwrap()
}

#[test]
fn products_are_counted_from_the_emission() {
    // 64 rows a panel, four planes a step: m k / 256 bytes of weights a vector, one product for each plane of it.
    let family_key = key("4096x1024-decode-tensor-a8");
    let config: KernelConfig = "avx512vnni-i2s.planes-4x1s4u2p0".parse().unwrap();
    let (backend, family) = config.parts().unwrap();
    let layout = config.layout(&family_key).unwrap();
    let mut counter = Counter::new(backend, &[(Field::Panels, layout.panels()), (Field::Tokens, 1)]);
    family.emit(&family_key, &config, &mut counter).unwrap();
    let regions = counter.finish();
    let touched: f64 = regions.iter().map(|region| region.weight_bytes).sum();
    let products: f64 = regions.iter().map(|region| region.counts[Kind::Multiply as usize]).sum();
    let steps = 4096.0 * 1024.0 / 64.0;
    assert!(products >= steps && products < steps * 1.05, "{products} for {steps}");
    assert_eq!(touched, 4096.0 * 1024.0 / 4.0);
}

#[test]
fn prefill_costs_more_than_decode_and_less_a_token() {
    let decode = at("zen3", "4096x4096-decode-tensor-a8", "avx2-i2s.masked-2x1s2u15p0", Residence::Cache);
    let prefill = at("zen3", "4096x4096-prefill-tensor-a8", "avx2-i2s.masked-1x2s1u15p0", Residence::Cache);
    let tokens = tokens(Batch::Prefill) as f64;
    assert!(prefill.computing > decode.computing * 10.0 && prefill.computing < decode.computing * tokens);
}

#[test]
fn memory_limits_decode_and_not_prefill() {
    let machine = "sapphire-rapids";
    let config = "avx512vnni-i2s.planes-4x1s4u2p2048";
    let from = |key, residence| at(machine, key, config, residence).bound;
    assert_eq!(from("4096x14336-decode-tensor-a8", Residence::Dram), Bound::Memory);
    assert_ne!(from("1024x1024-decode-tensor-a8", Residence::Cache), Bound::Memory);
    let prefill =
        at(machine, "4096x14336-prefill-tensor-a8", "avx512vnni-i2s.planes-1x6s1u2p0", Residence::Dram);
    assert_ne!(prefill.bound, Bound::Memory, "{prefill:?}");
}

#[test]
fn streams_are_seen_in_the_emission() {
    let main = |name: &str| {
        let (key, config) = (key("4096x14336-decode-tensor-a8"), name.parse::<KernelConfig>().unwrap());
        let (backend, family) = config.parts().unwrap();
        let mut counter = Counter::new(backend, &[(Field::Panels, 8), (Field::Tokens, 1)]);
        family.emit(&key, &config, &mut counter).unwrap();
        let regions = counter.finish();
        let most = regions.iter().max_by(|a, b| a.weight_bytes.total_cmp(&b.weight_bytes));
        most.map(Region::streams)
    };
    assert_eq!(main("avx512vnni-i2s.planes-4x1s4u2p2048"), Some(4));
    assert_eq!(main("avx512vnni-i2s.planes-4x1s2u2p2048"), Some(2));
    assert_eq!(main("avx512vnni-i2s.planes-4x1s1u2p2048"), Some(1));
}

#[test]
fn streams_help_where_memory_is_far() {
    let cycles =
        |config| at("sapphire-rapids", "4096x14336-decode-tensor-a8", config, Residence::Dram).cycles;
    assert!(
        cycles("avx512vnni-i2s.planes-4x1s4u2p2048") < 0.8 * cycles("avx512vnni-i2s.planes-4x1s1u2p2048")
    );
}

/// The first candidate on each recorded processor: one thread, weights in main memory or in cache.
#[test]
fn recorded_processors_get_sensible_kernels() {
    let first = |machine: &str, key_name: &str| {
        let caps = recorded::by_name(machine).unwrap();
        let config = candidates(&caps, &key(key_name))[0];
        format!("{}-{}.{} s{}", config.backend, config.family, config.variant, config.tile.streams)
    };
    for (machine, decode) in [
        ("bare-x86-64", "portable-"),
        ("haswell", "avx2-"),
        ("zen2", "avx2-"),
        ("zen3", "avx2-"),
        ("skylake-x", "avx512bw-"),
        ("alder-lake", "avxvnni-"),
        ("ice-lake", "avx512vnni-"),
        ("zen4", "avx512vnni-"),
        ("sapphire-rapids", "avx512vnni-base3.planes s4"),
    ] {
        let chosen = first(machine, "4096x14336-decode-tensor-a8");
        assert!(chosen.starts_with(decode), "{machine}: {chosen}");
    }
}

#[test]
fn every_candidate_is_predicted() {
    for machine in ["haswell", "sapphire-rapids", "zen4", "apple-m1"] {
        let caps = recorded::by_name(machine).unwrap();
        for name in ["77x131-decode-block128-a8", "640x2560-small-row-a8", "2560x640-prefill-tensor-a8-silu"]
        {
            let configs = candidates(&caps, &key(name));
            assert!(!configs.is_empty());
            let cycles = configs
                .iter()
                .map(|config| predict(&key(name), config, &caps, Environment::usual(&caps)).unwrap().cycles);
            let cycles: Vec<_> = cycles.collect();
            assert!(cycles.iter().all(|cycles| cycles.is_finite() && *cycles > 0.0), "{machine} {name}");
            assert!(cycles.is_sorted(), "{machine} {name}: {cycles:?}");
        }
    }
}
