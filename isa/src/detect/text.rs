//! Reading what Linux writes about processors, as plain functions of text.

use crate::{CpuIdentity, Feature, FeatureSet, Vendor};

/// A size such as `32K`, `1024K` or `12M`, in bytes.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// A list of processors such as `0-3,8,10-11`, ascending as the kernel writes it.
pub fn cpu_list(text: &str) -> Option<Vec<u32>> {
    /// Linux's own limit on x86-64 and aarch64 is 8192 processors; a longer list is no list.
    const LIMIT: u32 = 1 << 16;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last >= LIMIT {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

/// The first value of `name` in /proc/cpuinfo.
pub fn cpuinfo_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// The identity of an Arm processor, from the fields of MIDR that /proc/cpuinfo prints.
pub fn arm_identity(cpuinfo: &str) -> Option<CpuIdentity> {
    let number = |name| {
        let value = cpuinfo_field(cpuinfo, name)?;
        value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
    };
    // Implementer codes: Arm Architecture Reference Manual, MIDR_EL1.
    let vendor = match number("CPU implementer")? {
        0x41 => Vendor::Arm,
        0x61 => Vendor::Apple,
        _ => Vendor::Other,
    };
    Some(CpuIdentity {
        vendor,
        family: number("CPU variant")?,
        model: number("CPU part")?,
        stepping: number("CPU revision")?,
    })
}

/// The features of an Arm processor that /proc/cpuinfo lists, by the names of the kernel's `elf_hwcaps.rst`.
pub fn arm_features(cpuinfo: &str) -> Option<FeatureSet> {
    const NAMES: [(&str, Feature); 4] = [
        ("asimd", Feature::Neon),
        ("asimddp", Feature::Dotprod),
        ("i8mm", Feature::I8mm),
        ("sve", Feature::Sve),
    ];
    let listed = cpuinfo_field(cpuinfo, "Features")?;
    let has = |name: &str| listed.split_whitespace().any(|listed| listed == name);
    Some(NAMES.into_iter().filter(|(name, _)| has(name)).map(|(_, feature)| feature).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        assert_eq!(size("32K\n"), Some(32 << 10));
        assert_eq!(size("12M"), Some(12 << 20));
        assert_eq!(size("512"), Some(512));
        for wrong in ["", "K", "x32K", "-1K", "99999999999999999999K", "18446744073709551615K"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(cpu_list("0-1,4\n"), Some(vec![0, 1, 4]));
        assert_eq!(cpu_list("7"), Some(vec![7]));
        for wrong in ["", "\n", "a", "3-1", "0-", "0-4294967295"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cpuinfo() {
        let graviton3 = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n\
                         CPU part\t: 0xd40\nCPU revision\t: 1\n";
        let identity = CpuIdentity { vendor: Vendor::Arm, family: 1, model: 0xd40, stepping: 1 };
        assert_eq!(arm_identity(graviton3), Some(identity));
        assert_eq!(arm_identity("model name : AMD EPYC\n"), None);
        let features = "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc \
                        dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm svebf16 \
                        i8mm bf16 dgh rng\n";
        let known = recorded::by_name("graviton3").unwrap().features;
        assert_eq!(arm_features(&format!("{graviton3}{features}")), Some(known));
        let raspberry = "Features\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n";
        assert_eq!(arm_features(raspberry), Some(recorded::by_name("raspberry-pi-4").unwrap().features));
        assert_eq!(arm_features(graviton3), None);
        assert_eq!(cpuinfo_field("flags :\nmodel name\t: AMD EPYC\n", "model name"), Some("AMD EPYC"));
        assert_eq!(cpuinfo_field("flags :\n", "flags"), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_them_panic(text in ".*") {
            let _ = (size(&text), cpu_list(&text), arm_identity(&text), arm_features(&text));
        }
    }
}
