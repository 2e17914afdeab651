//! The recorder, through which ops write programs.

use super::{
    ALIGNMENT, Across, Bundle, Command, Home, Label, Pass, Phase, Program, Role, Slot, SlotInfo, SlotRange, Tower,
    Wire, letter,
};
use crate::kernel::{Access, Elem, Holds, Kernel, Params};

/// A program under construction: ops record their slots and commands through it alone.
#[derive(Debug, Default)]
pub struct Recorder {
    program: Program,
    label: Label,
    maps: Elem,
}

impl Recorder {
    /// An empty program, whose maps are 32-bit floats.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty program that stores maps as `maps`.
    pub fn storing(maps: Elem) -> Self {
        Self { maps, ..Self::default() }
    }

    /// Element type of maps.
    pub fn maps(&self) -> Elem {
        self.maps
    }

    /// Begins `pass`, which further commands belong to.
    pub fn begin(&mut self, pass: Pass) {
        self.program.passes.push((pass, Vec::new()));
    }

    /// Sets the row and phase that further runs belong to.
    pub fn label(&mut self, layer: &str, phase: Phase) {
        self.label = Label { layer: layer.into(), phase };
    }

    /// The row and phase that runs are recorded for now.
    pub fn current_label(&self) -> Label {
        self.label.clone()
    }

    /// Declares a slot; its number.
    pub fn slot(&mut self, info: SlotInfo) -> Slot {
        self.program.add_slot(info)
    }

    /// Lays slots of one type, role and home one behind the other in a slot of their own; that slot.
    ///
    /// # Panics
    /// When there are none: a slip in a lowering.
    pub fn bundle(&mut self, slots: &[Slot]) -> Slot {
        let [first, last] = [slots[0], slots[slots.len() - 1]].map(|slot| self.info(slot).clone());
        let SlotInfo { elem, home, role, .. } = first;
        let name = if slots.len() == 1 { first.name } else { format!("{} to {}", first.name, last.name) };
        let (mut end, mut members) = (0, Vec::with_capacity(slots.len()));
        for &slot in slots {
            members.push((slot, end));
            end = (end + self.info(slot).count()).next_multiple_of(ALIGNMENT / elem.bytes());
        }
        let slot = self.slot(SlotInfo { name, shape: vec![end], elem, home, role });
        self.program.bundles.push(Bundle { slot, members });
        slot
    }

    /// The slots in a bundle, each with the index of its first element there.
    pub fn members(&self, bundle: Slot) -> &[(Slot, usize)] {
        let found = self.program.bundles.iter().find(|known| known.slot == bundle);
        found.map_or(&[], |found| &found.members)
    }

    /// Turns a map into an output, which outlives its pass and which the host can read.
    pub fn keep(&mut self, map: Slot) {
        self.program.slots[map.0].role = Role::Output;
    }

    /// Declares a map on `home`, stored as this program stores maps.
    pub fn map(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, home: Home) -> Slot {
        self.passing(name, shape, self.maps, home)
    }

    /// Declares 32-bit floats on `home` that live as long as maps do, whatever the type of maps.
    pub fn floats(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, home: Home) -> Slot {
        self.passing(name, shape, Elem::F32, home)
    }

    /// Declares a slot that lives from its writer to its last reader.
    fn passing(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, elem: Elem, home: Home) -> Slot {
        self.slot(SlotInfo { name: name.into(), shape: shape.into(), elem, home, role: Role::Map })
    }

    /// The declaration of a slot.
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

    /// As [`Recorder::run`], on parts of slots, which begin at multiples of [`super::ALIGNMENT`].
    ///
    /// # Panics
    /// As [`Recorder::run`].
    pub fn run_on(&mut self, kernel: &'static Kernel, params: Params, views: Vec<SlotRange>) {
        assert_eq!(kernel.bindings.len(), views.len(), "{}: slots", kernel.name);
        let bound = || kernel.bindings.iter().zip(&views);
        let maps = bound().find(|(binding, _)| binding.holds == Holds::Maps);
        let params = params.with_storage(maps.map_or(Elem::F32, |(_, view)| view.elem));
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

    /// Records an exchange with other ranks of `count` numbers, of which this rank has those in `from` and gets those
    /// in `to`.
    pub fn across(&mut self, across: Across, count: usize, from: Option<Slot>, to: Option<Slot>) {
        self.push(Command::Across { across, count, from, to });
    }

    /// Adds a command to the current pass.
    fn push(&mut self, command: Command) {
        // The lowering calls `begin` first; without a pass the command is dropped.
        if let Some((_, commands)) = self.program.passes.last_mut() {
            commands.push(command);
        }
    }

    /// The number of commands of the current pass so far.
    pub fn commands(&self) -> usize {
        self.program.passes.last().map_or(0, |(_, commands)| commands.len())
    }

    /// Removes from the last pass the commands whose outputs are maps that nothing reads.
    pub fn drop_unread(&mut self) {
        let Some((_, commands)) = self.program.passes.last_mut() else { return };
        let mut read = vec![false; self.program.slots.len()];
        let mut wanted = Vec::with_capacity(commands.len());
        for command in commands.drain(..).rev() {
            let is_used = |slot: &Slot| read[slot.0] || self.program.slots[slot.0].role.persistent();
            // Other ranks wait for their part of an exchange.
            if matches!(command, Command::Across { .. }) || command.writes().iter().any(is_used) {
                command.reads().into_iter().for_each(|slot| read[slot.0] = true);
                wanted.push(command);
            }
        }
        wanted.reverse();
        *commands = wanted;
    }

    /// Ends the recording: the slots and commands so far.
    pub fn finish(self) -> Program {
        self.program
    }
}
