//! Runs one program on several devices, each with its towers; no other file deals with more than one device.
//!
//! Contents travel through the host, which any two devices share, of one vendor or of two: from a device to its staging
//! buffer, and from there straight into the other's. One thread queues the work of all devices and keeps them busy: it
//! waits for a device only after queueing for the others all that does not depend on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::exchange::{Action, Partition};
use super::placement::member_of;
use super::{Backend, BackendError, ClockDetail, Data, Footprint, Span, Variants};
use crate::program::{Across, Home, Pass, Program, Slot, letter};

/// Carrier of numbers to other ranks: begins an exchange, for which this rank gives some of `count` numbers.
pub type Carrier = dyn FnMut(Across, usize, Vec<f32>) -> Result<Arrival, BackendError>;

/// The end of an exchange, which waits for what comes from other ranks.
pub type Arrival = Box<dyn FnOnce() -> Result<Vec<f32>, BackendError>>;

/// Several devices, the members, that run one program.
pub struct Cluster {
    pub(super) program: Program,
    pub(super) members: Vec<Box<dyn Backend>>,
    actions: Vec<(Pass, Vec<Action>)>,
    traffic: BTreeMap<(usize, usize), Traffic>,
    /// Origin of the clock, while it runs.
    origin: Option<Instant>,
    /// Every exchange since the clock was started.
    exchanges: Vec<Transfer>,
    carrier: Option<Box<Carrier>>,
    /// Exchanges with other ranks that have begun, by the slots that they end in.
    arrivals: HashMap<Slot, Arrival>,
}

/// A transfer of a slot from one member to another, with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Index of the sending member.
    pub from: usize,
    /// Index of the receiving member.
    pub to: usize,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Time at which the host began to wait for it, in seconds since the origin of the clock.
    pub begin: f64,
    /// Time at which it had arrived, in seconds since the origin of the clock.
    pub end: f64,
}

/// Sum of the transfers from one member to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Bytes on the wire.
    pub bytes: u64,
    /// Copies of maps from one device to another.
    pub exchanges: u64,
    /// Time that the host spent on them, waiting and copying.
    pub time: Duration,
}

impl Cluster {
    /// Cuts `program` into one part for each of `count` members, tower t on member t % `count`, and sets each up with
    /// `set_up`, which gets the member's index and its part.
    pub fn new(
        program: &Program,
        count: usize,
        mut set_up: impl FnMut(usize, Program) -> Result<Box<dyn Backend>, BackendError>,
    ) -> Result<Self, BackendError> {
        let schedule = Partition::new(program, count);
        let mut members = Vec::with_capacity(count);
        for index in 0..count {
            members.push(set_up(index, schedule.part(index)).map_err(|e| whose(&schedule.program, count, index, e))?);
        }
        let mut actions = schedule.actions;
        // Devices that only queue start before one that computes in this thread.
        for action in actions.iter_mut().flat_map(|(_, actions)| actions) {
            if let Action::Run(runs) = action {
                runs.sort_by_key(|(member, _)| (members[*member].blocks(), *member));
            }
        }
        Ok(Self {
            program: schedule.program,
            members,
            actions,
            traffic: BTreeMap::new(),
            origin: None,
            exchanges: Vec::new(),
            carrier: None,
            arrivals: HashMap::new(),
        })
    }

