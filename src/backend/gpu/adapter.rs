//! Adapters: the GPUs and software drivers of this machine, before one is opened.

use serde::Serialize;

/// Every adapter of this machine, best first: discrete, integrated, virtual, other, software.
pub(crate) fn adapters() -> Vec<wgpu::Adapter> {
    let Some(instance) = instance() else { return Vec::new() };
    let mut found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    // Stable: adapters of one kind keep the driver's order, so their numbers do not change from run to run.
    found.sort_by_key(|adapter| kind(adapter.get_info().device_type).0);
    found
}

/// An instance of Vulkan without the surfaces of window systems; `None` where there is no Vulkan. With them, layers of
/// drivers (Mesa's device selection) connect to a display, and libwayland reports an error where there is none.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn instance() -> Option<wgpu::Instance> {
    use wgpu::hal;
    let wgpu::InstanceDescriptor { flags, memory_budget_thresholds, backend_options, .. } =
        wgpu::InstanceDescriptor::new_without_display_handle();
    let (name, telemetry, display) = ("alexnet", None, None);
    let descriptor =
        hal::InstanceDescriptor { name, flags, memory_budget_thresholds, backend_options, telemetry, display };
    let headless = |asked: hal::vulkan::CreateInstanceCallbackArgs<'_, '_, '_>| {
        let windows = ["VK_KHR_wayland_surface", "VK_KHR_xcb_surface", "VK_KHR_xlib_surface"].map(str::as_bytes);
        asked.extensions.retain(|extension| !windows.contains(&extension.to_bytes()));
    };
    // SAFETY: wgpu-hal leaves out the same extensions where a driver lacks them, and looks for them before it makes a
    // surface, which this crate never does. VK_KHR_surface, which swapchains depend on, stays.
    #[allow(unsafe_code, reason = "the only way to an instance without surfaces")]
    unsafe {
        let vulkan = hal::vulkan::Instance::init_with_callback(&descriptor, Some(Box::new(headless)));
        let vulkan = vulkan.inspect_err(|e| log::debug!("no Vulkan: {e}")).ok()?;
        Some(wgpu::Instance::from_hal::<hal::api::Vulkan>(vulkan))
    }
}

/// An instance of every API of this platform.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn instance() -> Option<wgpu::Instance> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    Some(wgpu::Instance::new(descriptor))
}

/// Place of an adapter of this kind in the listing, 0 first, and the name of the kind.
pub(super) fn kind(kind: wgpu::DeviceType) -> (u8, &'static str) {
    match kind {
        wgpu::DeviceType::DiscreteGpu => (0, "discrete GPU"),
        wgpu::DeviceType::IntegratedGpu => (1, "integrated GPU"),
        wgpu::DeviceType::VirtualGpu => (2, "virtual GPU"),
        wgpu::DeviceType::Other => (3, "other"),
        wgpu::DeviceType::Cpu => (4, "software"),
    }
}

/// Name, API and driver of an adapter on one line.
pub(crate) fn describe(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?}, {} {})", info.name, info.backend, info.driver, info.driver_info)
}

/// Bytes that one binding may have on an adapter or device with these limits.
pub(super) fn binding_limit(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

/// Sides of the square tiles that an adapter's matrix units multiply, from 16-bit floats into 32-bit sums; ascending.
pub(super) fn matrices(adapter: &wgpu::Adapter) -> Vec<u32> {
    use wgpu::wgt::CooperativeScalarType::{F16, F32};
    let tiles = adapter.cooperative_matrix_properties();
    let square = tiles.iter().filter(|tile| tile.m_size == tile.n_size && tile.n_size == tile.k_size);
    let mut sides: Vec<u32> =
        square.filter(|tile| (tile.ab_type, tile.cr_type) == (F16, F32)).map(|tile| tile.m_size).collect();
    sides.sort_unstable();
    sides.dedup();
    sides
}

/// Ids of an adapter, `None` where the driver does not tell them; hexadecimal digits in lower case.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ids {
    /// PCI bus id, domain:bus:device.function: `0000:01:00.0`. DX12 gives GPUs of one model the same.
    pub pci_bus: Option<String>,
    /// Vendor and model: `10de:2330`.
    pub vendor_device: Option<String>,
}

/// Properties by which a user names an adapter.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name, API and driver, on one line.
    pub description: String,
    /// Bus id and model, where the driver tells them.
    pub ids: Ids,
    /// Whether it computes on the processor.
    pub software: bool,
}

/// The properties by which a user names `adapter`.
pub(crate) fn identity(adapter: &wgpu::Adapter) -> Identity {
    let info = adapter.get_info();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    Identity { description: describe(&info), ids: ids(&info), software }
}

pub(super) fn ids(info: &wgpu::AdapterInfo) -> Ids {
    let pci_bus = Some(info.device_pci_bus_id.to_lowercase()).filter(|id| !id.is_empty());
    let vendor_device = (info.vendor != 0).then(|| format!("{:04x}:{:04x}", info.vendor, info.device));
    Ids { pci_bus, vendor_device }
}
