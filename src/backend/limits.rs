//! What bounds a program on an engine, asked before anything is allocated there.

use serde::Serialize;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::{BackendError, cpu};

/// The pool of everything that computes in the machine's own memory: the CPU engine, software adapters and integrated
/// GPUs.
pub const HOST: &str = "host";

/// What bounds a program on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Name of the device, for messages.
    pub device: String,
    /// Bytes of one binding.
    pub binding: u64,
    /// Bytes of one buffer.
    pub buffer: u64,
    /// Whether its shaders have 16-bit floats, which mixed precision stores maps as.
    pub halves: bool,
    /// Memory of the device, where it can be had: from Vulkan drivers and on the CPU engine, not from Metal or DX12.
    pub memory: Option<Memory>,
}

/// Memory that a device computes in. How much of it is free, nobody tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Devices with the same pool share it: a PCI bus id, the name of an adapter without one, or [`HOST`].
    pub pool: String,
    /// Bytes, as drivers tell: Mesa 22's software driver tells 2 GiB, and gives more.
    pub bytes: u64,
}

impl Limits {
    /// Those of the CPU engine: memory alone.
    #[must_use]
    pub fn cpu() -> Self {
        let memory = host_memory().map(|bytes| Memory { pool: HOST.into(), bytes });
        Self { device: cpu::describe(), binding: u64::MAX, buffer: u64::MAX, halves: true, memory }
    }
}

/// What makes maps and weights smaller.
pub const FEWER: &str = "take a smaller --micro-batch, or a network with more towers";

impl Limits {
    /// The refusal of a slot of which `needed` bytes would have to be bound at once.
    #[must_use]
    pub fn refuse_binding(&self, slot: &str, needed: u64) -> BackendError {
        BackendError::TooLarge {
            what: slot.into(),
            needed: mib(needed),
            device: self.device.clone(),
            allowed: format!("{} in one binding (max_storage_buffer_binding_size)", mib(self.binding)),
            fix: FEWER.into(),
        }
    }
}

/// A size in messages.
#[must_use]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Bytes of physical memory, or what this process's control group may have of it.
#[must_use]
pub fn host_memory() -> Option<u64> {
    let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(ram);
    let group = system.cgroup_limits().map_or(u64::MAX, |group| group.total_memory);
    // Zero where the system is none that sysinfo knows.
    Some(system.total_memory().min(group)).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_engine_is_bound_by_memory_alone() {
        let limits = Limits::cpu();
        assert_eq!((limits.binding, limits.buffer), (u64::MAX, u64::MAX));
        let memory = limits.memory.unwrap();
        assert_eq!(memory.pool, HOST);
        assert!(memory.bytes > 64 << 20, "{} bytes", memory.bytes);
    }
}
