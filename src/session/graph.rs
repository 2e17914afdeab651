//! A graph of operators on its devices.

use std::collections::BTreeMap;

use super::SessionError;
use crate::backend::limits::{HOST, Remedy, mib};
use crate::backend::{BackendError, Cluster, Data, Limits, Placement};
use crate::graph::{Given, Graph, GraphError, GraphProgram, KnownOutput, Refusal, lower};
use crate::program::{Command, Pass, Program, Slot};
use crate::session::layout::fit;
use crate::tensor::Tensor;

/// The most operations of a network, far more than any has for some hundred images: hours on a processor.
const MOST_OPERATIONS: u64 = 1 << 47;

/// The node whose value is the largest, with its bytes.
fn largest(program: &Program) -> String {
    let touched = program.touched();
    let slots = program.slots().iter().zip(touched).filter(|(_, touched)| *touched).map(|(info, _)| info);
    slots
        .max_by_key(|info| info.bytes())
        .map_or_else(String::new, |info| format!("{} has {}", info.name, mib(info.bytes())))
}

/// Names the largest value in the refusal of a program that does not fit.
fn refuse(error: BackendError, program: &Program) -> BackendError {
    match error.with_remedy(Remedy::OtherDevice) {
        BackendError::TooLarge { what, needed, device, allowed, remedy } => {
            let what = format!("{what}, of which node {},", largest(program));
            BackendError::TooLarge { what, needed, device, allowed, remedy }
        }
        other => other,
    }
}

/// Refuses a program of far too many operations, and names the node that has most.
fn bound_operations(program: &Program, limits: &[Limits]) -> Result<(), BackendError> {
    let (mut all, mut most): (u64, (u64, &str)) = (0, (0, ""));
    for command in program.commands(Pass::Evaluate) {
        if let Command::Run { kernel, params, label, .. } = command {
            let operations = (kernel.flops)(params);
            all = all.saturating_add(operations);
            most = most.max((operations, &*label.layer));
        }
    }
    if all <= MOST_OPERATIONS {
        return Ok(());
    }
    Err(BackendError::TooLarge {
        what: format!("the network, {:.1e} operations of it in node {},", most.0 as f64, most.1),
        needed: format!("{:.1e} operations", all as f64),
        device: limits.first().map_or_else(String::new, |limits| limits.device.clone()),
        allowed: format!("{:.1e}", MOST_OPERATIONS as f64),
        remedy: Remedy::SmallerWindows,
    })
}

/// Refuses a program whose inputs and outputs, as they go to files and come from them, are more than the machine has.
fn bound_copies(lowered: &GraphProgram, limits: &[Limits]) -> Result<(), BackendError> {
    let host = limits.iter().filter_map(|limits| limits.memory.as_ref()).find(|memory| memory.pool == HOST);
    let bytes = |slot: Slot| lowered.program.slot(slot).bytes();
    // An output is read, and becomes the bytes of a file; on the engine it is there besides.
    let outputs: u64 = lowered.outputs.iter().map(|output| 3 * bytes(output.slot)).sum();
    let needed = lowered.inputs.values().map(|&slot| 2 * bytes(slot)).sum::<u64>().saturating_add(outputs);
    match host.filter(|host| needed > host.bytes) {
        None => Ok(()),
        Some(host) => Err(BackendError::TooLarge {
            what: format!("reading and writing what goes in and out, of which node {},", largest(&lowered.program)),
            needed: mib(needed),
            device: limits.first().map_or_else(String::new, |limits| limits.device.clone()),
            allowed: format!("{} of memory", mib(host.bytes)),
            remedy: Remedy::OtherDevice,
        }),
    }
}

/// A graph set up to run.
pub struct GraphSession {
    lowered: GraphProgram,
    backend: Cluster,
}

impl GraphSession {
    /// Sets `graph` up on `devices` for what is `given` for its inputs.
    ///
    /// # Errors
    /// When an input does not fit, a node asks for what is not supported, or the whole does not fit the devices, said
    /// before anything is allocated there; or a device fails.
    pub fn new(graph: &Graph, given: &BTreeMap<String, Given>, devices: &Placement) -> Result<Self, SessionError> {
        let mut lowered = lower(graph, given)?;
        let limits = devices.limits(1);
        bound_operations(&lowered.program, &limits)?;
        bound_copies(&lowered, &limits)?;
        lowered.program = fit(&lowered.program, &limits).map_err(|error| refuse(error, &lowered.program))?;
        let mut backend = devices.set_up(&lowered.program)?;
        for upload in &lowered.uploads {
            backend.write(upload.slot, Data::F32(&upload.values()))?;
        }
        lowered.uploads = Vec::new(); // The devices have them now.
        Ok(Self { lowered, backend })
    }

    /// Names of its devices, for messages.
    pub fn device(&self) -> String {
        self.backend.devices().into_iter().map(|(_, device)| device).collect::<Vec<_>>().join("; ")
    }

    /// Outputs of whole numbers, in the order of the graph: they are known before any run.
    pub fn known(&self) -> &[KnownOutput] {
        &self.lowered.known
    }

    /// Names and shapes of the outputs of floats, in the order of the graph.
    pub fn outputs(&self) -> Vec<(&str, &[usize])> {
        self.lowered.outputs.iter().map(|output| (output.name.as_str(), &output.dims[..])).collect()
    }

    /// The outputs of floats, in the order of the graph, for `inputs` of the shapes that were given, by their names.
    pub fn run(&mut self, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<(String, Tensor)>, SessionError> {
        for (name, &slot) in &self.lowered.inputs {
            let refuse = |reason| GraphError::Value { what: "input", name: name.clone(), reason };
            let tensor = inputs.get(name).ok_or_else(|| refuse(Refusal::NotGiven(name.clone())))?;
            let (found, wanted) = (tensor.shape(), &self.lowered.program.slot(slot).shape);
            if found != wanted {
                let (found, wanted) = (found.to_vec(), wanted.clone());
                return Err(refuse(Refusal::OtherShape { found, wanted }).into());
            }
            self.backend.write(slot, Data::F32(tensor.values()))?;
        }
        self.backend.run(Pass::Evaluate)?;
        let mut outputs = Vec::with_capacity(self.lowered.outputs.len());
        for output in &self.lowered.outputs {
            let values = self.backend.read(output.slot)?;
            outputs.push((output.name.clone(), Tensor::new(output.dims.clone(), values)));
        }
        Ok(outputs)
    }
}
