//! A network on paper: named slots and the flat list of commands over them. No device is in scope here.
//!
//! A [`Program`] is recorded once and replayed every step. Slots are written once per pass (weights and momentum,
//! which [`Role`] marks as persistent, are updated), so a copy between towers of one device is an alias and a
//! slot's memory can be reused from its last reader on.

mod label;
mod split;

pub use self::label::{Label, Phase};
pub use self::split::TooLarge;

use crate::kernel::{Access, Elem, Holds, Kernel, Params};

/// A tower of the network: 0 is the paper's upper one (A), 1 the lower (B).
pub type Tower = usize;

/// The letter of a tower: `a`, `b`, …
#[must_use]
pub fn letter(tower: Tower) -> char {
    char::from(b'a' + u8::try_from(tower % 26).unwrap_or(0))
}

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
    /// The paper's v, one for each trained value.
    Momentum,
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

/// What a copy goes through between devices: packed there, unpacked here, fewer bytes in between.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// From floats to half as many words.
    pub pack: &'static Kernel,
    /// And back.
    pub unpack: &'static Kernel,
    /// Of both.
    pub params: Params,
    /// What they are for.
    pub label: Label,
}

/// One entry of a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a kernel on views of slots in the order of its bindings.
    Run {
        /// What runs.
        kernel: &'static Kernel,
        /// With which parameters.
        params: Params,
        /// On what.
        views: Vec<View>,
        /// On which device.
        home: Home,
        /// What for.
        label: Label,
    },
    /// Make `from` available as `to`, which has the same shape and may live on another device.
    Copy {
        /// Source.
        from: Slot,
        /// Destination.
        to: Slot,
        /// What it goes through where that is another device; nothing where it has to be exact.
        wire: Option<Wire>,
    },
    /// Half of a copy between devices, in the part of the program that runs on the source's: the contents leave.
    Send {
        /// Source.
        from: Slot,
    },
    /// The other half, in the destination's part: the contents have arrived from here on.
    Receive {
        /// Destination.
        to: Slot,
    },
}

impl Command {
    /// Slots that the command reads.
    #[must_use]
    pub fn reads(&self) -> Vec<Slot> {
        match self {
            Self::Copy { from, .. } | Self::Send { from } => vec![*from],
            Self::Receive { .. } => Vec::new(),
            Self::Run { kernel, views, .. } => with_access(kernel, views, |a| a != Access::Write),
        }
    }

    /// Slots that the command writes.
    #[must_use]
    pub fn writes(&self) -> Vec<Slot> {
        match self {
            Self::Copy { to, .. } | Self::Receive { to } => vec![*to],
            Self::Send { .. } => Vec::new(),
            Self::Run { kernel, views, .. } => with_access(kernel, views, |a| a != Access::Read),
        }
    }
}

fn with_access(kernel: &Kernel, views: &[View], wanted: impl Fn(Access) -> bool) -> Vec<Slot> {
    kernel.bindings.iter().zip(views).filter(|(b, _)| wanted(b.access)).map(|(_, view)| view.slot).collect()
}

/// The parts of a step that can be run on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Forward with dropout masks, loss, backward: fills the gradients.
    Gradients,
    /// The same for a further batch of the same minibatch: adds to the gradients.
    Accumulate,
    /// SGD on every weight, from the gradients.
    Update,
    /// Forward without dropout masks, loss.
    Evaluate,
}

/// A recorded network.
#[derive(Clone, Debug, Default)]
pub struct Program {
    slots: Vec<SlotInfo>,
    passes: Vec<(Pass, Vec<Command>)>,
}

impl Program {
    /// All slots.
    #[must_use]
    pub fn slots(&self) -> &[SlotInfo] {
        &self.slots
    }

