//! From what a user writes after `--devices` to something that runs programs.

use std::rc::Rc;

use super::cpu::{self, Cpu};
use super::gpu::device::{Device, adapters, describe};
use super::gpu::{Gpu, pipeline};
use super::{Backend, BackendError, Cluster};
use crate::kernel::{Kernel, Variant};
use crate::program::Program;

/// One entry of a placement.
#[derive(Clone)]
pub enum Engine {
    /// The CPU engine.
    Cpu,
    /// An opened device.
    Gpu(Rc<Device>),
}

impl Engine {
    /// Opens every adapter of this machine, best first.
    ///
    /// # Errors
    /// When one does not open.
    pub fn all() -> Result<Vec<Self>, BackendError> {
        adapters().iter().map(|adapter| Ok(Self::Gpu(Rc::new(Device::open(adapter)?)))).collect()
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu => cpu::describe(),
            Self::Gpu(device) => device.describe(),
        }
    }

    /// The variants of `kernel` that run there; none on the CPU engine, which runs the twin.
    #[must_use]
    pub fn variants(&self, kernel: &'static Kernel) -> Vec<&'static Variant> {
        match self {
            Self::Cpu => Vec::new(),
            Self::Gpu(device) => kernel.variants.iter().filter(|v| pipeline::eligible(device, v)).collect(),
        }
    }

    /// Sets a program, or one device's part of it, up to run there.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn set_up(&self, program: Program) -> Result<Box<dyn Backend>, BackendError> {
        Ok(match self {
            Self::Cpu => Box::new(Cpu::<f32>::new(program)),
            Self::Gpu(device) => Box::new(Gpu::new(Rc::clone(device), program, &pipeline::first_eligible)?),
        })
    }

    /// Sets `program`, which runs a single kernel, up in the given variant; the CPU engine runs the twin.
    ///
    /// # Errors
    /// When it does not fit or compile.
    pub fn set_up_variant(
        &self,
        program: Program,
        variant: Option<&'static Variant>,
    ) -> Result<Box<dyn Backend>, BackendError> {
        match (self, variant) {
            (Self::Gpu(device), Some(variant)) => {
                Ok(Box::new(Gpu::new(Rc::clone(device), program, &|_, _, _| variant)?))
            }
            _ => self.set_up(program),
        }
    }
}

/// Where a network runs: tower t on entry t, beginning again where there are more towers than entries.
#[derive(Clone)]
pub struct Placement(Vec<Engine>);

impl From<Engine> for Placement {
    fn from(engine: Engine) -> Self {
        Self(vec![engine])
    }
}

impl Placement {
    /// Opens what `spec` names: `cpu`, the number of an adapter, or part of its name; several with commas between, in
    /// the order of the towers. `0,0` opens two devices, each with its queue, on one adapter. Without a spec the best
    /// adapter, or `None` where the machine has none.
    ///
    /// # Errors
    /// When nothing or more than one adapter answers to a name, or one does not open.
    pub fn open(spec: Option<&str>) -> Result<Option<Self>, BackendError> {
        let Some(spec) = spec else {
            let best = adapters().first().map(Device::open).transpose()?;
            return Ok(best.map(|device| Engine::Gpu(Rc::new(device)).into()));
        };
        // Looked for only where an adapter is named; opened one after the other, because some drivers crash otherwise.
        let found = if spec.split(',').all(|entry| entry == "cpu") { Vec::new() } else { adapters() };
        let descriptions: Vec<_> = found.iter().map(|adapter| describe(&adapter.get_info())).collect();
        let open = |entry: &str| match entry {
            "cpu" => Ok(Engine::Cpu),
            name => Ok(Engine::Gpu(Rc::new(Device::open(&found[choose(name, &descriptions)?])?))),
        };
        Ok(Some(Self(spec.split(',').map(open).collect::<Result<_, _>>()?)))
    }

    /// The entries, at least one.
    #[must_use]
    pub fn engines(&self) -> &[Engine] {
        &self.0
    }

    /// Sets `program` up to run there.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn set_up(&self, program: Program) -> Result<Cluster, BackendError> {
        // No more members than towers: a device that would have nothing to do is not one.
        let count = self.0.len().min(program.towers()).max(1);
        Cluster::new(program, count, |member, part| self.0[member].set_up(part))
    }
}

/// The adapter that `spec` names, by number or by part of its description.
fn choose(spec: &str, descriptions: &[String]) -> Result<usize, BackendError> {
    let listed = descriptions.iter().enumerate().map(|(i, text)| format!("{i}: {text}"));
    let all = || listed.clone().chain(["cpu".into()]).collect::<Vec<_>>().join("; ");
    let unknown = || BackendError::UnknownDevice { wanted: spec.into(), found: all() };
    if let Ok(number) = spec.parse::<usize>() {
        return if number < descriptions.len() { Ok(number) } else { Err(unknown()) };
    }
    let wanted = spec.to_lowercase();
    let matches: Vec<usize> =
        (0..descriptions.len()).filter(|&i| descriptions[i].to_lowercase().contains(&wanted)).collect();
    match matches[..] {
        [one] if !wanted.is_empty() => Ok(one),
        [] | [_] => Err(unknown()),
        _ => {
            let names: Vec<_> = matches.iter().map(|&i| format!("{i}: {}", descriptions[i])).collect();
            Err(BackendError::AmbiguousDevice { wanted: spec.into(), found: names.join("; ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_number_or_part_of_their_name() {
        let names = ["NVIDIA H100".to_owned(), "llvmpipe (LLVM 15)".into(), "llvmpipe (LLVM 19)".into()];
        assert_eq!(choose("0", &names).unwrap(), 0);
        assert_eq!(choose("nvidia", &names).unwrap(), 0);
        assert_eq!(choose("llvm 19", &names).unwrap(), 2);
        assert!(matches!(choose("llvmpipe", &names), Err(BackendError::AmbiguousDevice { .. })));
        for wrong in ["3", "radeon", "", "-1"] {
            let message = choose(wrong, &names).unwrap_err().to_string();
            assert!(message.contains("1: llvmpipe (LLVM 15)"), "{message}");
        }
    }
}
