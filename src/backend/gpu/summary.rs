//! Adapters as listings show them: names, limits and features without wgpu's types.

use serde::Serialize;

use super::adapter::{Ids, adapters, binding_limit, ids, kind, matrices};
use super::capacity::memory;
use crate::backend::MemoryPool;

/// An adapter of this machine.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterSummary {
    /// The name that the driver reports.
    pub name: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `other`.
    pub kind: &'static str,
    /// The API: `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// Name of the driver.
    pub driver: String,
    /// Version of the driver.
    pub version: String,
    /// Bus id and model.
    pub ids: Ids,
    /// The memory it computes in, where the driver tells.
    pub memory: Option<MemoryPool>,
    /// Limits on buffers, workgroups and dispatches.
    pub limits: AdapterLimits,
    /// Optional features that kernels can use.
    pub features: Features,
}

/// Limits on buffers, workgroups and dispatches, by their names in WebGPU; bytes and counts.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "WebGPU says what they are")]
pub struct AdapterLimits {
    pub max_storage_buffer_binding_size: u64,
    pub max_buffer_size: u64,
    pub max_compute_workgroup_storage_size: u32,
    pub max_compute_invocations_per_workgroup: u32,
    pub max_compute_workgroups_per_dimension: u32,
    /// Bytes that the largest slot of a program may have: the smaller of the first two.
    pub binding: u64,
}

/// Optional features of an adapter.
#[derive(Clone, Debug, Serialize)]
pub struct Features {
    /// Sizes of subgroups, where there are subgroup operations.
    pub subgroups: Option<Lanes>,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// 64-bit words in shaders.
    pub words: bool,
    /// Sides of the square tiles that matrix units multiply, from 16-bit floats into 32-bit sums.
    pub matrices: Vec<u32>,
    /// Timestamps written by the device.
    pub timestamps: bool,
}

/// Range of the sizes of subgroups, in invocations.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lanes {
    /// Smallest number of lanes.
    pub min: u32,
    /// Largest number of lanes.
    pub max: u32,
}

impl AdapterSummary {
    /// The limits that bound a program on it.
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

/// Every adapter of this machine, in the order of its number.
pub fn summaries() -> Vec<AdapterSummary> {
    adapters().iter().map(summary).collect()
}

fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, offers) = (adapter.get_info(), adapter.limits(), adapter.features());
    let lanes = Lanes { min: info.subgroup_min_size, max: info.subgroup_max_size };
    AdapterSummary {
        kind: kind(info.device_type).1,
        ids: ids(&info),
        memory: memory(adapter),
        backend: format!("{:?}", info.backend),
        limits: AdapterLimits {
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
            matrices: matrices(adapter),
            timestamps: offers.contains(wgpu::Features::TIMESTAMP_QUERY),
        },
        name: info.name,
        driver: info.driver,
        version: info.driver_info,
    }
}
