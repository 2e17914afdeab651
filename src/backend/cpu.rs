//! The CPU engine, which runs the kernels' twins: at f32 for machines without an adapter, at f64 as the tests' oracle.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use half::f16;
use rayon::prelude::*;

use super::memory::{Location, MemoryPlan};
use super::{Backend, BackendError, ClockDetail, Data, Footprint, Sink, Span};
use crate::kernel::{Access, Arg, Args, Elem, Holds, Kernel, Params, Twin};
use crate::program::{Command, Pass, Program, Slot, SlotInfo, SlotRange};
use crate::tensor::Real;

/// A float type for which twins exist.
pub trait Precision: Real {
    /// The instance of `twin` at this precision.
    fn instance(twin: &Twin) -> fn(Args<Self>);

    /// Numbers at 32 bits, copied only where they are not.
    fn floats(values: &[Self]) -> Cow<'_, [f32]>;
}

impl Precision for f32 {
    fn instance(twin: &Twin) -> fn(Args<Self>) {
        twin.f32
    }

    fn floats(values: &[Self]) -> Cow<'_, [f32]> {
        values.into()
    }
}

impl Precision for f64 {
    fn instance(twin: &Twin) -> fn(Args<Self>) {
        twin.f64
    }

    fn floats(values: &[Self]) -> Cow<'_, [f32]> {
        values.iter().map(|value| *value as f32).collect()
    }
}

/// Contents of one buffer of the plan. In a plan floats and words may follow each other in the same memory; at f64 they
/// cannot, so each type has memory of its own, as much as its slots need. Halves are floats, rounded whenever they are
/// written, so that results are those of a device that stores halves.
#[derive(Default)]
struct Store<T> {
    floats: Vec<T>,
    words: Vec<u32>,
}

/// A program on the processor, its kernels spread over all cores.
pub struct Cpu<T> {
    program: Program,
    plan: MemoryPlan,
    stores: Vec<Store<T>>,
    fetched: HashMap<Slot, Fetched>,
    clock: Option<Clock>,
    busy: Duration,
}

/// Contents of a slot, copied when it was fetched.
enum Fetched {
    Floats(Vec<f32>),
    Words(Vec<u32>),
}

/// Clock of the engine: the times at which it worked.
struct Clock {
    detail: ClockDetail,
    origin: Instant,
    spans: Vec<Span>,
}

impl Clock {
    /// Adds runs of a pass, each as command, begin and end, that followed one another.
    fn add(&mut self, pass: Pass, received: bool, runs: &[(usize, Instant, Instant)]) {
        let seconds = |at: Instant| at.duration_since(self.origin).as_secs_f64();
        let stretches = runs.chunks(if self.detail == ClockDetail::Commands { 1 } else { runs.len().max(1) });
        for (index, stretch) in stretches.enumerate() {
            if let ([(first, begin, _), ..], [.., (last, _, end)]) = (stretch, stretch) {
                let (begin, end) = (seconds(*begin), seconds(*end));
                let received = received && index == 0;
                self.spans.push(Span { begin, end, received, pass, commands: *first..last + 1 });
            }
        }
    }
}

impl<T: Precision> Cpu<T> {
    /// Allocates everything `program` needs, filled with zeros.
    pub fn new(program: Program) -> Self {
        let plan = MemoryPlan::new(&program, u64::MAX);
        let mut ends = vec![[0; 2]; plan.buffers.len()];
        for (i, info) in program.slots().iter().enumerate().filter(|(i, _)| plan.has(Slot(*i))) {
            let place = plan.place(Slot(i));
            let end = &mut ends[place.buffer][usize::from(info.elem == Elem::U32)];
            *end = (*end).max(element(info, place) + info.count());
        }
        let store = |[floats, words]: [usize; 2]| Store { floats: vec![T::zero(); floats], words: vec![0; words] };
        let stores = ends.into_iter().map(store).collect();
        Self { program, plan, stores, fetched: HashMap::new(), clock: None, busy: Duration::ZERO }
    }

    /// The buffer of a slot, and its elements there.
    fn range(&self, slot: Slot) -> (usize, Range<usize>) {
        let place = self.plan.place(slot);
        let info = self.program.slot(slot);
        let start = element(info, place);
        (place.buffer, start..start + info.count())
    }

