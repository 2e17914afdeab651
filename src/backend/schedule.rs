//! What several devices do to run one program: a part of it each, and the order in which parts and exchanges come.
//!
//! A copy between towers of one device stays an alias; between devices it becomes a send, as soon as what it copies is
//! written, and a receive, just before its first reader, so that all work in between hides the transfer. What a pass
//! does, and in which order, is fixed when the program is cut: nothing depends on how fast a device is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::kernel::Elem;
use crate::program::{Command, Home, Pass, Program, Role, Slot, SlotInfo, Tower, View, Wire};

/// Something that happens in a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Queue commands of members' parts.
    Run(Vec<(usize, Range<usize>)>),
    /// Begin to fetch a slot from a member.
    Send {
        /// The member that has it.
        member: usize,
        /// The slot.
        from: Slot,
    },
    /// Give a member what was fetched from another.
    Receive {
        /// The member that had it.
        source: usize,
        /// The slot there.
        from: Slot,
        /// The member that gets it.
        member: usize,
        /// The slot here.
        to: Slot,
        /// Whether a further member will want it too.
        again: bool,
    },
}

/// A program cut into parts, and what to do with them in a pass.
pub struct Schedule {
    /// The program, with slots for what travels in another form.
    pub program: Program,
    /// For every member the passes of its part.
    pub parts: Vec<Vec<(Pass, Vec<Command>)>>,
    /// What a pass does.
    pub actions: Vec<(Pass, Vec<Action>)>,
}

impl Schedule {
    /// Cuts `program` into the parts of `count` members, tower t on member t % `count`.
    #[must_use]
    pub fn new(program: &Program, count: usize) -> Self {
        let mut schedule = Self { program: program.clone(), parts: vec![Vec::new(); count], actions: Vec::new() };
        for (pass, commands) in program.passes() {
            let mut cutter = Cutter::new(schedule.program, count);
            for command in commands {
                cutter.command(command);
            }
            let (program, parts, actions) = cutter.finish();
            schedule.program = program;
            schedule.actions.push((pass, actions));
            for (part, commands) in schedule.parts.iter_mut().zip(parts) {
                part.push((pass, commands));
            }
        }
        schedule
    }

    /// The program that member `index` runs.
    #[must_use]
    pub fn part(&self, index: usize) -> Program {
        self.program.part(self.parts[index].clone())
    }

    /// Bytes that one run of `pass` sends from member to member.
    #[must_use]
    pub fn traffic(&self, pass: Pass) -> BTreeMap<(usize, usize), u64> {
        let mut traffic = BTreeMap::new();
        for action in self.actions.iter().filter(|(p, _)| *p == pass).flat_map(|(_, actions)| actions) {
            if let Action::Receive { source, member, to, .. } = action {
                *traffic.entry((*source, *member)).or_default() += self.program.slot(*to).bytes();
            }
        }
        traffic
    }
}

/// One pass on its way into parts.
struct Cutter {
    program: Program,
    parts: Vec<Vec<Command>>,
    /// How much of each part is in `actions` already.
    queued: Vec<usize>,
    actions: Vec<Action>,
    /// Slots that are on their way to a member.
    coming: HashMap<Slot, Coming>,
    /// What leaves in place of a slot that is packed.
    packed: HashMap<Slot, Slot>,
    /// What was sent to a member, and the slot in which it has it.
    sent: HashMap<(Slot, usize), Slot>,
}

/// Where a slot on its way comes from.
struct Coming {
    source: usize,
    /// The slot that left, and the one that arrives: those of the copy, or their packed forms.
    from: Slot,
    to: Slot,
    wire: Option<Wire>,
}

impl Cutter {
    fn new(program: Program, count: usize) -> Self {
        let (parts, queued) = (vec![Vec::new(); count], vec![0; count]);
        let (coming, packed, sent) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { program, parts, queued, actions: Vec::new(), coming, packed, sent }
    }

    fn member(&self, tower: Tower) -> usize {
        tower % self.parts.len()
    }

