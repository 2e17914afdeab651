//! The memory plan of a program: which slots share memory, and which staging buffers the host needs; computed from the
//! program alone, before anything is allocated.
//!
//! Slots that outlive a pass are packed, one arena a role, in the order of the program: the gradients of a device
//! lie side by side, ready to be reduced in one go, and those of a bundle without others between them. Maps live from
//! their writer to their last reader; a buffer is handed on from one to the next (largest first, each to the first
//! buffer that is free for its whole life). A copy between towers of one device is an alias and takes nothing.
//!
//! What the host writes or reads in every pass has staging memory of its own, allocated once: inputs, outputs, and what
//! is sent to other devices or received; gradients too, where several ranks share them. The n-th exchange of one pass
//! shares it with the n-th of another.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::program::{ALIGNMENT, Command, Program, Role, Slot};

/// Location of a slot in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Index of the slot's buffer in [`MemoryPlan::buffers`].
    pub buffer: usize,
    /// Offset in the buffer, in bytes.
    pub offset: u64,
}

/// Memory of a program on one device.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// Size of every buffer in bytes and the role it serves.
    pub buffers: Vec<(u64, Role)>,
    /// Staging buffers that the host writes in every pass.
    pub incoming: Staging,
    /// Staging buffers that the host reads in every pass.
    pub outgoing: Staging,
    places: Vec<Option<Location>>,
}

/// Staging buffers between host and device, in one direction.
#[derive(Clone, Debug, Default)]
pub struct Staging {
    /// Size in bytes of each buffer.
    pub buffers: Vec<u64>,
    of: HashMap<Slot, usize>,
}

impl Staging {
    /// Index of the buffer that `slot` passes through; `None` for slots that the host seldom writes or reads.
    pub fn of(&self, slot: Slot) -> Option<usize> {
        self.of.get(&slot).copied()
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().sum()
    }

    fn add(&mut self, slot: Slot, buffer: usize, bytes: u64) {
        if buffer == self.buffers.len() {
            self.buffers.push(0);
        }
        self.buffers[buffer] = self.buffers[buffer].max(bytes);
        self.of.insert(slot, buffer);
    }
}

/// Bytes that a program takes on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Bytes of weights and biases.
    pub weights: u64,
    /// States of the optimiser, by name: one number for each trained value.
    #[serde(flatten)]
    pub states: BTreeMap<&'static str, u64>,
    /// One for each trained value.
    pub gradients: u64,
    /// Activations and their gradients, memory shared among those that are not alive together.
    pub maps: u64,
    /// Bytes that the host writes and reads.
    pub input_output: u64,
    /// Bytes of staging memory for those, and for exchanges between devices.
    pub staging: u64,
    /// Bytes of parts of sums that wait to be added up: known once variants are chosen, 0 in a plan.
    #[serde(skip_serializing_if = "is_zero")]
    pub scratch: u64,
    /// Bytes of all parts together.
    pub total: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

impl Footprint {
    /// Bytes by what they are for, in words, without the total.
    pub fn parts(&self) -> Vec<(&'static str, u64)> {
        let mut parts = vec![("weights", self.weights)];
        parts.extend(self.states.iter().map(|(name, bytes)| (*name, *bytes)));
        parts.extend([("gradients", self.gradients), ("maps", self.maps)]);
        parts.extend([("input, output", self.input_output), ("staging", self.staging)]);
        parts.extend((self.scratch > 0).then_some(("scratch", self.scratch)));
        parts
    }
}

impl MemoryPlan {
    /// Plans `program`, whatever it touches on one device, no buffer larger than `largest` bytes unless a single
    /// slot is. Of a part of a program, slots that other devices have take nothing.
    pub fn new(program: &Program, largest: u64) -> Self {
        let root = aliases(program);
        let (incoming, outgoing) = (Staging::default(), Staging::default());
        let mut plan = Self { buffers: Vec::new(), incoming, outgoing, places: vec![None; root.len()] };
        let touched = program.touched();
        for role in [Role::Weight].into_iter().chain(program.states()).chain([Role::Gradient]) {
            plan.pack(program, role, largest, &touched);
        }
        for role in [Role::Input, Role::Output] {
            for (slot, info) in program.with_role(role).filter(|(slot, _)| touched[slot.0]) {
                plan.places[slot.0] = Some(Location { buffer: plan.buffers.len(), offset: 0 });
                plan.buffers.push((info.bytes(), role));
            }
        }
        plan.stage(program, &touched);
        plan.stage_across(program);
        plan.share(program, &root);
        for (bundle, (member, start)) in program.bundles().iter().flat_map(|b| b.members.iter().map(move |m| (b, m))) {
            let bytes = (program.slot(*member).elem.bytes() * start) as u64;
            let within = |place: Location| Location { offset: place.offset + bytes, ..place };
            plan.places[member.0] = plan.places[bundle.slot.0].map(within);
        }
        for (slot, &of) in root.iter().enumerate() {
            plan.places[slot] = plan.places[of];
        }
        plan
    }

    /// Whether this device has `slot`.
    pub fn has(&self, slot: Slot) -> bool {
        self.places[slot.0].is_some()
    }

    /// The buffer of `slot`, and the bytes of it that hold the slot.
    ///
    /// # Panics
    /// When this device does not have it; see [`MemoryPlan::has`].
    pub fn place(&self, slot: Slot) -> Location {
        self.places[slot.0].unwrap_or_else(|| panic!("slot {} is on another device", slot.0))
    }

    /// Bytes of all buffers of one role.
    pub fn bytes_of(&self, role: Role) -> u64 {
        self.buffers.iter().filter(|(_, r)| *r == role).map(|(bytes, _)| bytes).sum()
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        self.footprint().total
    }

