//! Runs the CPU twins: at f32 the engine of a machine without an adapter, at f64 the oracle of the tests.

use std::collections::HashMap;
use std::ops::Range;

use super::plan::Plan;
use super::{Backend, BackendError, Data};
use crate::kernel::{Access, Arg, Args, Elem, Kernel, Params, Twin};
use crate::program::{Command, Pass, Program, Slot};
use crate::tensor::Real;

/// A float type that twins exist for.
pub trait Precision: Real {
    /// The instance of `twin` at this precision.
    fn instance(twin: &Twin) -> fn(Args<Self>);
}

impl Precision for f32 {
    fn instance(twin: &Twin) -> fn(Args<Self>) {
        twin.f32
    }
}

impl Precision for f64 {
    fn instance(twin: &Twin) -> fn(Args<Self>) {
        twin.f64
    }
}

/// Contents of one buffer of the plan.
enum Store<T> {
    Floats(Vec<T>),
    Words(Vec<u32>),
}

/// A program on the processor, its kernels spread over all cores.
pub struct Cpu<T> {
    program: Program,
    plan: Plan,
    stores: Vec<Store<T>>,
    fetched: HashMap<Slot, Vec<f32>>,
}

impl<T: Precision> Cpu<T> {
    /// Allocates everything `program` needs, filled with zeros.
    #[must_use]
    pub fn new(program: Program) -> Self {
        let plan = Plan::new(&program, u64::MAX);
        let mut stores: Vec<Store<T>> = Vec::with_capacity(plan.buffers.len());
        stores.extend(plan.buffers.iter().map(|&(bytes, _)| Store::Floats(vec![T::zero(); bytes as usize / 4])));
        let words = program.slots().iter().enumerate().filter(|(i, info)| info.elem == Elem::U32 && plan.has(Slot(*i)));
        for (i, info) in words {
            stores[plan.place(Slot(i)).buffer] = Store::Words(vec![0; info.count()]);
        }
        Self { program, plan, stores, fetched: HashMap::new() }
    }

    fn range(&self, slot: Slot) -> (usize, Range<usize>) {
        let place = self.plan.place(slot);
        let start = place.offset as usize / 4;
        (place.buffer, start..start + self.program.slot(slot).count())
    }

    fn run_kernel(&mut self, kernel: &Kernel, params: &Params, slots: &[Slot]) {
        let ranges: Vec<_> = slots.iter().map(|&slot| self.range(slot)).collect();
        let bound: Vec<_> = kernel.bindings.iter().zip(&ranges).collect();
        // Written buffers are taken out of the store while the others are borrowed; a kernel never reads and
        // writes the same buffer (the plan gives every role its own, and live maps theirs).
        let written = bound.iter().filter(|(binding, _)| binding.access != Access::Read);
        let mut taken: Vec<_> = written.map(|(_, (buffer, _))| (*buffer, self.take(*buffer))).collect();
        let mut outputs = taken.iter_mut();
        let mut buffers = Vec::with_capacity(bound.len());
        for (binding, (buffer, range)) in &bound {
            buffers.push(match (&self.stores[*buffer], binding.access) {
                (_, Access::Write | Access::Update) => match outputs.next() {
                    Some((_, values)) => Arg::Write(&mut values[range.clone()]),
                    None => unreachable!("one output was taken out for every written binding"),
                },
                (Store::Floats(values), Access::Read) => Arg::Read(&values[range.clone()]),
                (Store::Words(values), Access::Read) => Arg::Words(&values[range.clone()]),
            });
        }
        T::instance(&kernel.twin)(Args::new(params, buffers));
        for (buffer, values) in taken {
            self.stores[buffer] = Store::Floats(values);
        }
    }

    fn take(&mut self, buffer: usize) -> Vec<T> {
        match &mut self.stores[buffer] {
            Store::Floats(values) => std::mem::take(values),
            Store::Words(_) => unreachable!("no kernel writes words"),
        }
    }

    /// Sets a float slot at this precision.
    pub fn write_exact(&mut self, slot: Slot, values: &[T]) {
        let (buffer, range) = self.range(slot);
        if let Store::Floats(store) = &mut self.stores[buffer] {
            store[range].copy_from_slice(values);
        }
    }

    /// The contents of a float slot at this precision.
    #[must_use]
    pub fn read_exact(&self, slot: Slot) -> Vec<T> {
        let (buffer, range) = self.range(slot);
        match &self.stores[buffer] {
            Store::Floats(values) => values[range].to_vec(),
            Store::Words(words) => words[range].iter().map(|&w| T::of(f64::from(w))).collect(),
        }
    }
}

/// The CPU engine, for people.
#[must_use]
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
        match (&mut self.stores[buffer], data) {
            (Store::Floats(store), Data::F32(values)) => {
                store[range].iter_mut().zip(values).for_each(|(s, &v)| *s = T::of(f64::from(v)));
            }
            (Store::Words(store), Data::U32(values)) => store[range].copy_from_slice(values),
            _ => unreachable!("a slot is written with its own scalar type"),
        }
        Ok(())
    }

    fn run_commands(&mut self, pass: Pass, commands: Range<usize>) -> Result<(), BackendError> {
        for index in commands {
            // Cloned because running needs the stores for itself; a few words beside a kernel's work.
            if let Command::Run { kernel, params, slots, .. } = self.program.commands(pass)[index].clone() {
                self.run_kernel(kernel, &params, &slots);
            }
        }
        Ok(())
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        Ok(self.read_exact(slot).into_iter().map(|v| v.to_f64() as f32).collect())
    }

    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError> {
        let values = self.read(slot)?;
        self.fetched.insert(slot, values);
        Ok(())
    }

    fn take(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        self.fetched.remove(&slot).map_or_else(|| self.read(slot), Ok)
    }

    fn blocks(&self) -> bool {
        true
    }

    fn allocated(&self) -> u64 {
        self.plan.bytes()
    }
}
