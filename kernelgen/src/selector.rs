//! Which kernels to try: processor and key in, configurations out, the best guess first.

use craftsman_isa::HardwareCaps;

use crate::backend;
use crate::config::KernelConfig;
use crate::family;
use crate::key::KernelKey;

/// Every way to build `key` that a processor with `caps` could run, the best guess first.
///
/// Backends come in the order of their table, so that a more capable tier goes before a lesser one; within a backend
/// the family's own order holds. Nothing is run, so this answers for processors that are not here.
///
/// ```
/// use craftsman_isa::recorded;
/// use craftsman_kernelgen::candidates;
/// let key = "2560x6912-decode-tensor-a8".parse()?;
/// let caps = recorded::by_name("zen4").unwrap();
/// assert_eq!(candidates(&caps, &key)[0].backend, "avx512vnni");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn candidates(caps: &HardwareCaps, key: &KernelKey) -> Vec<KernelConfig> {
    let backends = backend::ALL.iter().filter(|backend| backend.runs_on(caps));
    let configs = backends.flat_map(|backend| {
        let configs = family::ALL
            .iter()
            .flat_map(|family| family.configs(key, *backend).into_iter().map(move |config| (family, config)));
        configs.filter(|(family, config)| backend.serves(family.needs(config.variant)))
    });
    configs.map(|(_, config)| config).collect()
}