    /// Bytes by what they are for.
    pub fn footprint(&self) -> Footprint {
        let buffers: u64 = self.buffers.iter().map(|(bytes, _)| bytes).sum();
        let staging = self.incoming.bytes() + self.outgoing.bytes();
        let mut states = BTreeMap::new();
        for (bytes, role) in &self.buffers {
            if let Role::State(name) = role {
                *states.entry(*name).or_default() += bytes;
            }
        }
        Footprint {
            weights: self.bytes_of(Role::Weight),
            states,
            gradients: self.bytes_of(Role::Gradient),
            maps: self.bytes_of(Role::Map),
            input_output: self.bytes_of(Role::Input) + self.bytes_of(Role::Output),
            staging,
            scratch: 0,
            total: buffers + staging,
        }
    }

    /// Gives staging buffers to inputs, outputs and exchanges.
    fn stage(&mut self, program: &Program, touched: &[bool]) {
        for (staging, role) in [(&mut self.incoming, Role::Input), (&mut self.outgoing, Role::Output)] {
            let slots = program.with_role(role).chain(program.shared_gradients());
            for (slot, info) in slots.filter(|(slot, _)| touched[slot.0]) {
                staging.add(slot, staging.buffers.len(), info.bytes());
            }
        }
        let (inputs, outputs) = (self.incoming.buffers.len(), self.outgoing.buffers.len());
        for (_, commands) in program.passes() {
            let (mut received, mut sent) = (inputs, outputs);
            for command in commands {
                match command {
                    Command::Receive { to } => {
                        self.incoming.add(*to, received, program.slot(*to).bytes());
                        received += 1;
                    }
                    // An output that is sent has a staging buffer already.
                    Command::Send { from } if self.outgoing.of(*from).is_none() => {
                        self.outgoing.add(*from, sent, program.slot(*from).bytes());
                        sent += 1;
                    }
                    _ => (),
                }
            }
        }
    }

    /// Gives staging buffers to exchanges with other ranks: what goes there is taken at once, and what comes from there
    /// waits until the buffer is free, so that all of a pass share two.
    fn stage_across(&mut self, program: &Program) {
        let (incoming, outgoing) = (self.incoming.buffers.len(), self.outgoing.buffers.len());
        for command in program.passes().flat_map(|(_, commands)| commands) {
            let Command::Across { from, to, .. } = command else { continue };
            if let Some(from) = from.filter(|from| self.outgoing.of(*from).is_none()) {
                self.outgoing.add(from, outgoing, program.slot(from).bytes());
            }
            if let Some(to) = to {
                self.incoming.add(*to, incoming, program.slot(*to).bytes());
            }
        }
    }

    /// Packs the slots of one role into buffers of at most `largest` bytes.
    fn pack(&mut self, program: &Program, role: Role, largest: u64, touched: &[bool]) {
        let mut end = u64::MAX;
        for (slot, info) in program.apart_with(role).filter(|(slot, _)| touched[slot.0]) {
            let bytes = info.bytes();
            if end == u64::MAX || end + bytes > largest {
                self.buffers.push((0, role));
                end = 0;
            }
            let buffer = self.buffers.len() - 1;
            self.places[slot.0] = Some(Location { buffer, offset: end });
            self.buffers[buffer].0 = end + bytes;
            end = (end + bytes).next_multiple_of(ALIGNMENT as u64);
        }
    }

    /// Gives buffers to maps, shared among those whose lives do not overlap.
    fn share(&mut self, program: &Program, root: &[usize]) {
        let lives = lives(program, root);
        let mut maps: Vec<(usize, &Vec<(usize, usize)>)> = lives.iter().map(|(&slot, life)| (slot, life)).collect();
        // Largest first; the slot number keeps the order, and with it the plan, the same from run to run.
        maps.sort_by_key(|&(slot, _)| (std::cmp::Reverse(program.slots()[slot].bytes()), slot));
        let mut taken: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
        for (slot, life) in maps {
            let free = |others: &[(usize, usize)]| others.iter().all(|o| life.iter().all(|l| l.1 < o.0 || o.1 < l.0));
            let at = taken.iter().position(|(_, others)| free(others));
            let at = at.unwrap_or_else(|| {
                taken.push((self.buffers.len(), Vec::new()));
                self.buffers.push((program.slots()[slot].bytes(), Role::Map));
                taken.len() - 1
            });
            taken[at].1.extend(life);
            self.places[slot] = Some(Location { buffer: taken[at].0, offset: 0 });
        }
    }
}

/// For every slot the one whose memory it shares: its source where it is a copy on the same device, or itself.
fn aliases(program: &Program) -> Vec<usize> {
    let mut root: Vec<usize> = (0..program.slots().len()).collect();
    for (_, commands) in program.passes() {
        for command in commands {
            if let Command::Copy { from, to, .. } = command {
                root[to.0] = root[from.0];
            }
        }
    }
    root
}

/// First and last command of every map, one interval a pass, on a time line that runs through all passes.
fn lives(program: &Program, root: &[usize]) -> HashMap<usize, Vec<(usize, usize)>> {
    let mut lives: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
    let mut time = 0;
    for (_, commands) in program.passes() {
        let start = time;
        for command in commands {
            for slot in command.reads().into_iter().chain(command.writes()) {
                let slot = root[slot.0];
                if program.slots()[slot].role.persistent() {
                    continue;
                }
                let life = lives.entry(slot).or_default();
                match life.last_mut() {
                    Some(last) if last.0 >= start => last.1 = time,
                    _ => life.push((time, time)),
                }
            }
            time += 1;
        }
    }
    lives
}
