//! Towers are mathematics: how many there are changes the function only through who sees whom. And memory: what two
//! towers and two directions share must never be overwritten while somebody still reads it.

use std::collections::HashMap;

use alexnet::backend::cpu::Precision;
use alexnet::backend::memory::MemoryPlan;
use alexnet::net::{Job, Model, Net, Options, Trained, lower, model};
use alexnet::program::{Command, Pass, Program, Role, Slot, letter};
use alexnet::wgsl::constants;

use crate::engine::{self, Engine};

/// A network in which every row sees all towers; no normalisation, whose window ends at the tower's edge.
fn all_see_both(towers: usize) -> String {
    let last = if towers > 1 { r#"on = "a", "# } else { "" };
    format!(
        r#"input = {{ channels = 3, size = 12 }}
        towers = {towers}
        pool = {{ size = 3, stride = 2 }}
        layers = [
          {{ name = "conv1", conv = {{ filters = 8, size = 3 }}, sees = "both", weights = 0.3, then = ["relu", "pool"] }},
          {{ name = "conv2", conv = {{ filters = 12, size = 3, pad = 1 }}, sees = "both", weights = 0.2, then = ["relu", "pool"] }},
          {{ name = "fc3", fc = 16, sees = "both", weights = 0.3, then = ["tanh", "dropout"] }},
          {{ name = "fc4", fc = 5, sees = "both", {last}weights = 0.4, then = ["softmax"] }},
        ]"#
    )
}

/// Puts the tensors of a layer on several towers together as the one a single tower has: blocks of rows by the tower
/// that is read, blocks of columns by the tower that computes.
fn assemble<T: Precision>(
    engine: &Engine<T>,
    towers: usize,
    name: &str,
    get: impl Fn(&Engine<T>, &Trained) -> Vec<T>,
) -> Vec<T> {
    let (layer, kind) = name.split_once('.').unwrap();
    let find = |name: &str| engine.lowered.trained.iter().find(|trained| trained.name == name);
    let mut blocks: Vec<Vec<(Vec<T>, usize)>> = Vec::new();
    for tower in 0..towers {
        let whole = format!("{layer}.{}.{kind}", letter(tower));
        let parts = (0..towers).map(|source| format!("{whole}.{}", letter(source)));
        let sources: Vec<&Trained> = find(&whole).into_iter().chain(parts.filter_map(|name| find(&name))).collect();
        if !sources.is_empty() {
            let columns = |trained: &Trained| *engine.lowered.program.slot(trained.value).shape.last().unwrap();
            blocks.push(sources.iter().map(|trained| (get(engine, trained), columns(trained))).collect());
        }
    }
    let mut out = Vec::new();
    for source in 0..blocks[0].len() {
        for row in 0..blocks[0][source].0.len() / blocks[0][source].1 {
            for block in &blocks {
                let (values, columns) = &block[source];
                out.extend_from_slice(&values[row * columns..][..*columns]);
            }
        }
    }
    out
}

fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
    assert!(rms > 0.0, "{what} is zero, which tests nothing");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * (want.abs() + rms), "{what}[{i}]: {got} instead of {want}");
    }
}

#[test]
fn towers_that_all_see_each_other_are_one_tower() {
    for towers in [2, 4] {
        let mut many = Engine::<f64>::new(&all_see_both(towers), 16);
        let mut one = Engine::<f64>::new(&all_see_both(1), 16);
        for trained in one.lowered.trained.clone() {
            let values = assemble(&many, towers, &trained.name, |engine, trained| engine.get(trained.value));
            assert_eq!(values.len(), one.lowered.program.slot(trained.value).count(), "{}", trained.name);
            one.set(trained.value, &values);
        }
        many.feed_all(5);
        one.feed_all(5);
        assert_close(&many.logits(), &one.logits(), 1e-12, &format!("logits of {towers} towers"));
        // With the same dropout masks, and backward.
        let (a, b) = (many.loss(Pass::Gradients), one.loss(Pass::Gradients));
        assert!((a - b).abs() < 1e-12, "{towers} towers: loss {a} instead of {b}");
        for trained in one.lowered.trained.clone() {
            let get = |engine: &Engine<f64>, trained: &Trained| engine.get(trained.gradient.unwrap());
            let together = assemble(&many, towers, &trained.name, get);
            assert_close(&together, &get(&one, &trained), 1e-11, &format!("{towers} towers: d {}", trained.name));
        }
    }
}