    /// The declaration of one slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &SlotInfo {
        &self.slots[slot.0]
    }

    /// The commands of one pass; empty when it was not recorded.
    #[must_use]
    pub fn commands(&self, pass: Pass) -> &[Command] {
        self.passes.iter().find(|(p, _)| *p == pass).map_or(&[], |(_, commands)| commands)
    }

    /// The recorded passes with their commands, in order.
    pub fn passes(&self) -> impl Iterator<Item = (Pass, &[Command])> {
        self.passes.iter().map(|(pass, commands)| (*pass, commands.as_slice()))
    }

    /// Slots of one role, in order of declaration.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = (Slot, &SlotInfo)> {
        self.slots.iter().enumerate().filter(move |(_, info)| info.role == role).map(|(i, info)| (Slot(i), info))
    }

    /// The slot called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Slot> {
        self.slots.iter().position(|info| info.name == name).map(Slot)
    }

    /// The slot of the largest view that a command binds, and its bytes: what a device's limit is measured against.
    #[must_use]
    pub fn largest_binding(&self) -> Option<(Slot, u64)> {
        let commands = self.passes.iter().flat_map(|(_, commands)| commands);
        let views =
            commands.flat_map(|command| if let Command::Run { views, .. } = command { &views[..] } else { &[] });
        views.max_by_key(|view| view.bytes()).map(|view| (view.slot, view.bytes()))
    }

    /// Number of towers that slots live on.
    #[must_use]
    pub fn towers(&self) -> usize {
        let of = |info: &SlotInfo| if let Home::Tower(tower) = info.home { tower + 1 } else { 0 };
        self.slots.iter().map(of).max().unwrap_or(0)
    }

    /// For every slot whether it is read or written, or is an input that every device is given.
    #[must_use]
    pub fn touched(&self) -> Vec<bool> {
        let given = |info: &SlotInfo| info.role == Role::Input && info.home == Home::Every;
        let mut touched: Vec<bool> = self.slots.iter().map(given).collect();
        for command in self.passes.iter().flat_map(|(_, commands)| commands) {
            for slot in command.reads().into_iter().chain(command.writes()) {
                touched[slot.0] = true;
            }
        }
        touched
    }

    /// Adds a slot.
    pub fn add_slot(&mut self, info: SlotInfo) -> Slot {
        self.slots.push(info);
        Slot(self.slots.len() - 1)
    }

    /// A program over the same slots with other passes: what one device runs of it.
    #[must_use]
    pub fn part(&self, passes: Vec<(Pass, Vec<Command>)>) -> Self {
        Self { slots: self.slots.clone(), passes }
    }

    /// Floating-point operations of one pass.
    #[must_use]
    pub fn flops(&self, pass: Pass) -> u64 {
        let of = |command: &Command| match command {
            Command::Run { kernel, params, .. } => (kernel.flops)(params),
            Command::Copy { .. } | Command::Send { .. } | Command::Receive { .. } => 0,
        };
        self.commands(pass).iter().map(of).sum()
    }
}

/// Writes programs: every op records through it, and only through it.
#[derive(Debug, Default)]
pub struct Recorder {
    program: Program,
    label: Label,
    maps: Elem,
}

impl Recorder {
    /// An empty program, whose maps are 32-bit floats.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty program that stores maps as `maps`.
    #[must_use]
    pub fn storing(maps: Elem) -> Self {
        Self { maps, ..Self::default() }
    }

    /// What maps are stored as.
    #[must_use]
    pub fn maps(&self) -> Elem {
        self.maps
    }

    /// Further commands belong to `pass`.
    pub fn begin(&mut self, pass: Pass) {
        self.program.passes.push((pass, Vec::new()));
    }

    /// Further runs belong to this row of the network.
    pub fn label(&mut self, layer: &str, phase: Phase) {
        self.label = Label { layer: layer.into(), phase };
    }

    /// What runs belong to that are recorded now.
    #[must_use]
    pub fn current_label(&self) -> Label {
        self.label.clone()
    }

