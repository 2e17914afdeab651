//! Placement of a network: from the text after `--devices` to opened engines, and which of them runs which tower.

use std::rc::Rc;

use super::cpu::{self, Cpu};
use super::device_names::{AUTO, alike, best_two, choose};
use super::gpu::adapter::{adapters, identity};
use super::gpu::device::Device;
use super::gpu::tune::VariantChoice;
use super::gpu::{Gpu, pipeline};
use super::limits::Limits;
use super::{Backend, BackendError, Cluster, SetupProgress, SetupWatch};
use crate::kernel::{Params, Variant};
use crate::program::{Program, Tower};

/// Index of the member that runs `tower`, of `members`: more towers than members wrap around.
pub(super) fn member_of(tower: Tower, members: usize) -> usize {
    tower % members
}

/// An engine that runs programs: one entry of a placement.
#[derive(Clone)]
pub enum Engine {
    /// The CPU engine, which runs the kernels' twins.
    Cpu,
    /// An adapter, opened with a queue of its own.
    Gpu(Rc<Device>),
}

impl Engine {
    /// Opens every adapter of this machine, best first.
    pub fn all() -> Result<Vec<Self>, BackendError> {
        adapters().iter().map(|adapter| Ok(Self::Gpu(Rc::new(Device::open(adapter)?)))).collect()
    }

    /// Name and driver, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu => cpu::describe(),
            Self::Gpu(device) => device.describe(),
        }
    }

    /// Whether it is a driver that computes on the processor.
    pub fn is_software(&self) -> bool {
        matches!(self, Self::Gpu(device) if device.is_software())
    }

    /// The limits that bound a program there.
    pub fn limits(&self) -> Limits {
        match self {
            Self::Cpu => Limits::cpu(),
            Self::Gpu(device) => device.bounds(),
        }
    }

    /// Whether the engine can run `variant` with `params`; the CPU engine runs no variants, but twins.
    pub fn runs(&self, variant: &Variant, params: &Params) -> bool {
        match self {
            Self::Cpu => false,
            Self::Gpu(device) => pipeline::eligible(device, variant, params),
        }
    }

    /// Whether the engine can store maps as halves.
    pub fn halves(&self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Gpu(device) => device.bounds().halves,
        }
    }

    /// Sets a program, or one device's part of it, up to run there.
    pub fn set_up(&self, program: Program) -> Result<Box<dyn Backend>, BackendError> {
        Ok(match self {
            Self::Cpu => Box::new(Cpu::<f32>::new(program)),
            Self::Gpu(device) => Box::new(Gpu::new(device, program, VariantChoice::Fastest)?),
        })
    }

    /// Sets `program`, which runs a single kernel, up in the given variant; the CPU engine runs the twin.
    pub fn set_up_variant(
        &self,
        program: Program,
        variant: Option<&'static Variant>,
    ) -> Result<Box<dyn Backend>, BackendError> {
        match (self, variant) {
            (Self::Gpu(device), Some(variant)) => {
                Ok(Box::new(Gpu::new(device, program, VariantChoice::Fixed(variant))?))
            }
            _ => self.set_up(program),
        }
    }
}

/// Devices of a network: tower t on entry t, beginning again where there are more towers than entries.
#[derive(Clone)]
pub struct Placement {
    engines: Vec<Engine>,
    /// Processes that share the memory of the engines.
    sharing: usize,
    wrap: Option<Rc<Wrap>>,
}

/// Callback that wraps the backend of a member, given its index.
type Wrap = dyn Fn(usize, Box<dyn Backend>) -> Box<dyn Backend>;

impl From<Vec<Engine>> for Placement {
    fn from(engines: Vec<Engine>) -> Self {
        Self { engines, sharing: 1, wrap: None }
    }
}

impl From<Engine> for Placement {
    fn from(engine: Engine) -> Self {
        vec![engine].into()
    }
}