    /// Takes part in exchanges with other ranks through `carrier`.
    pub fn connect(&mut self, carrier: Box<Carrier>) {
        self.carrier = Some(carrier);
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Letters of the towers and name of the device of every member, for messages.
    pub fn devices(&self) -> Vec<(String, String)> {
        let towers = |index| towers(&self.program, self.members.len(), index);
        self.members.iter().enumerate().map(|(index, member)| (towers(index), member.device())).collect()
    }

    /// Memory that the program takes on every member, in bytes.
    pub fn footprints(&self) -> Vec<Footprint> {
        self.members.iter().map(|member| member.footprint()).collect()
    }

    /// The chosen variants of all runs whose kernel has several, over all members.
    pub fn variants(&self) -> Variants {
        let mut variants = Variants::new();
        for (run, found) in self.members.iter().flat_map(|member| member.variants()) {
            variants.entry(run).or_default().extend(found);
        }
        variants
    }

    /// Bytes that the driver's allocator has given to every member; `None` where it keeps no count.
    pub fn allocated(&self) -> Vec<Option<u64>> {
        self.members.iter().map(|member| member.allocated()).collect()
    }

    /// Sums of the transfers by (sender, receiver), since the cluster was set up or the clock was started.
    pub fn traffic(&self) -> &BTreeMap<(usize, usize), Traffic> {
        &self.traffic
    }

    /// The part of the program that member `index` runs.
    pub fn part(&self, index: usize) -> &Program {
        self.members[index].program()
    }

    /// Time that the host has spent waiting for members, or computing in their place.
    pub fn waited(&self) -> Duration {
        self.members.iter().map(|member| member.waited()).sum()
    }

    /// Starts to measure work and transfers, in seconds since `origin`.
    pub fn start_clock(&mut self, detail: ClockDetail, origin: Instant) {
        self.traffic.clear();
        self.exchanges.clear();
        self.origin = Some(origin);
        self.members.iter_mut().for_each(|member| member.start_clock(detail, origin));
    }

    /// Stops measuring and forgets the transfers.
    pub fn stop_clock(&mut self) {
        self.origin = None;
        self.exchanges.clear();
        self.members.iter_mut().for_each(|member| member.stop_clock());
    }

    /// The transfers since [`Cluster::start_clock`], in order.
    pub fn exchanges(&self) -> &[Transfer] {
        &self.exchanges
    }

    /// The work of every member since [`Cluster::start_clock`], by its own clock; `None` where it has none.
    pub fn spans(&mut self) -> Result<Vec<Option<Vec<Span>>>, BackendError> {
        (0..self.members.len()).map(|index| self.at(index, |member| member.spans())).collect()
    }

    /// Sets the contents of `slot`, whose element count `data` must have, on every device that has it.
    pub fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError> {
        self.members_of(slot).into_iter().try_for_each(|index| self.at(index, |member| member.write(slot, data)))
    }

    /// The contents of a float slot, once everything queued is done.
    pub fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        self.at(self.members_of(slot)[0], |member| member.read(slot))
    }

    /// Begins to fetch a float slot as it is once everything queued so far is done.
    pub fn fetch(&mut self, slot: Slot) -> Result<(), BackendError> {
        self.at(self.members_of(slot)[0], |member| member.fetch(slot))
    }

    /// The contents that [`Cluster::fetch`] fetched, waiting for them if need be.
    pub fn take(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        let mut taken = Vec::new();
        self.take_into(slot, &mut taken)?;
        Ok(taken)
    }

