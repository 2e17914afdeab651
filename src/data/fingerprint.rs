//! A number that changes with names and sizes: the hash FNV-1a.

/// The hash FNV-1a of 64 bits over parts, each with its length.
pub(super) struct Fnv(pub(super) u64);

impl Fnv {
    /// The hash of nothing.
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a part.
    pub(super) fn add(&mut self, part: &[u8]) {
        let bytes = part.iter().copied().chain((part.len() as u64).to_le_bytes());
        self.0 = bytes.fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }
}
