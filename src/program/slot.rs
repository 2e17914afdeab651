//! Named buffers: where they live, what for, and parts of them.

use super::Tower;
use crate::kernel::Elem;

/// A named buffer of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// Where a slot lives and a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// On the device of this tower.
    Tower(Tower),
    /// On every device: the input images, which all towers read.
    Every,
}

/// What a slot is for; decides how long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Written by the host before a pass.
    Input,
    /// Trained values.
    Weight,
    /// What an optimiser keeps beside each trained value, by its name.
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
    #[must_use]
    pub fn persistent(self) -> bool {
        self != Self::Map
    }
}

/// The declaration of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotInfo {
    /// For messages, checkpoints and the plan, for example `conv3.a.weights.b`.
    pub name: String,
    /// Extents, innermost last.
    pub shape: Vec<usize>,
    /// Scalar type.
    pub elem: Elem,
    /// Where it lives.
    pub home: Home,
    /// What it is for.
    pub role: Role,
}

/// What so many elements take: a multiple of 4, as bindings and copies want it.
fn bytes(elem: Elem, count: usize) -> u64 {
    (elem.bytes() * count).next_multiple_of(4) as u64
}

impl SlotInfo {
    /// Number of elements.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(self.elem, self.count())
    }

    /// All of `slot`, whose declaration this is.
    #[must_use]
    pub fn whole(&self, slot: Slot) -> View {
        View { slot, elem: self.elem, start: 0, count: self.count() }
    }
}

/// Consecutive elements of a slot, in most cases all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Of this slot.
    pub slot: Slot,
    /// Its scalar type.
    pub elem: Elem,
    /// First element.
    pub start: usize,
    /// Number of elements.
    pub count: usize,
}

impl View {
    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(self.elem, self.count)
    }

    /// Bytes of the slot before it.
    #[must_use]
    pub fn offset(&self) -> u64 {
        (self.elem.bytes() * self.start) as u64
    }
}
