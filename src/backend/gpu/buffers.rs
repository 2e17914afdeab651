//! Memory of a program on a device: buffers for its slots, and staging buffers for what the host writes and reads.

use super::device::Device;
use super::pipeline::Pipeline;
use super::staging::{Incoming, Outgoing};
use crate::backend::BackendError;
use crate::backend::limits::{Remedy, mib};
use crate::backend::memory::MemoryPlan;
use crate::program::{Program, Slot, SlotRange};

/// The buffers of a plan, allocated.
pub(super) struct Buffers {
    pub(super) plan: MemoryPlan,
    /// Buffers of slots, as in [`MemoryPlan::buffers`].
    slots: Vec<wgpu::Buffer>,
    /// Staging buffers that the host writes, as in [`MemoryPlan::incoming`].
    pub(super) incoming: Vec<Incoming>,
    /// Staging buffers that the host reads, as in [`MemoryPlan::outgoing`].
    pub(super) outgoing: Vec<Outgoing>,
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
        let scope = device.raw.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let create = |&(size, _): &(u64, _)| {
            device.raw.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let slots = plan.buffers.iter().map(create).collect();
        let incoming = plan.incoming.buffers.iter().map(|&size| Incoming::new(device, size)).collect();
        let outgoing = plan.outgoing.buffers.iter().map(|&size| Outgoing::new(device, size)).collect();
        match pollster::block_on(scope.pop()) {
            None => Ok(Self { plan, slots, incoming, outgoing }),
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

    /// Binds `views`, one for each binding of the kernel, to `pipeline`.
    pub(super) fn bind(&self, device: &Device, pipeline: &Pipeline, views: &[SlotRange]) -> wgpu::BindGroup {
        let entry = |(&binding, view): (&u32, &SlotRange)| {
            let (buffer, start) = self.region(view.slot);
            let (offset, size) = (start + view.offset(), std::num::NonZeroU64::new(view.bytes()));
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
            wgpu::BindGroupEntry { binding, resource }
        };
        let entries: Vec<_> = pipeline.bindings.iter().zip(views).map(entry).collect();
        device.raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    }
}
