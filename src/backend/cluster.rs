//! Runs one program on several devices, each with its towers: the only place that knows that there are several.
//!
//! The program is cut into one part a device. A copy between towers of one device stays an alias; between devices it
//! becomes a send, as soon as what it copies is written, and a receive, just before its first reader, so that all work
//! in between hides the transfer. Contents travel by way of the host, which any two devices share, of one vendor or of
//! two. What a pass does, and in which order, is fixed when the cluster is set up.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Backend, BackendError, Data};
use crate::program::{Command, Home, Pass, Program, Slot, Tower, letter};

/// Something the cluster does.
#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// Queue commands of members' parts.
    Run(Vec<(usize, Range<usize>)>),
    /// Begin to fetch a slot from a member.
    Send { member: usize, from: Slot },
    /// Give a member what was fetched from another; `again` where a further member will want it too.
    Receive { source: usize, from: Slot, member: usize, to: Slot, again: bool },
}

/// The parts of a program, and what to do with them in a pass.
struct Schedule {
    parts: Vec<Vec<(Pass, Vec<Command>)>>,
    actions: Vec<(Pass, Vec<Action>)>,
}

/// Several devices that run one program.
pub struct Cluster {
    program: Program,
    members: Vec<Box<dyn Backend>>,
    actions: Vec<(Pass, Vec<Action>)>,
    /// Contents that a further member will want.
    kept: HashMap<Slot, Vec<f32>>,
    /// Bytes that crossed between devices.
    exchanged: u64,
}

impl Cluster {
    /// Cuts `program` into one part for each of `count` members, tower t on member t % `count`, and has `set_up` place
    /// each.
    ///
    /// # Errors
    /// When a part does not fit its device.
    pub fn new(
        program: Program,
        count: usize,
        mut set_up: impl FnMut(usize, Program) -> Result<Box<dyn Backend>, BackendError>,
    ) -> Result<Self, BackendError> {
        let schedule = cut(&program, count);
        let parts = schedule.parts.into_iter().enumerate();
        let members: Result<Vec<_>, _> = parts.map(|(i, passes)| set_up(i, program.part(passes))).collect();
        let (members, mut actions) = (members?, schedule.actions);
        // Devices that only queue start before one that computes in this thread.
        for action in actions.iter_mut().flat_map(|(_, actions)| actions) {
            if let Action::Run(runs) = action {
                runs.sort_by_key(|(member, _)| (members[*member].blocks(), *member));
            }
        }
        Ok(Self { program, members, actions, kept: HashMap::new(), exchanged: 0 })
    }

    /// The program that runs.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Where it runs, for people.
    #[must_use]
    pub fn device(&self) -> String {
        if let [only] = &self.members[..] {
            return only.device();
        }
        let names = self.members.iter().enumerate();
        names.map(|(i, member)| format!("tower {}: {}", letter(i), member.device())).collect::<Vec<_>>().join("; ")
    }

