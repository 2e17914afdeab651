//! Programs: named slots and flat lists of commands over them, as data. Devices are not known here.
//!
//! A [`Program`] is recorded once and replayed every step. Slots are written once per pass (weights and states of
//! the optimiser, which [`Role`] marks as persistent, are updated), so a copy between towers of one device is an alias
//! and a slot's memory can be reused from its last reader on.

mod label;
mod recorder;
mod slot;
mod split;

pub use self::label::{Label, Phase};
pub use self::recorder::Recorder;
pub use self::slot::{ALIGNMENT, Home, Role, Slot, SlotInfo, SlotRange};
pub use self::split::TooLarge;

use crate::kernel::{Access, Kernel, Params};

/// A tower of the network: 0 is the paper's upper one (A), 1 the lower (B).
pub type Tower = usize;

/// The letter of a tower: `a`, `b`, …, and `a` again after `z`.
pub fn letter(tower: Tower) -> char {
    char::from(b'a' + u8::try_from(tower % 26).unwrap_or(0))
}

/// The wire format of a copy between devices: floats packed to half as many words on one side, unpacked on the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// Kernel that packs floats to half as many words.
    pub pack: &'static Kernel,
    /// Kernel that unpacks the words to floats.
    pub unpack: &'static Kernel,
    /// Parameters of both kernels.
    pub params: Params,
    /// Label of both runs.
    pub label: Label,
}

/// What processes that run the same program, the ranks, do together with a slot of floats. Rows are shared out as
/// evenly as they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "an exchange says what its fields are")]
pub enum Across {
    /// All get what one rank has.
    Broadcast { from: usize },
    /// One rank gets the sums of what all have.
    Reduce { to: usize },
    /// All get so many rows, of which each has some.
    Gather { rows: usize },
    /// Each gets some of so many rows of the sums of what all have.
    Scatter { rows: usize },
}

/// One entry of a pass.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "a command says what its fields are")]
pub enum Command {
    /// Run a kernel with the constants of its shader on one view of a slot for each of its bindings, on the devices of
    /// `home`; `label` names the row and phase it belongs to.
    Run { kernel: &'static Kernel, params: Params, views: Vec<SlotRange>, home: Home, label: Label },
    /// Make `from` available as `to`, which has the same shape and may live on another device; without a wire format
    /// the copy is exact.
    Copy { from: Slot, to: Slot, wire: Option<Wire> },
    /// Exchange what this rank has, if anything, for what it gets, if anything: `count` numbers where they are
    /// together. In a device's part of the program one of the two, as of a copy.
    Across { across: Across, count: usize, from: Option<Slot>, to: Option<Slot> },
    /// Send the contents of a slot: the first half of a copy between devices, in the sender's part of the program.
    Send { from: Slot },
    /// Receive the contents of a slot: the second half, in the receiver's part; they have arrived from here on.
    Receive { to: Slot },
}

impl Command {
    /// Slots that the command reads.
    pub fn reads(&self) -> Vec<Slot> {
        match self {
            Self::Copy { from, .. } | Self::Send { from } => vec![*from],
            Self::Across { from, .. } => from.iter().copied().collect(),
            Self::Receive { .. } => Vec::new(),
            Self::Run { kernel, views, .. } => with_access(kernel, views, |a| a != Access::Write),
        }
    }

    /// Slots that the command writes.
    pub fn writes(&self) -> Vec<Slot> {
        match self {
            Self::Copy { to, .. } | Self::Receive { to } => vec![*to],
            Self::Across { to, .. } => to.iter().copied().collect(),
            Self::Send { .. } => Vec::new(),
            Self::Run { kernel, views, .. } => with_access(kernel, views, |a| a != Access::Read),
        }
    }
}

/// Slots of the views whose access is `wanted`.
fn with_access(kernel: &Kernel, views: &[SlotRange], wanted: impl Fn(Access) -> bool) -> Vec<Slot> {
    kernel.bindings.iter().zip(views).filter(|(b, _)| wanted(b.access)).map(|(_, view)| view.slot).collect()
}

/// A pass: a part of a step that runs on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Forward with dropout masks, loss, backward: fills the gradients.
    Gradients,
    /// The same for another micro-batch of the minibatch: adds to the gradients.
    Accumulate,
    /// The optimiser's step on every weight, from the gradients.
    Update,
    /// Forward without dropout masks, loss.
    Evaluate,
}

/// A recorded network: slots, and the commands of each pass.
#[derive(Clone, Debug, Default)]
pub struct Program {
    slots: Vec<SlotInfo>,
    passes: Vec<(Pass, Vec<Command>)>,
    shared: Vec<Slot>,
    bundles: Vec<Bundle>,
}

/// Slots that lie one behind the other in a slot of their own, so that a run can bind them all at once. Each begins at
/// a multiple of [`ALIGNMENT`] bytes.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The slot that holds the others, and nothing besides.
    pub slot: Slot,
    /// The slots in it, each with the index of its first element there.
    pub members: Vec<(Slot, usize)>,
}