    /// Declares a slot.
    pub fn slot(&mut self, info: SlotInfo) -> Slot {
        self.program.add_slot(info)
    }

    /// Has a map outlive its pass, for the host to read.
    pub fn keep(&mut self, map: Slot) {
        self.program.slots[map.0].role = Role::Output;
    }

    /// Declares a map on `home`, stored as this program stores maps.
    pub fn map(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, home: Home) -> Slot {
        self.passing(name, shape, self.maps, home)
    }

    /// Declares floats on `home` that live as long as maps do, and stay floats.
    pub fn floats(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, home: Home) -> Slot {
        self.passing(name, shape, Elem::F32, home)
    }

    fn passing(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, elem: Elem, home: Home) -> Slot {
        self.slot(SlotInfo { name: name.into(), shape: shape.into(), elem, home, role: Role::Map })
    }

    /// The declaration of a slot.
    #[must_use]
    pub fn info(&self, slot: Slot) -> &SlotInfo {
        self.program.slot(slot)
    }

    /// Records a run of `kernel` on the device of the first slot it writes.
    ///
    /// # Panics
    /// When slots and bindings differ in number or scalar type: a slip in an op.
    pub fn run(&mut self, kernel: &'static Kernel, params: Params, slots: &[Slot]) {
        self.run_on(kernel, params, slots.iter().map(|&slot| self.info(slot).whole(slot)).collect());
    }

    /// As [`Recorder::run`], on parts of slots, which begin at multiples of 64 elements.
    ///
    /// # Panics
    /// As [`Recorder::run`].
    pub fn run_on(&mut self, kernel: &'static Kernel, params: Params, views: Vec<View>) {
        assert_eq!(kernel.bindings.len(), views.len(), "{}: slots", kernel.name);
        let bound = || kernel.bindings.iter().zip(&views);
        let maps = bound().find(|(binding, _)| binding.holds == Holds::Maps);
        let params = params.with_maps(maps.map_or(Elem::F32, |(_, view)| view.elem));
        for (binding, view) in bound() {
            assert_eq!(binding.elem(&params), view.elem, "{}: {}", kernel.name, binding.name);
        }
        let written = bound().find(|(b, _)| b.access != Access::Read);
        let home = written.map_or(Home::Every, |(_, view)| self.info(view.slot).home);
        self.push(Command::Run { kernel, params, views, home, label: self.label.clone() });
    }

    /// Records a copy of `from` to tower `tower` and gives the slot there; `from` itself when it is there already.
    /// Between devices it goes through `wire`.
    pub fn copy(&mut self, from: Slot, tower: Tower, wire: Option<Wire>) -> Slot {
        let info = self.info(from).clone();
        if info.home == Home::Every || info.home == Home::Tower(tower) {
            return from;
        }
        let to = self.passing(format!("{}@{}", info.name, letter(tower)), info.shape, info.elem, Home::Tower(tower));
        self.push(Command::Copy { from, to, wire });
        to
    }

    fn push(&mut self, command: Command) {
        // `begin` comes first in the lowering; without it commands would belong to nothing.
        if let Some((_, commands)) = self.program.passes.last_mut() {
            commands.push(command);
        }
    }

    /// Leaves out of the last pass what only fills maps that nobody reads.
    pub fn drop_unread(&mut self) {
        let Some((_, commands)) = self.program.passes.last_mut() else { return };
        let mut read = vec![false; self.program.slots.len()];
        let mut wanted = Vec::with_capacity(commands.len());
        for command in commands.drain(..).rev() {
            let of_use = |slot: &Slot| read[slot.0] || self.program.slots[slot.0].role.persistent();
            if command.writes().iter().any(of_use) {
                command.reads().into_iter().for_each(|slot| read[slot.0] = true);
                wanted.push(command);
            }
        }
        wanted.reverse();
        *commands = wanted;
    }

    /// The finished program.
    #[must_use]
    pub fn finish(self) -> Program {
        self.program
    }
}