    /// Bytes allocated on all devices.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.members.iter().map(|member| member.allocated()).sum()
    }

    /// Bytes that crossed between devices since the cluster was set up.
    #[must_use]
    pub fn exchanged(&self) -> u64 {
        self.exchanged
    }

    /// Sets the contents of `slot`, whose element count `data` must have, on every device that has it.
    ///
    /// # Errors
    /// When a device is gone.
    pub fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError> {
        self.members_of(slot).into_iter().try_for_each(|member| self.members[member].write(slot, data))
    }

    /// The contents of a float slot, once everything queued is done.
    ///
    /// # Errors
    /// When a device is gone.
    pub fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        let member = self.members_of(slot)[0];
        self.members[member].read(slot)
    }

    /// Runs a whole pass. Returns when it is queued, not when it is done.
    ///
    /// # Errors
    /// When a device is gone.
    pub fn run(&mut self, pass: Pass) -> Result<(), BackendError> {
        for action in self.actions_of(pass) {
            match action {
                Action::Run(runs) => {
                    for (member, range) in runs {
                        self.members[member].run_commands(pass, range)?;
                    }
                }
                exchange => self.exchange(&exchange)?,
            }
        }
        Ok(())
    }

    /// Runs a pass command by command, gives `stop` each float slot that was written, and ends with the first one for
    /// which it says so.
    ///
    /// # Errors
    /// When a device is gone.
    pub fn trace(&mut self, pass: Pass, mut stop: impl FnMut(&[f32]) -> bool) -> Result<Option<Slot>, BackendError> {
        for action in self.actions_of(pass) {
            let Action::Run(runs) = action else {
                self.exchange(&action)?;
                continue;
            };
            for (member, index) in runs.into_iter().flat_map(|(member, range)| range.map(move |i| (member, i))) {
                let member = &mut self.members[member];
                member.run_commands(pass, index..index + 1)?;
                for slot in member.program().commands(pass)[index].writes() {
                    if stop(&member.read(slot)?) {
                        return Ok(Some(slot));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Cloned because running needs the members; some dozen small values beside a pass.
    fn actions_of(&self, pass: Pass) -> Vec<Action> {
        self.actions.iter().find(|(p, _)| *p == pass).map_or_else(Vec::new, |(_, actions)| actions.clone())
    }

    fn exchange(&mut self, action: &Action) -> Result<(), BackendError> {
        match *action {
            Action::Run(_) => Ok(()),
            Action::Send { member, from } => self.members[member].fetch(from),
            Action::Receive { source, from, member, to, again } => {
                let kept = self.kept.remove(&from);
                let values = kept.map_or_else(|| self.members[source].take(from), Ok)?;
                self.exchanged += self.program.slot(to).bytes();
                self.members[member].write(to, Data::F32(&values))?;
                if again {
                    self.kept.insert(from, values);
                }
                Ok(())
            }
        }
    }

    /// Members on which `slot` lies; the first is the one to read from.
    fn members_of(&self, slot: Slot) -> Vec<usize> {
        match self.program.slot(slot).home {
            Home::Every => (0..self.members.len()).collect(),
            Home::Tower(tower) => vec![tower % self.members.len()],
        }
    }
}

/// Cuts `program` into the parts of `count` members.
fn cut(program: &Program, count: usize) -> Schedule {
    let mut schedule = Schedule { parts: vec![Vec::new(); count], actions: Vec::new() };
    for (pass, commands) in program.passes() {
        let mut cutter = Cutter::new(program, count);
        for command in commands {
            cutter.command(command);
        }
        let (parts, actions) = cutter.finish();
        schedule.actions.push((pass, actions));
        for (part, commands) in schedule.parts.iter_mut().zip(parts) {
            part.push((pass, commands));
        }
    }
    schedule
}

/// One pass on its way into parts.
struct Cutter<'a> {
    program: &'a Program,
    parts: Vec<Vec<Command>>,
    /// How much of each part is in `actions` already.
    queued: Vec<usize>,
    actions: Vec<Action>,
    /// Slots that are on their way to a member, with where they come from.
    coming: HashMap<Slot, (usize, Slot)>,
    /// What was sent to a member, and the slot in which it has it.
    sent: HashMap<(Slot, usize), Slot>,
}

impl<'a> Cutter<'a> {
    fn new(program: &'a Program, count: usize) -> Self {
        let (parts, queued) = (vec![Vec::new(); count], vec![0; count]);
        Self { program, parts, queued, actions: Vec::new(), coming: HashMap::new(), sent: HashMap::new() }
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
            &Command::Copy { from, to } => self.copy(from, to),
            Command::Send { .. } | Command::Receive { .. } => unreachable!("a part is not cut again"),
        }
    }

    fn copy(&mut self, from: Slot, to: Slot) {
        let (source, member) = (self.home(from), self.home(to));
        self.receive(source, &[from]);
        if source == member {
            self.parts[source].push(Command::Copy { from, to });
            return;
        }
        if let Some(&there) = self.sent.get(&(from, member)) {
            // Another tower of that device has it already.
            self.receive(member, &[there]);
            self.parts[member].push(Command::Copy { from: there, to });
            return;
        }
        if !self.sent.keys().any(|(slot, _)| *slot == from) {
            self.parts[source].push(Command::Send { from });
            self.run();
            self.actions.push(Action::Send { member: source, from });
        }
        self.sent.insert((from, member), to);
        self.coming.insert(to, (source, from));
    }

    /// Queues what is left and marks contents that several members receive.
    fn finish(mut self) -> (Vec<Vec<Command>>, Vec<Action>) {
        self.run();
        let mut wanted = HashSet::new();
        for action in self.actions.iter_mut().rev() {
            if let Action::Receive { from, again, .. } = action {
                *again = !wanted.insert(*from);
            }
        }
        (self.parts, self.actions)
    }

    /// Takes in what `member` is about to read and has not got yet.
    fn receive(&mut self, member: usize, slots: &[Slot]) {
        for &to in slots {
            if let Some((source, from)) = self.coming.remove(&to) {
                self.run();
                self.parts[member].push(Command::Receive { to });
                self.actions.push(Action::Receive { source, from, member, to, again: false });
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
