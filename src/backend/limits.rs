//! Limits of an engine, checked before anything is allocated there.

use serde::Serialize;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::quota::quota;
use super::{BackendError, cpu};

/// Name of the pool of the machine's own memory, shared by the CPU engine, software adapters and integrated GPUs.
pub const HOST: &str = "host";

/// Limits of an engine on the programs that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Name of the device, for messages.
    pub device: String,
    /// The most bytes of one binding.
    pub binding: u64,
    /// The most bytes of one buffer.
    pub buffer: u64,
    /// Whether its shaders have 16-bit floats, in which mixed precision stores maps.
    pub halves: bool,
    /// Memory of the device; `None` with Metal and DX12, which are not asked.
    pub memory: Option<MemoryPool>,
}

/// Memory that a device computes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPool {
    /// Name of the pool, shared by devices of the same name: a PCI bus id, the name of an adapter without one, or
    /// [`HOST`].
    pub pool: String,
    /// Size in bytes, as the driver reports it.
    pub bytes: u64,
}

impl MemoryPool {
    /// Bytes that a program may take now: of the host's what is free less a reserve, of a GPU's all, since no driver is
    /// asked what is free there.
    fn usable(&self) -> u64 {
        let free = if self.pool == HOST { free_memory() } else { None };
        self.bytes.min(free.map_or(u64::MAX, usable))
    }
}

impl Limits {
    /// The limits of a device that takes any program.
    pub fn unbound(device: impl Into<String>) -> Self {
        Self { device: device.into(), binding: u64::MAX, buffer: u64::MAX, halves: true, memory: None }
    }

    /// The limits of the CPU engine: its memory alone.
    pub fn cpu() -> Self {
        let memory = host_memory().map(|bytes| MemoryPool { pool: HOST.into(), bytes });
        Self { memory, ..Self::unbound(cpu::describe()) }
    }
}

/// What helps where a program is too large for a device; the messages say it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Remedy {
    #[error("take a smaller --micro-batch, or a network with more towers")]
    MoreTowers,
    #[error("take a smaller --micro-batch, or --recompute")]
    Recompute,
    #[error("take a smaller --micro-batch, --recompute, or more --devices")]
    MoreDevices,
    #[error("--micro-batch {0} fits")]
    MicroBatch(usize),
    #[error("take a smaller --batch")]
    Batch,
    #[error("take fewer images at once, or another device")]
    OtherDevice,
    #[error("take fewer images at once, or smaller windows")]
    SmallerWindows,
}

impl Limits {
    /// The same limits with as much memory as a program may take now.
    #[must_use]
    pub fn now(&self) -> Self {
        let memory = self.memory.as_ref().map(|pool| MemoryPool { bytes: pool.usable(), ..pool.clone() });
        Self { memory, ..self.clone() }
    }

    /// The error for a slot of which `needed` bytes would have to be bound at once.
    pub fn refuse_binding(&self, slot: &str, needed: u64) -> BackendError {
        BackendError::TooLarge {
            what: slot.into(),
            needed: mib(needed),
            device: self.device.clone(),
            allowed: format!("{} in one binding (max_storage_buffer_binding_size)", mib(self.binding)),
            remedy: Remedy::MoreTowers,
        }
    }
}

/// A size in MiB, for messages.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Bytes of physical memory, or those that this process's control group may use; `None` where unknown.
pub fn host_memory() -> Option<u64> {
    memory_of(&system())
}

fn memory_of(system: &System) -> Option<u64> {
    // sysinfo reports 0 on systems that it does not know or cannot read, and panics when asked of groups on one of
    // those.
    let bytes = Some(system.total_memory()).filter(|&bytes| bytes > 0)?;
    let group = system.cgroup_limits().map_or(u64::MAX, |group| group.total_memory);
    Some(bytes.min(group)).filter(|&bytes| bytes > 0)
}

/// Bytes of memory that this process may still take, of the machine's and within its quotas; `None` where unknown.
fn free_memory() -> Option<u64> {
    let free = Some(system().available_memory()).filter(|&bytes| bytes > 0);
    free.into_iter().chain(quota()).min()
}

fn system() -> System {
    System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()))
}

/// Bytes that a plan may take where `free` are: a sixteenth and 64 MiB are left to threads, decoders and the system.
fn usable(free: u64) -> u64 {
    free.saturating_sub(free / 16 + (64 << 20))
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

    #[test]
    fn memory_that_cannot_be_read_is_unknown() {
        assert_eq!(memory_of(&System::new()), None);
    }

    #[test]
    fn only_what_the_host_has_free_may_be_taken_less_a_reserve() {
        let usable_of = |pool: &str| MemoryPool { pool: pool.into(), bytes: u64::MAX }.usable();
        assert_eq!(usable_of("0000:01:00.0"), u64::MAX);
        assert!(usable_of(HOST) < host_memory().unwrap());
        assert!(Limits::cpu().now().memory.unwrap().bytes < host_memory().unwrap(), "the CPU engine computes there");
        assert_eq!((usable(16 << 30), usable(1 << 20)), ((15 << 30) - (64 << 20), 0));
    }
}