    /// The same, added to `taken`.
    pub(super) fn take_into(&mut self, slot: Slot, taken: &mut Vec<f32>) -> Result<(), BackendError> {
        let mut sink = |data: Data<'_>| {
            if let Data::F32(values) = data {
                taken.extend_from_slice(values);
            }
            Ok(())
        };
        self.at(self.members_of(slot)[0], |member| member.take(slot, false, &mut sink))
    }

    /// Queues a whole pass; returns before it is done.
    pub fn run(&mut self, pass: Pass) -> Result<(), BackendError> {
        self.run_unless(pass, &AtomicBool::new(false)).map(drop)
    }

    /// Queues a pass as [`Cluster::run`] does, or the beginning of it where `stop` is raised meanwhile; whether all of
    /// it is queued.
    pub fn run_unless(&mut self, pass: Pass, stop: &AtomicBool) -> Result<bool, BackendError> {
        for action in self.actions_of(pass) {
            match action {
                Action::Run(runs) => {
                    for (index, range) in runs {
                        if !self.at(index, |member| member.run_commands_unless(pass, range, stop))? {
                            return Ok(false);
                        }
                    }
                }
                exchange => self.exchange(&exchange)?,
            }
        }
        Ok(true)
    }

    /// Makes all transfers of a pass, and computes nothing.
    pub fn exchange_all(&mut self, pass: Pass) -> Result<(), BackendError> {
        self.actions_of(pass).iter().try_for_each(|action| self.exchange(action))
    }

    /// Runs a pass command by command, passes each float slot that was written to `stop`, and ends with the first slot
    /// for which that returns true.
    pub fn trace(&mut self, pass: Pass, mut stop: impl FnMut(&[f32]) -> bool) -> Result<Option<Slot>, BackendError> {
        self.walk(pass, |_, member, command| {
            member.run_commands(pass, command..command + 1)?;
            for slot in member.program().commands(pass)[command].writes() {
                let float = member.program().slot(slot).elem.is_float();
                if float && stop(&member.read(slot)?) {
                    return Ok(Some(slot));
                }
            }
            Ok(None)
        })
    }

    /// Goes through a pass command by command and transfer by transfer. `run` runs each command, given the member's
    /// index, the member and the command's index; the walk ends with the first result that is not `None`.
    pub fn walk<R>(
        &mut self,
        pass: Pass,
        mut run: impl FnMut(usize, &mut dyn Backend, usize) -> Result<Option<R>, BackendError>,
    ) -> Result<Option<R>, BackendError> {
        for action in self.actions_of(pass) {
            let Action::Run(runs) = action else {
                self.exchange(&action)?;
                continue;
            };
            for (index, command) in runs.into_iter().flat_map(|(index, range)| range.map(move |i| (index, i))) {
                let found = self.at(index, |member| run(index, member, command))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The actions of a pass, cloned because running borrows the members; a few dozen small values.
    pub(super) fn actions_of(&self, pass: Pass) -> Vec<Action> {
        self.actions.iter().find(|(p, _)| *p == pass).map_or_else(Vec::new, |(_, actions)| actions.clone())
    }

    /// Sends or receives what `action` says; nothing for a run.
    pub(super) fn exchange(&mut self, action: &Action) -> Result<(), BackendError> {
        let count = self.members.len();
        match *action {
            Action::Run(_) => Ok(()),
            Action::Send { member, from } => self.at(member, |member| member.fetch(from)),
            Action::Depart { across, count, from, to } => {
                let mut own = Vec::new();
                if let Some((_, from)) = from {
                    self.fetch(from)?;
                    own = self.take(from)?;
                }
                let alone = || BackendError::Across("a program for several ranks was run by one".into());
                let arrival = self.carrier.as_mut().ok_or_else(alone)?(across, count, own)?;
                self.arrivals.extend(to.map(|to| (to, arrival)));
                Ok(())
            }
            Action::Arrive { member, to } => {
                let Some(arrival) = self.arrivals.remove(&to) else { return Ok(()) };
                let came = arrival()?;
                self.at(member, |member| member.write(to, Data::F32(&came)))
            }
            Action::Receive { source, from, member, to, again } => {
                let begin = Instant::now();
                let Ok([there, here]) = self.members.get_disjoint_mut([source, member]) else {
                    unreachable!("a slot is sent to another member, never to its own")
                };
                // Of the slot's own type: the CPU engine hands over halves as floats.
                let bytes = self.program.slot(to).bytes();
                // An error of the sink is the receiver's, any other the sender's.
                let mut refused = false;
                let sent = there.take(from, again, &mut |data| here.write(to, data).inspect_err(|_| refused = true));
                sent.map_err(|e| whose(&self.program, count, if refused { member } else { source }, e))?;
                let traffic = self.traffic.entry((source, member)).or_default();
                traffic.bytes += bytes;
                traffic.exchanges += 1;
                traffic.time += begin.elapsed();
                self.exchanges.extend(self.origin.map(|origin| {
                    let seconds = |at: Instant| at.duration_since(origin).as_secs_f64();
                    Transfer { from: source, to: member, bytes, begin: seconds(begin), end: seconds(Instant::now()) }
                }));
                Ok(())
            }
        }
    }

    /// Calls `act` on member `index`; its errors name the member.
    pub(super) fn at<R>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut dyn Backend) -> Result<R, BackendError>,
    ) -> Result<R, BackendError> {
        let count = self.members.len();
        act(self.members[index].as_mut()).map_err(|e| whose(&self.program, count, index, e))
    }

    /// Indices of the members that have `slot`; the first is read from.
    pub(super) fn members_of(&self, slot: Slot) -> Vec<usize> {
        match self.program.slot(slot).home {
            Home::Every => (0..self.members.len()).collect(),
            Home::Tower(tower) => vec![member_of(tower, self.members.len())],
        }
    }
}

