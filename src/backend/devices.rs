//! From what a user writes after `--devices` to something that runs programs.

use std::rc::Rc;

use super::cpu::{self, Cpu};
use super::gpu::device::{Device, adapters, describe};
use super::gpu::{Gpu, pipeline};
use super::{Backend, BackendError};
use crate::kernel::{Kernel, Variant};
use crate::program::Program;

/// Where a program is to run.
#[derive(Clone)]
pub enum Devices {
    /// The CPU engine.
    Cpu,
    /// One opened device.
    Gpu(Rc<Device>),
}

impl Devices {
    /// Opens what `spec` names: `cpu`, the number of an adapter, or part of its name; without a spec the best
    /// adapter, or `None` where the machine has none.
    ///
    /// # Errors
    /// When nothing or more than one adapter answers to the name, or it does not open.
    pub fn open(spec: Option<&str>) -> Result<Option<Self>, BackendError> {
        if spec == Some("cpu") {
            return Ok(Some(Self::Cpu));
        }
        let found = adapters();
        let adapter = match spec {
            None => found.first(),
            Some(spec) => {
                Some(&found[choose(spec, &found.iter().map(|a| describe(&a.get_info())).collect::<Vec<_>>())?])
            }
        };
        adapter.map(|adapter| Ok(Self::Gpu(Rc::new(Device::open(adapter)?)))).transpose()
    }

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

    /// Sets `program` up to run there.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn set_up(&self, program: Program) -> Result<Box<dyn Backend>, BackendError> {
        Ok(match self {
            Self::Cpu => Box::new(Cpu::<f32>::new(program)),
            Self::Gpu(device) => Box::new(Gpu::new(Rc::clone(device), program, &pipeline::first_eligible)?),
        })
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
