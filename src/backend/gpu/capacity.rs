//! Memory of an adapter, which WebGPU does not report: asked of Vulkan or the operating system.

use super::adapter::{Ids, ids};
use crate::backend::limits::{HOST, MemoryPool, host_memory};

/// The memory of `adapter`, from Vulkan alone: Metal's `recommendedMaxWorkingSetSize` and DX12's
/// `DedicatedVideoMemory` are not asked for.
pub(super) fn memory(adapter: &wgpu::Adapter) -> Option<MemoryPool> {
    let info = adapter.get_info();
    let pool = pool(info.device_type, &ids(&info), &info.name);
    // A software driver reports some number (lavapipe 2 GiB), but allocates as long as the machine does.
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let bytes = if software { host_memory() } else { device_local(adapter) }?;
    Some(MemoryPool { pool, bytes })
}

/// Name of the pool of memory that an adapter computes in: the machine's, its own, or, without a bus id, that of all
/// adapters of its name, since those cannot be told apart.
fn pool(kind: wgpu::DeviceType, ids: &Ids, name: &str) -> String {
    match kind {
        wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu => HOST.into(),
        _ => ids.pci_bus.clone().unwrap_or_else(|| name.into()),
    }
}

/// Bytes of all heaps local to the device.
#[cfg(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn device_local(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: nothing is destroyed by way of the guard, which is dropped here, before the adapter.
    #[allow(unsafe_code, reason = "wgpu does not tell how much memory there is")]
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device is one of this instance, which the guard keeps alive.
    #[allow(unsafe_code, reason = "Vulkan's functions are")]
    let memory = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let local = memory.memory_heaps_as_slice().iter().filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    Some(local.map(|heap| heap.size).sum())
}

/// `None`, on platforms where wgpu has no Vulkan.
#[cfg(not(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn device_local(_: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_shared_where_memory_is() {
        use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, VirtualGpu};
        let bus = Ids { pci_bus: Some("0000:01:00.0".into()), vendor_device: None };
        assert_eq!(pool(DiscreteGpu, &bus, "card"), "0000:01:00.0");
        assert_eq!(pool(VirtualGpu, &Ids::default(), "card"), "card");
        assert_eq!(pool(IntegratedGpu, &bus, "chip"), HOST);
        assert_eq!(pool(Cpu, &Ids::default(), "llvmpipe"), HOST);
    }
}