/// The letters of the towers of member `index` of `count`, with commas between.
pub fn towers(program: &Program, count: usize, index: usize) -> String {
    let letters = (index..program.towers()).step_by(count).map(|tower| letter(tower).to_string());
    letters.collect::<Vec<_>>().join(", ")
}

/// The error with the towers of member `index`, where there are several members.
fn whose(program: &Program, count: usize, index: usize, error: BackendError) -> BackendError {
    match error {
        error if count == 1 => error,
        error => BackendError::Member { towers: towers(program, count, index), error: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Engine;
    use crate::backend::testing::{COUNT, Meeting, meeting};

    const PASS: Pass = Pass::Evaluate;

    fn cluster(program: &Program, count: usize) -> Cluster {
        Cluster::new(program, count, |_, part| Engine::Cpu.set_up(part)).unwrap()
    }

    /// The cluster of a meeting whose tower t has the numbers t + 1, t + 2 and so on.
    fn filled(meeting: &Meeting, count: usize) -> Cluster {
        let mut cluster = cluster(&meeting.program, count);
        for (tower, &slot) in meeting.inputs.iter().enumerate() {
            cluster.write(slot, Data::F32(&numbers(tower))).unwrap();
        }
        cluster
    }

    fn numbers(tower: usize) -> Vec<f32> {
        (0..COUNT).map(|i| (tower + i + 1) as f32).collect()
    }

    #[test]
    fn any_number_of_devices_computes_the_same() {
        let meeting = meeting(false);
        for count in 1..=4 {
            let mut cluster = filled(&meeting, count);
            let per_run = Partition::new(&meeting.program, count).traffic(PASS);
            for runs in 1..3 {
                cluster.run(PASS).unwrap();
                for (tower, &slot) in meeting.outputs.iter().enumerate() {
                    let sum =
                        |(x, other): (f32, f32)| if tower == 0 { 2.0 * (x + other) } else { 4.0 * x + 2.0 * other };
                    let other = if tower == 0 { 3 } else { 0 };
                    let want: Vec<_> = numbers(tower).into_iter().zip(numbers(other)).map(sum).collect();
                    assert_eq!(cluster.read(slot).unwrap(), want, "tower {tower} on {count} devices");
                }
                let bytes: BTreeMap<_, _> = per_run.iter().map(|(&pair, &bytes)| (pair, runs * bytes)).collect();
                let found = cluster.traffic().iter().map(|(&pair, traffic)| (pair, traffic.bytes)).collect();
                assert_eq!(bytes, found, "{runs} runs on {count} devices");
                assert!(cluster.traffic().values().all(|traffic| traffic.exchanges == runs));
            }
        }
    }

    #[test]
    fn an_error_names_the_towers_of_its_device() {
        let lost = || BackendError::Lost { device: "second".into(), reason: "a test".into() };
        let set_up = |index, part| if index == 1 { Err(lost()) } else { Engine::Cpu.set_up(part) };
        let error = |count| Cluster::new(&meeting(false).program, count, set_up).err().unwrap().to_string();
        assert_eq!(error(2), format!("tower b, d: {}", lost()));
        assert_eq!(error(4), format!("tower b: {}", lost()));
    }

    /// It hands over what the last run left.
    #[test]
    fn exchanging_all_computes_nothing() {
        let meeting = meeting(false);
        let mut cluster = filled(&meeting, 2);
        cluster.run(PASS).unwrap();
        let (before, traffic) = (cluster.read(meeting.outputs[0]).unwrap(), cluster.traffic()[&(0, 1)]);
        cluster.write(meeting.inputs[0], Data::F32(&[100.0; COUNT])).unwrap();
        cluster.exchange_all(PASS).unwrap();
        assert_eq!(cluster.read(meeting.outputs[0]).unwrap(), before);
        assert_eq!(cluster.traffic()[&(0, 1)].bytes, 2 * traffic.bytes);
    }

    #[test]
    fn a_trace_ends_with_the_first_slot_that_is_asked_for() {
        let meeting = meeting(false);
        let mut cluster = filled(&meeting, 2);
        // The first number of tower d's input is 4.
        let found = cluster.trace(PASS, |values| values[0] > 7.0).unwrap().unwrap();
        assert_eq!(meeting.program.slot(found).name, "double.d");
        assert_eq!(cluster.trace(PASS, |_| false).unwrap(), None);
    }
}
