//! Memory of a program on a device: buffers for its slots, and staging buffers for what the host writes and reads.

use std::cell::OnceCell;

use super::device::Device;
use super::pipeline::{Pipeline, Run, Stage, eligible};
use super::staging::{Incoming, Outgoing};
use crate::backend::BackendError;
use crate::backend::limits::{Remedy, mib};
use crate::backend::memory::{Footprint, MemoryPlan};
use crate::kernel::PARTS;
use crate::program::{Program, Slot, SlotRange};
use crate::wgsl::Bound;

/// The buffers of a plan, allocated.
pub(super) struct Buffers {
    pub(super) plan: MemoryPlan,
    /// Buffers of slots, as in [`MemoryPlan::buffers`].
    slots: Vec<wgpu::Buffer>,
    /// Staging buffers that the host writes, as in [`MemoryPlan::incoming`].
    pub(super) incoming: Vec<Incoming>,
    /// Staging buffers that the host reads, as in [`MemoryPlan::outgoing`].
    pub(super) outgoing: Vec<Outgoing>,
    /// Parts of sums between two stages of a run, made when the first run that has them is bound, as large as any
    /// needs.
    parts: OnceCell<wgpu::Buffer>,
    parts_bytes: u64,
}

impl Buffers {
    /// Plans the memory of `program` and allocates it, filled with zeros.
    ///
    /// # Errors
    /// When a slot is too large for one binding, found before anything is allocated; when memory runs out; when the
    /// device is lost.
    pub(super) fn allocate(device: &Device, program: &Program) -> Result<Self, BackendError> {
        let bounds = device.bounds();
        if let Some((slot, needed)) = program.largest_binding().filter(|(_, needed)| *needed > bounds.binding) {
            return Err(bounds.refuse_binding(&program.slot(slot).name, needed));
        }
        // Only a wait reports a lost device; allocating and compiling do not.
        device.wait(None)?;
        let plan = MemoryPlan::new(program, bounds.buffer);
        let runs = program.passes().flat_map(|(_, commands)| commands).filter_map(Run::of);
        let parts_of = |Run { kernel, params, .. }: Run<'_>| {
            let able = kernel.variants.iter().filter(|variant| eligible(device, variant, params));
            able.map(|variant| variant.parts_bytes(params)).max()
        };
        let parts_bytes = runs.filter_map(parts_of).max().unwrap_or(0);
        let scope = device.raw.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let create = |&(size, _): &(u64, _)| {
            device.raw.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let slots = plan.buffers.iter().map(create).collect();
        let incoming = plan.incoming.buffers.iter().map(|&size| Incoming::new(device, size)).collect();
        let outgoing = plan.outgoing.buffers.iter().map(|&size| Outgoing::new(device, size)).collect();
        match pollster::block_on(scope.pop()) {
            None => Ok(Self { plan, slots, incoming, outgoing, parts: OnceCell::new(), parts_bytes }),
            Some(_) => Err(BackendError::TooLarge {
                what: "the plan (weights, states of the optimiser, gradients, maps, staging)".into(),
                needed: mib(plan.bytes()),
                device: bounds.device,
                allowed: "less memory than that".into(),
                remedy: Remedy::Recompute,
            }),
        }
    }

    /// The buffer that `slot` lies in, and its offset there in bytes.
    pub(super) fn region(&self, slot: Slot) -> (&wgpu::Buffer, u64) {
        let place = self.plan.place(slot);
        (&self.slots[place.buffer], place.offset)
    }

    /// Binds `views`, one for each binding of the kernel, to the stages of `pipeline`.
    ///
    /// # Errors
    /// When there is no memory for its parts of sums.
    pub(super) fn bind(
        &self,
        device: &Device,
        pipeline: &Pipeline,
        views: &[SlotRange],
    ) -> Result<Vec<wgpu::BindGroup>, BackendError> {
        let parts = if pipeline.parts_bytes > 0 { Some(self.parts(device)?) } else { None };
        let of_view = |view: &SlotRange| {
            let (buffer, start) = self.region(view.slot);
            let (offset, size) = (start + view.offset(), std::num::NonZeroU64::new(view.bytes()));
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
        };
        let entry = |bound: &Bound| {
            let resource = match bound.of_kernel {
                Some(index) => Some(of_view(&views[index])),
                None => parts.map(wgpu::Buffer::as_entire_binding),
            };
            resource.map(|resource| wgpu::BindGroupEntry { binding: bound.number, resource })
        };
        let group = |stage: &Stage| {
            let entries: Vec<_> = stage.bindings.iter().filter_map(entry).collect();
            let layout = &stage.layout;
            device.raw.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        Ok(pipeline.stages.iter().map(group).collect())
    }

    /// The buffer for parts of sums, which all runs share: each is done before the next begins.
    fn parts(&self, device: &Device) -> Result<&wgpu::Buffer, BackendError> {
        if let Some(buffer) = self.parts.get() {
            return Ok(buffer);
        }
        let scope = device.raw.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let (size, usage) = (self.parts_bytes, wgpu::BufferUsages::STORAGE);
        let descriptor = wgpu::BufferDescriptor { label: Some(PARTS), size, usage, mapped_at_creation: false };
        let buffer = device.raw.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            let reason = format!("no {} for parts of sums", mib(size));
            return Err(BackendError::OutOfMemory { device: device.info.name.clone(), reason });
        }
        Ok(self.parts.get_or_init(|| buffer))
    }

    /// Bytes that the program takes on the device.
    pub(super) fn footprint(&self) -> Footprint {
        let footprint = self.plan.footprint();
        let scratch = self.parts.get().map_or(0, wgpu::Buffer::size);
        Footprint { scratch, total: footprint.total + scratch, ..footprint }
    }
}