    fn home(&self, slot: Slot) -> usize {
        match self.program.slot(slot).home {
            Home::Tower(tower) => self.member(tower),
            Home::Every => 0,
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Run { home: Home::Every, .. } => {
                self.parts.iter_mut().for_each(|part| part.push(command.clone()));
            }
            Command::Run { home: Home::Tower(tower), .. } => {
                let member = self.member(*tower);
                self.receive(member, &command.reads());
                self.parts[member].push(command.clone());
            }
            Command::Copy { from, to, wire } => self.copy(*from, *to, wire.as_ref()),
            Command::Send { .. } | Command::Receive { .. } => unreachable!("a part is not cut again"),
        }
    }

    fn copy(&mut self, from: Slot, to: Slot, wire: Option<&Wire>) {
        let (source, member) = (self.home(from), self.home(to));
        self.receive(source, &[from]);
        if source == member {
            self.parts[source].push(Command::Copy { from, to, wire: None });
            return;
        }
        if let Some(&there) = self.sent.get(&(from, member)) {
            // Another tower of that device has it already.
            self.receive(member, &[there]);
            self.parts[member].push(Command::Copy { from: there, to, wire: None });
            return;
        }
        if !self.sent.keys().any(|(slot, _)| *slot == from) {
            let leaves = wire.map_or(from, |wire| self.pack(from, source, wire));
            self.packed.insert(from, leaves);
            self.parts[source].push(Command::Send { from: leaves });
            self.run();
            self.actions.push(Action::Send { member: source, from: leaves });
        }
        self.sent.insert((from, member), to);
        let arrives = if wire.is_some() { self.packed_slot(to) } else { to };
        let coming = Coming { source, from: self.packed[&from], to: arrives, wire: wire.cloned() };
        self.coming.insert(to, coming);
    }

    /// Packs `slot` of a member; the slot that holds the outcome.
    fn pack(&mut self, slot: Slot, member: usize, wire: &Wire) -> Slot {
        let packed = self.packed_slot(slot);
        let views = vec![self.whole(slot), self.whole(packed)];
        let home = self.program.slot(slot).home;
        self.parts[member].push(Command::Run {
            kernel: wire.pack,
            params: wire.params.clone(),
            views,
            home,
            label: wire.label.clone(),
        });
        packed
    }

    fn packed_slot(&mut self, slot: Slot) -> Slot {
        let info = self.program.slot(slot);
        let (name, shape) = (format!("{} packed", info.name), vec![info.count() / 2]);
        let info = SlotInfo { name, shape, elem: Elem::U32, home: info.home, role: Role::Map };
        self.program.add_slot(info)
    }

    fn whole(&self, slot: Slot) -> View {
        self.program.slot(slot).whole(slot)
    }

    /// Queues what is left and marks contents that several members receive.
    fn finish(mut self) -> (Program, Vec<Vec<Command>>, Vec<Action>) {
        self.run();
        let mut wanted = HashSet::new();
        for action in self.actions.iter_mut().rev() {
            if let Action::Receive { from, again, .. } = action {
                *again = !wanted.insert(*from);
            }
        }
        (self.program, self.parts, self.actions)
    }

    /// Takes in what `member` is about to read and has not got yet.
    fn receive(&mut self, member: usize, slots: &[Slot]) {
        for &slot in slots {
            let Some(Coming { source, from, to, wire }) = self.coming.remove(&slot) else { continue };
            self.run();
            self.parts[member].push(Command::Receive { to });
            self.actions.push(Action::Receive { source, from, member, to, again: false });
            if let Some(wire) = wire {
                let (views, home) = (vec![self.whole(to), self.whole(slot)], self.program.slot(slot).home);
                self.parts[member].push(Command::Run {
                    kernel: wire.unpack,
                    params: wire.params,
                    views,
                    home,
                    label: wire.label,
                });
            }
        }
    }

    /// Queues what all members have, so that none idles while another is waited for.
    fn run(&mut self) {
        let ends = self.parts.iter().map(Vec::len);
        let runs = self.queued.iter().zip(ends).enumerate().filter(|(_, (start, end))| **start < *end);
        let runs: Vec<_> = runs.map(|(member, (&start, end))| (member, start..end)).collect();
        for (member, range) in &runs {
            self.queued[*member] = range.end;
        }
        if !runs.is_empty() {
            self.actions.push(Action::Run(runs));
        }
    }
}
