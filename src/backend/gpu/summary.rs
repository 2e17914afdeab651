//! What an adapter is and can do, without wgpu's types: for listings.

use serde::Serialize;

use super::memory::memory;
use super::{binding_limit, device};
use crate::backend::Memory;

/// An adapter of this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What the driver calls it.
    pub name: String,
    /// Discrete GPU, integrated GPU, virtual GPU, software or other.
    pub kind: &'static str,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// Name of the driver.
    pub driver: String,
    /// Its version.
    pub version: String,
    /// What else it is known by.
    pub ids: Ids,
    /// Its memory, where the driver tells.
    pub memory: Option<Memory>,
    /// What bounds a network on it.
    pub limits: Limits,
    /// What it offers beyond the least.
    pub features: Features,
}

/// Ids of an adapter, where the driver tells them; hexadecimal digits in lower case.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ids {
    /// PCI bus id, domain:bus:device.function: `0000:01:00.0`. DX12 gives GPUs of one model the same.
    pub pci_bus: Option<String>,
    /// Vendor and model: `10de:2330`.
    pub vendor_device: Option<String>,
}

/// What tells an adapter from others.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name, API and driver, on one line.
    pub description: String,
    /// Its ids.
    pub ids: Ids,
    /// Whether it computes on the processor.
    pub software: bool,
}

/// Limits that matter here, by their names in WebGPU; bytes and counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Bytes of one binding.
    pub max_storage_buffer_binding_size: u64,
    /// Bytes of one buffer.
    pub max_buffer_size: u64,
    /// Bytes of workgroup memory.
    pub max_compute_workgroup_storage_size: u32,
    /// Invocations of a workgroup.
    pub max_compute_invocations_per_workgroup: u32,
    /// Workgroups along one dimension of a dispatch.
    pub max_compute_workgroups_per_dimension: u32,
    /// The smaller of the first two: what the largest slot of a program is measured against.
    pub binding: u64,
}

/// Optional abilities.
#[derive(Clone, Debug, Serialize)]
pub struct Features {
    /// Sizes of subgroups, where there are subgroup operations.
    pub subgroups: Option<Lanes>,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// 64-bit words in shaders.
    pub words: bool,
    /// Sides of the squares of 16-bit floats that matrix units multiply, with 32-bit sums.
    pub matrices: Vec<u32>,
    /// Times measured on the device.
    pub timestamps: bool,
}

/// Sizes that a subgroup may have.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lanes {
    /// Least.
    pub min: u32,
    /// Most.
    pub max: u32,
}

impl Summary {
    /// What bounds a program on it.
    #[must_use]
    pub fn bounds(&self) -> crate::backend::Limits {
        crate::backend::Limits {
            device: self.name.clone(),
            binding: self.limits.binding,
            buffer: self.limits.max_buffer_size,
            halves: self.features.f16,
            memory: self.memory.clone(),
        }
    }
}

/// Every adapter, in the order of their numbers.
#[must_use]
pub fn summaries() -> Vec<Summary> {
    device::adapters().iter().map(summary).collect()
}

fn summary(adapter: &wgpu::Adapter) -> Summary {
    let (info, limits, offers) = (adapter.get_info(), adapter.limits(), adapter.features());
    let lanes = Lanes { min: info.subgroup_min_size, max: info.subgroup_max_size };
    Summary {
        kind: kind(info.device_type),
        ids: ids(&info),
        memory: memory(adapter),
        backend: format!("{:?}", info.backend),
        limits: Limits {
            max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
            max_buffer_size: limits.max_buffer_size,
            max_compute_workgroup_storage_size: limits.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: limits.max_compute_invocations_per_workgroup,
            max_compute_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            binding: binding_limit(&limits),
        },
        features: Features {
            subgroups: offers.contains(wgpu::Features::SUBGROUP).then_some(lanes),
            f16: offers.contains(wgpu::Features::SHADER_F16),
            words: offers.contains(wgpu::Features::SHADER_INT64),
            matrices: device::matrices(adapter),
            timestamps: offers.contains(wgpu::Features::TIMESTAMP_QUERY),
        },
        name: info.name,
        driver: info.driver,
        version: info.driver_info,
    }
}

/// What tells `adapter` from others.
#[must_use]
pub fn identity(adapter: &wgpu::Adapter) -> Identity {
    let info = adapter.get_info();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    Identity { description: device::describe(&info), ids: ids(&info), software }
}

pub(super) fn ids(info: &wgpu::AdapterInfo) -> Ids {
    let pci_bus = Some(info.device_pci_bus_id.to_lowercase()).filter(|id| !id.is_empty());
    let vendor_device = (info.vendor != 0).then(|| format!("{:04x}:{:04x}", info.vendor, info.device));
    Ids { pci_bus, vendor_device }
}

fn kind(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}
