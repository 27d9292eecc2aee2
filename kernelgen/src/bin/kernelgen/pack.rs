//! `kernelgen pack`

use std::path::{Path, PathBuf};

use clap::Args;
use craftsman_golden::{Granularity, Scales, TernaryMatrix};
use craftsman_kernelgen::{KernelConfig, KernelKey, pack};

use crate::emit::write;
use crate::{Failure, print};

/// Pack weights for a kernel that was written with `emit`.
///
/// Weights are bytes -1, 0 or 1, row after row; scales are little-endian f32: one, or one a row, or one a row and block.
/// Packed weights are written first, then scales, as many of each as the header of the kernel says.
#[derive(Debug, Args)]
pub struct Pack {
    /// What is computed, as in 2560x6912-decode-tensor-a8
    key: KernelKey,
    /// How the kernel is built, as `emit` printed it
    #[arg(long)]
    config: KernelConfig,
    /// M x K bytes; twice for a gate/up pair, gate first
    #[arg(long, value_name = "FILE", required = true)]
    trits: Vec<PathBuf>,
    /// As many scales as the key says; twice for a gate/up pair
    #[arg(long, value_name = "FILE", required = true)]
    scales: Vec<PathBuf>,
    /// Where the packed weights go
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

impl Pack {
    pub fn run(&self) -> Result<(), Failure> {
        let wanted = self.key.matrices();
        if self.trits.len() != wanted || self.scales.len() != wanted {
            let what = format!("{} takes {wanted} of --trits and as many of --scales", self.key);
            return Err(Failure::Usage(what));
        }
        let files = self.trits.iter().zip(&self.scales);
        let matrices: Vec<_> = files.map(|(t, s)| self.matrix(t, s)).collect::<Result<_, _>>()?;
        let packed = pack(&self.key, &self.config, &matrices.iter().collect::<Vec<_>>())
            .map_err(|error| Failure::Kernel(error.to_string()))?;
        let scales = packed.scales().iter().flat_map(|scale| scale.to_le_bytes());
        let bytes: Vec<u8> = packed.bytes().iter().copied().chain(scales).collect();
        write(&self.out, &bytes)?;
        print(&format!(
            "{}: {} bytes of weights and {} scales",
            self.out.display(),
            packed.bytes().len(),
            packed.scales().len()
        ));
        Ok(())
    }

    fn matrix(&self, trits: &Path, scales: &Path) -> Result<TernaryMatrix, Failure> {
        let KernelKey { m, k, .. } = self.key;
        let blocks = self.key.blocks().1;
        let count = match self.key.scales {
            Granularity::Tensor => 1,
            Granularity::Row | Granularity::Block(_) => m * blocks,
        };
        let trit = read(trits, m * k)?.into_iter().map(u8::cast_signed).collect();
        let values: Vec<f32> =
            read(scales, 4 * count)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let scales = match self.key.scales {
            Granularity::Tensor => Scales::Tensor(values[0]),
            Granularity::Row => Scales::Row(values),
            Granularity::Block(size) => Scales::Block { size, values },
        };
        TernaryMatrix::new(m, k, trit, scales)
            .map_err(|error| Failure::File(format!("{}: {error}", trits.display())))
    }
}

/// A file of exactly `length` bytes.
fn read(path: &Path, length: usize) -> Result<Vec<u8>, Failure> {
    let failed = |what: String| Failure::File(format!("{}: {what}", path.display()));
    let there = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if there != length as u64 {
        return Err(failed(format!("{there} bytes, where the key asks for {length}")));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}