    /// Runs the kernel's twin on `views`, one for each of its bindings; `stop` may end it unfinished.
    fn run_kernel(&mut self, kernel: &Kernel, params: &Params, views: &[SlotRange], stop: &AtomicBool) {
        let range = |view: &SlotRange| {
            let (buffer, slot) = self.range(view.slot);
            (buffer, slot.start + view.start..slot.start + view.start + view.count)
        };
        let ranges: Vec<_> = views.iter().map(range).collect();
        let bound: Vec<_> = kernel.bindings.iter().zip(&ranges).collect();
        // Written stores are taken out while the others are borrowed; a kernel never reads and writes the same
        // buffer, because the plan gives every role, and every live map, a buffer of its own.
        let written = bound.iter().filter(|(binding, _)| binding.access != Access::Read);
        let mut taken: Vec<_> =
            written.map(|(_, (buffer, _))| (*buffer, std::mem::take(&mut self.stores[*buffer]))).collect();
        let mut outputs = taken.iter_mut();
        let mut buffers = Vec::with_capacity(bound.len());
        for (binding, (buffer, range)) in &bound {
            let (store, range) = (&self.stores[*buffer], range.clone());
            buffers.push(match (binding.access, binding.holds) {
                (Access::Read, Holds::Maps | Holds::Floats) => Arg::Read(&store.floats[range]),
                (Access::Read, Holds::Words) => Arg::Words(&store.words[range]),
                (Access::Write | Access::Update, holds) => match (outputs.next(), holds) {
                    (Some((_, store)), Holds::Maps | Holds::Floats) => Arg::Write(&mut store.floats[range]),
                    (Some((_, store)), Holds::Words) => Arg::WriteWords(&mut store.words[range]),
                    (None, _) => unreachable!("one output was taken out for every written binding"),
                },
            });
        }
        T::instance(&kernel.twin)(Args::new(params, buffers).unless(stop));
        for (buffer, store) in taken {
            self.stores[buffer] = store;
        }
        for (binding, (buffer, range)) in bound {
            if binding.access != Access::Read && binding.elem(params) == Elem::F16 {
                round(&mut self.stores[*buffer].floats[range.clone()]);
            }
        }
    }

    /// Sets a float slot at this precision.
    pub fn write_exact(&mut self, slot: Slot, values: &[T]) {
        let (buffer, range) = self.range(slot);
        self.stores[buffer].floats[range].copy_from_slice(values);
    }

    /// The contents of a float slot at this precision.
    pub fn read_exact(&self, slot: Slot) -> Vec<T> {
        let (buffer, range) = self.range(slot);
        self.stores[buffer].floats[range].to_vec()
    }
}

/// Index of a slot's first element in its buffer.
fn element(info: &SlotInfo, place: Location) -> usize {
    place.offset as usize / info.elem.bytes()
}

fn round<T: Real>(values: &mut [T]) {
    let half = |value: &mut T| *value = T::of(f16::from_f64(value.to_f64()).to_f64());
    values.par_chunks_mut(1 << 12).for_each(|chunk| chunk.iter_mut().for_each(half));
}

/// Name of the CPU engine with its number of threads, for messages.
pub fn describe() -> String {
    format!("cpu ({} threads)", rayon::current_num_threads())
}

impl<T: Precision> Backend for Cpu<T> {
    fn program(&self) -> &Program {
        &self.program
    }

    fn device(&self) -> String {
        describe()
    }

    fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError> {
        let (buffer, range) = self.range(slot);
        let halves = self.program.slot(slot).elem == Elem::F16;
        let store = &mut self.stores[buffer];
        match data {
            Data::F32(values) => {
                let floats = &mut store.floats[range];
                floats.iter_mut().zip(values).for_each(|(s, &v)| *s = T::of(f64::from(v)));
                if halves {
                    round(floats);
                }
            }
            Data::F16(values) => {
                store.floats[range].iter_mut().zip(values).for_each(|(s, v)| *s = T::of(v.to_f64()));
            }
            Data::U32(values) => store.words[range].copy_from_slice(values),
        }
        Ok(())
    }

