//! Contents of slots that the host takes out of a pass as soon as they are there, while the rest of it goes on.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::exchange::Action;
use super::{BackendError, Cluster};
use crate::program::{Pass, Slot};

/// Receiver of the contents of a group's slots, one behind the other.
pub type GroupSink<'a> = dyn FnMut(Vec<f32>) + 'a;

/// Groups of slots that are being collected.
struct Collection<'a> {
    groups: &'a [Vec<Slot>],
    /// By member and command: the slots that are complete when so many commands of the pass have run there.
    ends: Vec<Vec<(usize, Vec<Slot>)>>,
    /// Slots that are complete, and on their way from devices that only queue.
    fetched: HashSet<Slot>,
    /// Number of groups that were handed over.
    done: usize,
    /// Memory for the contents of each group.
    memory: &'a mut [Vec<f32>],
    sink: &'a mut GroupSink<'a>,
}

impl Cluster {
    /// Runs a pass and passes the contents of groups of slots to `sink`, in the order of the groups, each as soon as it
    /// is there, in the `memory` of the group. Every slot is one that the host reads in every step.
    pub fn run_collecting<'a>(
        &mut self,
        pass: Pass,
        groups: &'a [Vec<Slot>],
        memory: &'a mut [Vec<f32>],
        sink: &'a mut GroupSink<'a>,
    ) -> Result<(), BackendError> {
        let ends = self.ends(pass, groups);
        let mut collection = Collection { groups, ends, fetched: HashSet::new(), done: 0, memory, sink };
        for action in self.actions_of(pass) {
            let Action::Run(runs) = action else {
                self.exchange(&action)?;
                continue;
            };
            for (member, range) in runs {
                self.run_in_parts(pass, member, range, &mut collection)?;
            }
        }
        self.hand_over(&mut collection, true)
    }

    /// Where the slots of every group are complete on every member. Those of a group wait for each other, so that a
    /// pass is cut no more often than there are groups.
    fn ends(&self, pass: Pass, groups: &[Vec<Slot>]) -> Vec<Vec<(usize, Vec<Slot>)>> {
        let mut ends = vec![Vec::new(); self.members.len()];
        for group in groups {
            let mut of_members: BTreeMap<usize, (usize, Vec<Slot>)> = BTreeMap::new();
            for &slot in group {
                let member = self.members_of(slot)[0];
                let commands = self.members[member].program().commands(pass);
                let end = commands.iter().rposition(|c| c.writes().contains(&slot)).map_or(commands.len(), |i| i + 1);
                let (last, slots) = of_members.entry(member).or_default();
                *last = end.max(*last);
                slots.push(slot);
            }
            for (member, end) in of_members {
                ends[member].push(end);
            }
        }
        for ends in &mut ends {
            ends.sort_by_key(|(end, _)| *end);
        }
        ends
    }

    /// Runs commands of a member and fetches what they complete.
    fn run_in_parts(
        &mut self,
        pass: Pass,
        member: usize,
        range: Range<usize>,
        collection: &mut Collection<'_>,
    ) -> Result<(), BackendError> {
        let within = |(end, _): &&(usize, Vec<Slot>)| range.start < *end && *end <= range.end;
        let ends: Vec<_> = collection.ends[member].iter().filter(within).cloned().collect();
        let mut begin = range.start;
        for (end, slots) in ends {
            self.at(member, |member| member.run_commands(pass, begin..end))?;
            begin = end;
            for slot in slots {
                // What a device has computed by now needs no copy.
                self.at(member, |member| if member.blocks() { Ok(()) } else { member.fetch(slot) })?;
                collection.fetched.insert(slot);
            }
            self.hand_over(collection, false)?;
        }
        self.at(member, |member| member.run_commands(pass, begin..range.end))
    }

    /// Hands over the groups that are next and whose slots are there; unless `all` is queued, devices that only queue
    /// are not waited for.
    fn hand_over(&mut self, collection: &mut Collection<'_>, all: bool) -> Result<(), BackendError> {
        while let Some(group) = collection.groups.get(collection.done) {
            let there = |slot: &Slot| {
                collection.fetched.contains(slot) && self.members[self.members_of(*slot)[0]].done_when_queued()
            };
            if !(all || group.iter().all(there)) {
                return Ok(());
            }
            let mut contents = std::mem::take(&mut collection.memory[collection.done]);
            contents.clear();
            group.iter().try_for_each(|&slot| self.take_into(slot, &mut contents))?;
            (collection.sink)(contents);
            collection.done += 1;
        }
        Ok(())
    }
}