impl Program {
    /// Declarations of all slots, by [`Slot`].
    pub fn slots(&self) -> &[SlotInfo] {
        &self.slots
    }

    /// The declaration of `slot`.
    pub fn slot(&self, slot: Slot) -> &SlotInfo {
        &self.slots[slot.0]
    }

    /// The commands of one pass; empty when it was not recorded.
    pub fn commands(&self, pass: Pass) -> &[Command] {
        self.passes.iter().find(|(p, _)| *p == pass).map_or(&[], |(_, commands)| commands)
    }

    /// The recorded passes with their commands, in order.
    pub fn passes(&self) -> impl Iterator<Item = (Pass, &[Command])> {
        self.passes.iter().map(|(pass, commands)| (*pass, commands.as_slice()))
    }

    /// Slots of one role, in order of declaration; of bundles the slots in them.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = (Slot, &SlotInfo)> {
        self.all_with(role).filter(|(slot, _)| self.bundles.iter().all(|bundle| bundle.slot != *slot))
    }

    /// Slots of one role that have memory of their own, in order of declaration: bundles, and slots that are in none.
    pub fn apart_with(&self, role: Role) -> impl Iterator<Item = (Slot, &SlotInfo)> {
        let bundled =
            |slot: Slot| self.bundles.iter().any(|bundle| bundle.members.iter().any(|(member, _)| *member == slot));
        self.all_with(role).filter(move |(slot, _)| !bundled(*slot))
    }

    fn all_with(&self, role: Role) -> impl Iterator<Item = (Slot, &SlotInfo)> {
        self.slots.iter().enumerate().filter(move |(_, info)| info.role == role).map(|(i, info)| (Slot(i), info))
    }

    /// Slots that hold others.
    pub fn bundles(&self) -> &[Bundle] {
        &self.bundles
    }

    /// The roles of the optimiser's states, in order of declaration.
    pub fn states(&self) -> Vec<Role> {
        let mut roles: Vec<Role> = Vec::new();
        for info in &self.slots {
            if matches!(info.role, Role::State(_)) && !roles.contains(&info.role) {
                roles.push(info.role);
            }
        }
        roles
    }

    /// The slot called `name`.
    pub fn find(&self, name: &str) -> Option<Slot> {
        self.slots.iter().position(|info| info.name == name).map(Slot)
    }

    /// The slot of the largest view that a command binds, and its bytes: what a device's limit is measured against.
    pub fn largest_binding(&self) -> Option<(Slot, u64)> {
        let commands = self.passes.iter().flat_map(|(_, commands)| commands);
        let views =
            commands.flat_map(|command| if let Command::Run { views, .. } = command { &views[..] } else { &[] });
        views.max_by_key(|view| view.bytes()).map(|view| (view.slot, view.bytes()))
    }

    /// Number of towers that slots live on.
    pub fn towers(&self) -> usize {
        let end = |info: &SlotInfo| if let Home::Tower(tower) = info.home { tower + 1 } else { 0 };
        self.slots.iter().map(end).max().unwrap_or(0)
    }

    /// Whether each slot is read, written, or an input of every device; by [`Slot`].
    pub fn touched(&self) -> Vec<bool> {
        let given = |info: &SlotInfo| info.role == Role::Input && info.home == Home::Every;
        let mut touched: Vec<bool> = self.slots.iter().map(given).collect();
        for command in self.passes.iter().flat_map(|(_, commands)| commands) {
            for slot in command.reads().into_iter().chain(command.writes()) {
                touched[slot.0] = true;
            }
        }
        for Bundle { slot, members } in &self.bundles {
            let any = touched[slot.0] || members.iter().any(|(member, _)| touched[member.0]);
            touched[slot.0] = any;
            for (member, _) in members {
                touched[member.0] = any;
            }
        }
        touched
    }

    /// Adds a declaration; the new slot.
    pub fn add_slot(&mut self, info: SlotInfo) -> Slot {
        self.slots.push(info);
        Slot(self.slots.len() - 1)
    }

    /// A program over the same slots with other passes, for example the part of one device.
    #[must_use]
    pub fn part(&self, passes: Vec<(Pass, Vec<Command>)>) -> Self {
        Self { slots: self.slots.clone(), passes, shared: self.shared.clone(), bundles: self.bundles.clone() }
    }

    /// Has the host read these gradients in every step, and write others in their place: sums over several ranks.
    pub fn share_gradients(&mut self, gradients: Vec<Slot>) {
        self.shared = gradients;
    }

    /// Gradients that the host reads and writes in every step, with their declarations.
    pub fn shared_gradients(&self) -> impl Iterator<Item = (Slot, &SlotInfo)> {
        self.shared.iter().map(|&slot| (slot, self.slot(slot)))
    }

    /// Floating-point operations of one pass.
    pub fn flops(&self, pass: Pass) -> u64 {
        let flops = |command: &Command| match command {
            Command::Run { kernel, params, .. } => (kernel.flops)(params),
            Command::Copy { .. } | Command::Across { .. } | Command::Send { .. } | Command::Receive { .. } => 0,
        };
        self.commands(pass).iter().map(flops).sum()
    }
}