    fn run_commands_unless(
        &mut self,
        pass: Pass,
        commands: Range<usize>,
        stop: &AtomicBool,
    ) -> Result<bool, BackendError> {
        let (mut received, mut runs) = (false, Vec::new());
        for index in commands {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            // Cloned because running needs the stores for itself; a few words beside a kernel's work.
            match self.program.commands(pass)[index].clone() {
                Command::Run { kernel, params, views, .. } => {
                    let begin = Instant::now();
                    self.run_kernel(kernel, &params, &views, stop);
                    self.busy += begin.elapsed();
                    runs.push((index, begin, Instant::now()));
                }
                Command::Receive { .. } => received |= runs.is_empty(),
                Command::Copy { .. } | Command::Across { .. } | Command::Send { .. } => (),
            }
        }
        if let Some(clock) = &mut self.clock {
            clock.add(pass, received, &runs);
        }
        // The last kernel may be unfinished.
        Ok(!stop.load(Ordering::Relaxed))
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        let (buffer, range) = self.range(slot);
        Ok(T::floats(&self.stores[buffer].floats[range]).into_owned())
    }

    fn read_words(&mut self, slot: Slot) -> Result<Vec<u32>, BackendError> {
        let (buffer, range) = self.range(slot);
        Ok(self.stores[buffer].words[range].to_vec())
    }

    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError> {
        let contents = match self.program.slot(slot).elem {
            Elem::F32 | Elem::F16 => Fetched::Floats(self.read(slot)?),
            Elem::U32 => Fetched::Words(self.read_words(slot)?),
        };
        self.fetched.insert(slot, contents);
        Ok(())
    }

    fn take(&mut self, slot: Slot, keep: bool, sink: &mut Sink<'_>) -> Result<(), BackendError> {
        let (buffer, range) = self.range(slot);
        let store = &self.stores[buffer];
        let outcome = match self.fetched.get(&slot) {
            Some(Fetched::Floats(values)) => sink(Data::F32(values)),
            Some(Fetched::Words(words)) => sink(Data::U32(words)),
            None if self.program.slot(slot).elem == Elem::U32 => sink(Data::U32(&store.words[range])),
            None => sink(Data::F32(&T::floats(&store.floats[range]))),
        };
        if !keep {
            self.fetched.remove(&slot);
        }
        outcome
    }

    fn blocks(&self) -> bool {
        true
    }

    fn footprint(&self) -> Footprint {
        self.plan.footprint()
    }

    fn allocated(&self) -> Option<u64> {
        None
    }

    fn waited(&self) -> Duration {
        self.busy
    }

    fn start_clock(&mut self, detail: ClockDetail, origin: Instant) {
        self.clock = Some(Clock { detail, origin, spans: Vec::new() });
    }

    fn stop_clock(&mut self) {
        self.clock = None;
    }

    fn spans(&mut self) -> Result<Option<Vec<Span>>, BackendError> {
        Ok(self.clock.as_ref().map(|clock| clock.spans.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{binary, half};
    use crate::program::{Home, Recorder, Role, SlotInfo};

    #[test]
    fn floats_follow_words_in_the_same_memory() {
        let mut recorder = Recorder::new();
        let mut slot = |name: &str, count, elem, role| {
            recorder.slot(SlotInfo { name: name.into(), shape: vec![count], elem, home: Home::Tower(0), role })
        };
        let (x, packed) = (slot("x", 8, Elem::F32, Role::Input), slot("packed", 4, Elem::U32, Role::Map));
        let (y, twice) = (slot("y", 8, Elem::F32, Role::Map), slot("twice", 8, Elem::F32, Role::Map));
        let out = slot("out", 8, Elem::F32, Role::Output);
        let (sum, halved) = (binary::Shape::sum(8), half::Shape { count: 8, scale: 1.0 }.params());
        recorder.begin(Pass::Evaluate);
        recorder.run(&half::PACK, halved.clone(), &[x, packed]);
        recorder.run(&half::UNPACK, halved, &[packed, y]);
        recorder.run(&binary::FORWARD, sum.clone(), &[y, y, twice]);
        recorder.run(&binary::FORWARD, sum, &[y, twice, out]);
        let mut cpu = Cpu::<f64>::new(recorder.finish());
        assert_eq!(cpu.plan.place(packed), cpu.plan.place(twice));
        for step in 0..2 {
            let values: Vec<f32> = (0..8).map(|i| (8 * step + i) as f32).collect();
            cpu.write(x, Data::F32(&values)).unwrap();
            cpu.run(Pass::Evaluate).unwrap();
            assert!(cpu.read(out).unwrap().iter().zip(&values).all(|(&out, x)| out == 3.0 * x));
        }
    }
}