impl Placement {
    /// Opens what `spec` names, entries with commas between, in the order of the towers: `cpu`, or an adapter by its
    /// number, its PCI bus id, its `vendor:device` or part of its name. `0,0` opens two devices, each with its queue,
    /// on one adapter. Without a spec the best adapter, or `None` where the machine has none.
    ///
    /// `auto`, which stands alone, is the two best adapters, tower A on the better:
    /// - one GPU that is reached through two APIs counts once (by its PCI bus id, where drivers tell it);
    /// - hardware is not paired with software, which would only slow it down, but software is with software;
    /// - one adapter where there is no second to pair it with, `None` where there is none.
    pub fn open(spec: Option<&str>) -> Result<Option<Self>, BackendError> {
        Self::open_among(spec, (0, 1))
    }

    /// The same for process `number` of `count` on this machine: without a spec each takes the next adapter that is as
    /// good as the best, beginning again where there are more processes than those.
    pub fn open_among(spec: Option<&str>, (number, count): (usize, usize)) -> Result<Option<Self>, BackendError> {
        // Adapters are listed only where one is wanted, and opened one by one, because some drivers crash otherwise.
        let none = spec.is_some_and(|spec| spec.split(',').all(|entry| entry == "cpu"));
        let found = if none { Vec::new() } else { adapters() };
        let identities: Vec<_> = found.iter().map(identity).collect();
        let open = |number: usize| Ok(Engine::Gpu(Rc::new(Device::open(&found[number])?)));
        let named = |entry: &str| if entry == "cpu" { Ok(Engine::Cpu) } else { open(choose(entry, &identities)?) };
        let engines: Result<Vec<_>, BackendError> = match spec {
            None => alike(&identities)
                .get(number % alike(&identities).len().max(1))
                .copied()
                .map(open)
                .into_iter()
                .collect(),
            Some(AUTO) => best_two(&identities).into_iter().map(open).collect(),
            Some(entries) => entries.split(',').map(named).collect(),
        };
        let sharing = if spec.is_none() { count.div_ceil(alike(&identities).len().max(1)) } else { count };
        let engines = Some(engines?).filter(|engines| !engines.is_empty());
        Ok(engines.map(|engines| Self { sharing: sharing.max(1), ..engines.into() }))
    }

    /// The entries, at least one.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// Sets `program` up to run there.
    pub fn set_up(&self, program: &Program) -> Result<Cluster, BackendError> {
        let count = self.members(program.towers());
        Cluster::new(program, count, |member, part| {
            let backend = self.engines[member].set_up(part)?;
            Ok(match &self.wrap {
                Some(wrap) => wrap(member, backend),
                None => backend,
            })
        })
    }

    /// The limits of each device that runs a part of a network of `towers` towers.
    pub fn limits(&self, towers: usize) -> Vec<Limits> {
        let share = |mut limits: Limits| {
            limits.memory.iter_mut().for_each(|memory| memory.bytes /= self.sharing as u64);
            limits
        };
        self.engines[..self.members(towers)].iter().map(Engine::limits).map(share).collect()
    }

    /// The same devices, each backend wrapped by `wrap`, which gets the member's index: for faults and measurements.
    #[must_use]
    pub fn wrapped(self, wrap: impl Fn(usize, Box<dyn Backend>) -> Box<dyn Backend> + 'static) -> Self {
        Self { wrap: Some(Rc::new(wrap)), ..self }
    }

    /// The same devices, which report the progress of setting a program up to `watch`.
    #[must_use]
    pub fn watched(self, watch: impl Fn(SetupProgress) + 'static) -> Self {
        let watch: Rc<SetupWatch> = Rc::new(watch);
        for device in self.devices() {
            *device.watch.borrow_mut() = Some(Rc::clone(&watch));
        }
        self
    }

    /// The same devices without tuning: kernels run in the first variant that fits.
    #[must_use]
    pub fn untuned(self) -> Self {
        self.devices().for_each(|device| device.choices.do_not_measure());
        self
    }

    /// The same devices with shaders that check every index and bound every loop: slower, to diagnose drivers.
    #[must_use]
    pub fn checked(self) -> Self {
        self.devices().for_each(|device| device.checked.set(true));
        self
    }

    fn devices(&self) -> impl Iterator<Item = &Rc<Device>> {
        self.engines.iter().filter_map(|engine| match engine {
            Engine::Cpu => None,
            Engine::Gpu(device) => Some(device),
        })
    }

    /// Number of devices used for so many towers: one without a tower is not used.
    fn members(&self, towers: usize) -> usize {
        self.engines.len().min(towers).max(1)
    }
}
