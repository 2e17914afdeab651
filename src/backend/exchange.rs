//! Exchanges between devices: how one program is cut into a part for each, and when each exchange starts and is
//! awaited.
//!
//! A copy between towers of one device stays an alias; between devices it becomes a send, as soon as what it copies is
//! written, and a receive, just before its first reader, so that all work in between hides the transfer. What a pass
//! does, and in which order, is fixed when the program is cut: nothing depends on how fast a device is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::placement::member_of;
use crate::kernel::Elem;
use crate::program::{Across, Command, Home, Pass, Program, Role, Slot, SlotInfo, SlotRange, Tower, Wire};

/// One action of a pass.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "an action says what its fields are")]
pub enum Action {
    /// Queue commands of parts: pairs of member and range of commands.
    Run(Vec<(usize, Range<usize>)>),
    /// Begin to fetch slot `from` from a member.
    Send { member: usize, from: Slot },
    /// Write slot `from` of member `source` to slot `to` of another; `again` where a further member receives it later.
    Receive { source: usize, from: Slot, member: usize, to: Slot, again: bool },
    /// Begin an exchange of `count` numbers with other ranks: slot `from` of a member for the contents of slot `to`.
    Depart { across: Across, count: usize, from: Option<(usize, Slot)>, to: Option<Slot> },
    /// Write what has come from other ranks to slot `to` of a member.
    Arrive { member: usize, to: Slot },
}

/// A program cut into parts, and the order in which they run.
pub struct Partition {
    /// The program, with additional slots for packed contents.
    pub program: Program,
    /// Passes of the part of every member.
    pub parts: Vec<Vec<(Pass, Vec<Command>)>>,
    /// Actions of every pass, in order.
    pub actions: Vec<(Pass, Vec<Action>)>,
}

impl Partition {
    /// Cuts `program` into the parts of `count` members, tower t on member t % `count`.
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
    pub fn part(&self, index: usize) -> Program {
        self.program.part(self.parts[index].clone())
    }