/// Rows that see their own tower, with everything that could leak: normalisation, padding, pools.
fn own(towers: usize) -> String {
    let (filters, last) = (8 * towers, if towers > 1 { r#"sees = "both", on = "a", "# } else { "" });
    format!(
        r#"input = {{ channels = 3, size = 11 }}
        towers = {towers}
        lrn = {{ size = 5, k = 1.0, alpha = 0.5, beta = 0.75 }}
        pool = {{ size = 3, stride = 2 }}
        layers = [
          {{ name = "conv1", conv = {{ filters = {filters}, size = 3 }}, weights = 0.3, then = ["relu", "lrn", "pool"] }},
          {{ name = "conv2", conv = {{ filters = {filters}, size = 3, pad = 1 }}, sees = "own", weights = 0.3, then = ["relu", "lrn"] }},
          {{ name = "fc3", fc = {filters}, sees = "own", weights = 0.2, then = ["tanh"] }},
          {{ name = "fc4", fc = 5, {last}weights = 0.3, then = ["softmax"] }},
        ]"#
    )
}

/// Block-diagonal: the scores of two towers are the sum of those of two networks, each with the classifier's rows for
/// its own features.
#[test]
fn towers_that_see_themselves_are_networks_side_by_side() {
    let mut both = Engine::<f64>::new(&own(2), 8);
    both.feed_all(5);
    let together = both.logits();
    let mut sum = vec![0.0; together.len()];
    for tower in 0..2 {
        let mut alone = Engine::<f64>::new(&own(1), 8);
        for trained in alone.lowered.trained.clone() {
            let (layer, kind) = trained.name.split_once('.').unwrap();
            let letter = letter(tower);
            let name = match (layer, kind) {
                ("fc4", "bias") => "fc4.a.bias".into(),
                ("fc4", _) => format!("fc4.a.weights.{letter}"),
                _ => format!("{layer}.{letter}.{kind}"),
            };
            let source = both.lowered.trained.iter().find(|trained| trained.name == name).unwrap();
            let mut values = both.get(source.value);
            if name == "fc4.a.bias" && tower > 0 {
                values.fill(0.0);
            }
            alone.set(trained.value, &values);
        }
        alone.feed_all(5);
        sum.iter_mut().zip(alone.logits()).for_each(|(sum, logit)| *sum += logit);
    }
    assert_close(&together, &sum, 1e-12, "logits");
}

#[test]
fn one_two_and_four_towers_train_at_working_precision() {
    for towers in [1, 2, 4] {
        let mut engine = Engine::<f32>::new(&all_see_both(towers), 8);
        engine.feed_all(5);
        engine.set_rate(0.01);
        let start = engine.loss(Pass::Evaluate);
        for _ in 0..100 {
            engine.run(Pass::Gradients);
            engine.run(Pass::Update);
        }
        let end = engine.loss(Pass::Evaluate);
        assert!(end < 0.8 * start, "{towers} towers: loss {start} became {end}");
    }
}

/// Every model with the batch it is trained with, and a model that has many towers.
fn programs() -> Vec<(String, Program)> {
    let mut nets: Vec<(String, Net)> = Vec::new();
    for (name, _) in model::BUILT_IN {
        nets.push(((*name).into(), Net::new(Model::open(name).unwrap()).unwrap()));
    }
    nets.extend([2, 4].map(|towers| (format!("{towers} towers"), engine::net(&all_see_both(towers)))));
    let all = |(name, net): &(String, Net)| {
        let whole = Job::training(net.model.train.batch);
        let again = whole.with(Options { micro_batch: Some(8), recompute: true, ..Options::DEFAULT });
        let jobs = [
            (format!("{name}, training"), whole),
            (format!("{name}, in micro-batches, recomputing"), again),
            (name.clone(), Job { training: false, ..whole }),
        ];
        jobs.map(|(name, job)| (name, lower(net, &job).program))
    };
    nets.iter().flat_map(all).collect()
}

/// What outlives a pass; of bundles the slots in them.
fn kept(program: &Program) -> Vec<Slot> {
    let slots = (0..program.slots().len()).map(Slot).filter(|slot| program.slot(*slot).role.persistent());
    slots.filter(|slot| program.bundles().iter().all(|bundle| bundle.slot != *slot)).collect()
}

/// These slots, and in place of bundles the slots in them.
fn apart(program: &Program, slots: &[Slot]) -> Vec<Slot> {
    let members = |slot: &Slot| match program.bundles().iter().find(|bundle| bundle.slot == *slot) {
        Some(bundle) => bundle.members.iter().map(|(member, _)| *member).collect(),
        None => vec![*slot],
    };
    slots.iter().flat_map(members).collect()
}

/// What lies where: byte ranges of buffers with the number of the write that filled them.
struct Memory<'a> {
    program: &'a Program,
    plan: &'a MemoryPlan,
    /// For every buffer, disjoint ranges and what was written there last.
    tags: Vec<Vec<(u64, u64, usize)>>,
    /// For every slot, the number of the write whose value it should hold.
    values: HashMap<Slot, usize>,
    writes: usize,
}

impl<'a> Memory<'a> {
    fn new(program: &'a Program, plan: &'a MemoryPlan) -> Self {
        let mut memory =
            Self { program, plan, tags: vec![Vec::new(); plan.buffers.len()], values: HashMap::new(), writes: 0 };
        // The host fills what is not a map, before the first pass.
        for slot in kept(program) {
            memory.write(slot);
        }
        memory
    }

    fn range(&self, slot: Slot) -> (usize, u64, u64) {
        let place = self.plan.place(slot);
        (place.buffer, place.offset, place.offset + self.program.slot(slot).bytes())
    }

    fn write(&mut self, slot: Slot) {
        let (buffer, start, end) = self.range(slot);
        assert!(end <= self.plan.buffers[buffer].0, "{} does not fit its buffer", self.program.slot(slot).name);
        self.writes += 1;
        self.values.insert(slot, self.writes);
        // Whatever is touched is gone, even where only a part of it is.
        self.tags[buffer].retain(|&(from, to, _)| to <= start || end <= from);
        self.tags[buffer].push((start, end, self.writes));
    }

    fn check(&self, slot: Slot, reader: &str) {
        let (buffer, start, end) = self.range(slot);
        let name = &self.program.slot(slot).name;
        let value = self.values.get(&slot).unwrap_or_else(|| panic!("{reader} reads {name}, which nobody wrote"));
        let intact = self.tags[buffer].contains(&(start, end, *value));
        assert!(intact, "{reader} reads {name}, which was overwritten");
    }

    fn run(&mut self, pass: Pass) {
        // Maps do not outlive their pass.
        let program = self.program;
        self.values.retain(|slot, _| program.slot(*slot).role.persistent());
        for command in program.commands(pass) {
            match command {
                Command::Copy { from, to, .. } => {
                    // On one device nothing runs for a copy, so it has to be the same memory.
                    self.check(*from, "a copy");
                    assert_eq!(self.plan.place(*from), self.plan.place(*to), "{}", program.slot(*to).name);
                    self.values.insert(*to, self.values[from]);
                }
                Command::Across { .. } => panic!("this program is one rank's alone"),
                Command::Send { .. } | Command::Receive { .. } => panic!("only parts of a program send"),
                Command::Run { kernel, params, .. } => {
                    let [reads, writes] = [command.reads(), command.writes()].map(|slots| apart(program, &slots));
                    let accumulates = !constants(params).contains("ACCUMULATE: bool = false");
                    for slot in &reads {
                        // An output that could be added to is only read when it is; a strided copy writes between what
                        // it leaves alone, and reads none of it.
                        if !writes.contains(slot) || (accumulates && kernel.name != "strided.copy") {
                            self.check(*slot, kernel.name);
                        }
                    }
                    let all: Vec<Slot> = reads.iter().chain(&writes).copied().collect();
                    for written in &writes {
                        for other in all.iter().filter(|other| *other != written) {
                            let ((a, a0, a1), (b, b0, b1)) = (self.range(*written), self.range(*other));
                            let apart = a != b || a1 <= b0 || b1 <= a0;
                            assert!(apart, "{} writes over its own {}", kernel.name, program.slot(*other).name);
                        }
                    }
                    for slot in writes {
                        self.write(slot);
                    }
                }
            }
        }
        for slot in kept(program) {
            self.check(slot, &format!("the host, after {pass:?},"));
            assert!(program.slot(slot).bytes() > 0, "{}", program.slot(slot).name);
        }
    }
}

#[test]
fn nothing_is_overwritten_while_it_is_needed() {
    for (name, program) in programs() {
        println!("{name}");
        let plan = MemoryPlan::new(&program, u64::MAX);
        let mut memory = Memory::new(&program, &plan);
        for pass in [Pass::Gradients, Pass::Update, Pass::Gradients, Pass::Evaluate, Pass::Update, Pass::Evaluate] {
            memory.run(pass);
            if pass == Pass::Gradients {
                memory.run(Pass::Accumulate);
            }
        }
    }
}

#[test]
fn arenas_are_packed_and_bundles_are_whole() {
    for (name, program) in programs() {
        for largest in [u64::MAX, 256 << 20] {
            let plan = MemoryPlan::new(&program, largest);
            for role in [Role::Weight, Role::State("momentum"), Role::Gradient] {
                let mut slots: Vec<_> =
                    program.with_role(role).map(|(slot, info)| (plan.place(slot), slot, info)).collect();
                slots.sort_by_key(|(place, ..)| (place.buffer, place.offset));
                let mut end: HashMap<usize, u64> = HashMap::new();
                for (place, _, info) in &slots {
                    assert_eq!(plan.buffers[place.buffer].1, role, "{name}: {}", info.name);
                    assert_eq!(place.offset % 256, 0, "{name}: {} is not aligned", info.name);
                    let next = end.get(&place.buffer).map_or(0, |end| end.next_multiple_of(256));
                    assert_eq!(place.offset, next, "{name}: {} leaves a gap or overlaps", info.name);
                    end.insert(place.buffer, place.offset + info.bytes());
                    assert!(
                        place.offset == 0 || place.offset + info.bytes() <= largest,
                        "{name}: the arena of {} is larger than it may be",
                        info.name
                    );
                }
                let arenas = end.len();
                assert!(largest < u64::MAX || arenas <= 1, "{name}: {arenas} arenas of {role:?}");
                for (buffer, bytes) in end {
                    let planned = plan.buffers[buffer].0.next_multiple_of(256);
                    assert_eq!(
                        planned,
                        bytes.next_multiple_of(256),
                        "{name}: a buffer of another size than its contents"
                    );
                }
                for bundle in program.bundles().iter().filter(|bundle| program.slot(bundle.slot).role == role) {
                    let first = slots.iter().position(|(_, slot, _)| *slot == bundle.members[0].0).unwrap();
                    for ((place, slot, info), (member, start)) in slots[first..].iter().zip(&bundle.members) {
                        assert_eq!(slot, member, "{name}: {} is among the members of another bundle", info.name);
                        let whole = plan.place(bundle.slot);
                        assert_eq!((place.buffer, place.offset), (whole.buffer, whole.offset + 4 * *start as u64));
                    }
                }
            }
        }
    }
}

#[test]
fn maps_share_memory() {
    for (name, program) in programs() {
        let plan = MemoryPlan::new(&program, u64::MAX);
        let copies = |slot: Slot| {
            let mut commands = program.passes().flat_map(|(_, commands)| commands);
            commands.any(|command| matches!(command, Command::Copy { to, .. } if *to == slot))
        };
        let maps = program.with_role(Role::Map).filter(|(slot, _)| !copies(*slot));
        let all: u64 = maps.map(|(_, info)| info.bytes()).sum();
        let planned = plan.bytes_of(Role::Map);
        println!("{name}: {} of {} MiB", planned >> 20, all >> 20);
        // In training, what forward leaves behind is needed again; still, little of it at a time.
        let most = if name == "alexnet, training" { all / 2 } else { all / 10 * 9 };
        assert!(planned < most, "{name}: {planned} bytes for maps of {all}");
        let largest = program.with_role(Role::Map).map(|(_, info)| info.bytes()).max().unwrap();
        assert!(planned >= largest, "{name}");
        let total: u64 = plan.buffers.iter().map(|(bytes, _)| bytes).sum();
        assert_eq!(plan.bytes(), total + plan.incoming.bytes() + plan.outgoing.bytes());
    }
}
