//! The address space: regions, each access wholly inside one.

use super::bits::Bytes;
use super::fault::FaultKind;

/// What code may do with a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

#[derive(Debug)]
struct Region {
    base: u64,
    bytes: Vec<u8>,
    access: Access,
}

impl Region {
    /// Offset of an access of `size` bytes at `address`, if this region holds all of it.
    fn offset(&self, address: u64, size: usize) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.base)?).ok()?;
        (offset.checked_add(size)? <= self.bytes.len()).then_some(offset)
    }

    fn overlaps(&self, base: u64, size: usize) -> bool {
        base < self.base + self.bytes.len() as u64 && self.base < base + size as u64
    }
}

/// Every mapped region.
#[derive(Debug, Default)]
pub(super) struct Memory {
    regions: Vec<Region>,
}

impl Memory {
    /// Maps `bytes` at `base`.
    pub(super) fn map(&mut self, base: u64, bytes: Vec<u8>, access: Access) -> Result<(), FaultKind> {
        let overlap = FaultKind::Overlap { address: base, size: bytes.len() };
        let fits = base.checked_add(bytes.len() as u64).is_some();
        if !fits || self.regions.iter().any(|region| region.overlaps(base, bytes.len())) {
            return Err(overlap);
        }
        self.regions.push(Region { base, bytes, access });
        Ok(())
    }

    /// Takes the region that begins at `base` out.
    pub(super) fn unmap(&mut self, base: u64) -> Option<Vec<u8>> {
        let index = self.regions.iter().position(|region| region.base == base)?;
        Some(self.regions.swap_remove(index).bytes)
    }

    /// The region that begins at `base`.
    pub(super) fn bytes(&self, base: u64) -> Option<&[u8]> {
        self.regions.iter().find(|region| region.base == base).map(|region| &*region.bytes)
    }

    /// The region that begins at `base`.
    pub(super) fn bytes_mut(&mut self, base: u64) -> Option<&mut [u8]> {
        self.regions.iter_mut().find(|region| region.base == base).map(|region| &mut *region.bytes)
    }

    /// Reads `size` bytes (at most 64) at `address` to the front of a vector.
    pub(super) fn read(&self, address: u64, size: usize) -> Result<Bytes, FaultKind> {
        let found = self.regions.iter().find_map(|region| Some((region, region.offset(address, size)?)));
        let (region, offset) = found.ok_or(FaultKind::UnmappedRead { address, size })?;
        let mut value = [0; 64];
        value[..size].copy_from_slice(&region.bytes[offset..offset + size]);
        Ok(value)
    }

    /// Writes `value` at `address`.
    pub(super) fn write(&mut self, address: u64, value: &[u8]) -> Result<(), FaultKind> {
        let size = value.len();
        let mut regions = self.regions.iter_mut();
        let found = regions.find_map(|region| region.offset(address, size).map(|offset| (region, offset)));
        let (region, offset) = found.ok_or(FaultKind::UnmappedWrite { address, size })?;
        if region.access == Access::Read {
            return Err(FaultKind::ReadOnly { address, size });
        }
        region.bytes[offset..offset + size].copy_from_slice(value);
        Ok(())
    }

    /// Reads an integer of `size` bytes (at most 8).
    pub(super) fn read_integer(&self, address: u64, size: usize) -> Result<u64, FaultKind> {
        Ok(super::bits::lane(&self.read(address, size)?, 8, 0))
    }
}
