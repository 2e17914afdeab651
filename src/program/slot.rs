//! Slots, the named buffers of a program: their devices, roles and views.

use super::Tower;
use crate::kernel::Elem;

/// The number of a slot: an index into [`super::Program::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// The device of a slot or of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// The device of this tower.
    Tower(Tower),
    /// Every device: for the input images, which all towers read.
    Every,
}

/// Purpose of a slot; decides how long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Written by the host before a pass.
    Input,
    /// Trained values: weights or biases.
    Weight,
    /// State that an optimiser keeps beside each trained value, by its name.
    State(&'static str),
    /// d(loss)/d(weight), read by the update.
    Gradient,
    /// Activations and their gradients, alive from writer to last reader.
    Map,
    /// Read by the host after a pass.
    Output,
}

impl Role {
    /// Whether the contents outlive a pass.
    pub fn persistent(self) -> bool {
        self != Self::Map
    }
}

/// The declaration of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotInfo {
    /// Name in messages, checkpoints and the plan, for example `conv3.a.weights.b`.
    pub name: String,
    /// Extents of the slot, innermost last.
    pub shape: Vec<usize>,
    /// Type of each element.
    pub elem: Elem,
    /// The device that has it.
    pub home: Home,
    /// Purpose, which decides how long it lives.
    pub role: Role,
}

/// Offsets of views and of slots in an arena are multiples of this, in bytes: WebGPU's largest
/// `min_storage_buffer_offset_alignment`.
pub const ALIGNMENT: usize = 256;

/// Bytes of `count` elements, rounded up to a multiple of 4, which bindings and copies require.
fn bytes(elem: Elem, count: usize) -> u64 {
    (elem.bytes() * count).next_multiple_of(4) as u64
}

impl SlotInfo {
    /// Number of elements, the product of the shape.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size of all elements in bytes.
    pub fn bytes(&self) -> u64 {
        bytes(self.elem, self.count())
    }

    /// All of `slot`, whose declaration this is.
    pub fn whole(&self, slot: Slot) -> SlotRange {
        SlotRange { slot, elem: self.elem, start: 0, count: self.count() }
    }
}

/// Consecutive elements of a slot, in most cases all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotRange {
    /// The slot it is part of.
    pub slot: Slot,
    /// Scalar type of the slot.
    pub elem: Elem,
    /// Index of the first element.
    pub start: usize,
    /// Number of elements in the range.
    pub count: usize,
}

impl SlotRange {
    /// Size of all elements in bytes.
    pub fn bytes(&self) -> u64 {
        bytes(self.elem, self.count)
    }

    /// Part `index` of `of` equal ones.
    #[must_use]
    pub fn part(&self, index: usize, of: usize) -> Self {
        let count = self.count / of;
        Self { start: self.start + index * count, count, ..*self }
    }

    /// Whether each of `of` equal parts can be bound by itself.
    pub fn parts_are_aligned(&self, of: usize) -> bool {
        of == 1 || self.part(1, of).offset().is_multiple_of(ALIGNMENT as u64)
    }

    /// Offset in the slot, in bytes.
    pub fn offset(&self) -> u64 {
        (self.elem.bytes() * self.start) as u64
    }
}