    /// Bytes that one run of `pass` transfers, by (sender, receiver).
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

/// One pass that is being cut into parts.
struct Cutter {
    program: Program,
    parts: Vec<Vec<Command>>,
    /// Number of commands of each part that are in `actions` already.
    queued: Vec<usize>,
    actions: Vec<Action>,
    /// Slots that were sent to a member and not yet received.
    coming: HashMap<Slot, Coming>,
    /// Slots whose contents come from other ranks and are not yet received.
    arriving: HashMap<Slot, (Across, usize)>,
    /// Slot that is sent in place of another: its packed form, or itself.
    packed: HashMap<Slot, Slot>,
    /// Slot that holds the contents of a sent slot on a member.
    sent: HashMap<(Slot, usize), Slot>,
}

/// Source of a slot that was sent and not yet received.
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
        Self { program, parts, queued, actions: Vec::new(), coming, arriving: HashMap::new(), packed, sent }
    }

    /// Index of the member that runs `tower`.
    fn member(&self, tower: Tower) -> usize {
        member_of(tower, self.parts.len())
    }

    fn home(&self, slot: Slot) -> usize {
        match self.program.slot(slot).home {
            Home::Tower(tower) => self.member(tower),
            Home::Every => 0,
        }
    }

    /// Adds a command to the parts that run it.
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
            Command::Across { across, count, from, to } => {
                let from = from.map(|from| (self.home(from), from));
                if let Some((member, from)) = from {
                    self.receive(member, &[from]);
                    self.parts[member].push(Command::Across {
                        across: *across,
                        count: *count,
                        from: Some(from),
                        to: None,
                    });
                }
                self.run();
                self.actions.push(Action::Depart { across: *across, count: *count, from, to: *to });
                self.arriving.extend(to.map(|to| (to, (*across, *count))));
            }
            Command::Send { .. } | Command::Receive { .. } => unreachable!("a part is not cut again"),
        }
    }

    /// Adds a copy: an alias within a member, a send and a later receive between two.
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

    /// Adds the run that packs `slot` on a member; the slot of the packed form.
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

    /// Declares a slot for the packed form of `slot`: half as many words.
    fn packed_slot(&mut self, slot: Slot) -> Slot {
        let info = self.program.slot(slot);
        let (name, shape) = (format!("{} packed", info.name), vec![info.count() / 2]);
        let info = SlotInfo { name, shape, elem: Elem::U32, home: info.home, role: Role::Map };
        self.program.add_slot(info)
    }

    fn whole(&self, slot: Slot) -> SlotRange {
        self.program.slot(slot).whole(slot)
    }

    /// Queues the remaining commands and marks contents that several members receive.
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

    /// Adds receives of the slots that `member` is about to read and has not received yet.
    fn receive(&mut self, member: usize, slots: &[Slot]) {
        for &slot in slots {
            if let Some((across, count)) = self.arriving.remove(&slot) {
                self.run();
                self.parts[member].push(Command::Across { across, count, from: None, to: Some(slot) });
                self.actions.push(Action::Arrive { member, to: slot });
            }
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

    /// Queues the commands that all members have so far, so that none idles while another is waited for.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::{COUNT, meeting};

    const PASS: Pass = Pass::Evaluate;

    fn schedule(count: usize) -> Partition {
        Partition::new(&meeting(false).program, count)
    }

    /// A line for every action of the pass.
    fn actions(schedule: &Partition) -> Vec<String> {
        let name = |slot: &Slot| &schedule.program.slot(*slot).name;
        let line = |action: &Action| match action {
            Action::Run(runs) => {
                let runs = runs.iter().map(|(member, range)| format!(" {member}: {range:?}"));
                format!("run{}", runs.collect::<String>())
            }
            Action::Send { member, from } => format!("send {} of {member}", name(from)),
            Action::Receive { source, from, member, to, again } => {
                let more = if *again { ", more to come" } else { "" };
                format!("receive {} of {source} as {} on {member}{more}", name(from), name(to))
            }
            Action::Depart { .. } | Action::Arrive { .. } => unreachable!("it has one rank"),
        };
        schedule.actions[0].1.iter().map(line).collect()
    }

    /// A word for every command of a member's part, and the slot that it writes or sends.
    fn commands(schedule: &Partition, member: usize) -> Vec<String> {
        let part = schedule.part(member);
        let name = |slot: Slot| part.slot(slot).name.clone();
        let line = |command: &Command| match command {
            Command::Run { kernel, .. } => format!("{} {}", kernel.name, name(command.writes()[0])),
            Command::Copy { from, to, .. } => format!("copy {} as {}", name(*from), name(*to)),
            Command::Across { .. } => unreachable!("it has one rank"),
            Command::Send { from } => format!("send {}", name(*from)),
            Command::Receive { to } => format!("receive {}", name(*to)),
        };
        part.commands(PASS).iter().map(line).collect()
    }

    #[test]
    fn one_device_runs_the_program_as_it_is() {
        let (program, schedule) = (meeting(true).program, schedule(1));
        assert_eq!(actions(&schedule), ["run 0: 0..15"]);
        assert_eq!(program.commands(PASS).len(), 15);
        for (part, whole) in schedule.part(0).commands(PASS).iter().zip(program.commands(PASS)) {
            assert_eq!((part.reads(), part.writes()), (whole.reads(), whole.writes()));
        }
        assert!(schedule.traffic(PASS).is_empty());
    }

    /// Towers a and c are on device 0, b and d on 1: of the three copies of a's map one is sent, one stays on its
    /// device, and one is made of what has arrived.
    #[test]
    fn two_devices_send_each_content_once() {
        let schedule = schedule(2);
        let on_first = [
            "binary.forward double.a",
            "binary.forward double.c",
            "send double.a",
            "copy double.a as double.a@c",
            "binary.forward again.c",
            "binary.forward output.c",
            "receive double.d@a",
            "binary.forward output.a",
        ];
        let on_second = [
            "binary.forward double.b",
            "binary.forward double.d",
            "receive double.a@b",
            "copy double.a@b as double.a@d",
            "binary.forward again.b",
            "binary.forward again.d",
            "binary.forward output.b",
            "binary.forward output.d",
            "send double.d",
        ];
        assert_eq!(commands(&schedule, 0), on_first);
        assert_eq!(commands(&schedule, 1), on_second);
        let want = [
            "run 0: 0..3 1: 0..2",
            "send double.a of 0",
            "run 0: 3..4",
            "receive double.a of 0 as double.a@b on 1",
            "run 0: 4..6 1: 2..9",
            "send double.d of 1",
            "receive double.d of 1 as double.d@a on 0",
            "run 0: 6..8",
        ];
        assert_eq!(actions(&schedule), want);
    }

    /// What the receivers do without it lies between a content's departure and its arrival; the last receiver is told
    /// from those before.
    #[test]
    fn work_hides_what_is_on_its_way() {
        let want = [
            "run 0: 0..2 1: 0..1 2: 0..1 3: 0..1",
            "send double.a of 0",
            "run 1: 1..2 2: 1..2 3: 1..2",
            "receive double.a of 0 as double.a@b on 1, more to come",
            "run 1: 2..4",
            "receive double.a of 0 as double.a@c on 2, more to come",
            "run 2: 2..4",
            "receive double.a of 0 as double.a@d on 3",
            "run 3: 2..5",
            "send double.d of 3",
            "receive double.d of 3 as double.d@a on 0",
            "run 0: 2..4",
        ];
        assert_eq!(actions(&schedule(4)), want);
    }

    #[test]
    fn packed_contents_are_half_as_many_bytes() {
        let bytes = 4 * COUNT as u64;
        for (count, pairs) in
            [(2, &[(0, 1), (1, 0)][..]), (3, &[(0, 1), (0, 2)]), (4, &[(0, 1), (0, 2), (0, 3), (3, 0)])]
        {
            for (packed, bytes) in [(false, bytes), (true, bytes / 2)] {
                let schedule = Partition::new(&meeting(packed).program, count);
                let want: BTreeMap<_, _> = pairs.iter().map(|&pair| (pair, bytes)).collect();
                assert_eq!(schedule.traffic(PASS), want, "{count} devices");
            }
        }
    }

    #[test]
    fn a_content_is_packed_once_and_unpacked_by_each_receiver() {
        let schedule = Partition::new(&meeting(true).program, 4);
        let packing = |member| {
            let mut commands = commands(&schedule, member);
            commands.retain(|command| command.starts_with("half."));
            commands
        };
        assert_eq!(packing(0), ["half.pack double.a packed", "half.unpack double.d@a"]);
        assert_eq!(packing(1), ["half.unpack double.a@b"]);
        assert_eq!(packing(2), ["half.unpack double.a@c"]);
        assert_eq!(packing(3), ["half.unpack double.a@d", "half.pack double.d packed"]);
    }
}
