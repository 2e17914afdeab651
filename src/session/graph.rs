//! A graph of operators on its devices.

use std::collections::BTreeMap;

use super::SessionError;
use crate::backend::{BackendError, Cluster, Data, Placement};
use crate::graph::{Given, Graph, GraphError, GraphProgram, lower};
use crate::program::Pass;
use crate::session::layout::fit;
use crate::tensor::Tensor;

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
        let advised = |error: BackendError| error.with_fix("take fewer images at once, or another device");
        let mut lowered = lower(graph, given)?;
        lowered.program = fit(&lowered.program, &devices.limits(1)).map_err(advised)?;
        let mut backend = devices.set_up(&lowered.program)?;
        for upload in &lowered.uploads {
            backend.write(upload.slot, Data::F32(&upload.values()))?;
        }
        Ok(Self { lowered, backend })
    }

    /// Names of its devices, for messages.
    pub fn device(&self) -> String {
        self.backend.devices().into_iter().map(|(_, device)| device).collect::<Vec<_>>().join("; ")
    }

    /// Names and shapes of the outputs, in the order of the graph.
    pub fn outputs(&self) -> Vec<(&str, &[usize])> {
        self.lowered.outputs.iter().map(|output| (output.name.as_str(), &output.dims[..])).collect()
    }

    /// The outputs, in the order of the graph, for `inputs` of the shapes that were given, by their names.
    pub fn run(&mut self, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<(String, Tensor)>, SessionError> {
        for (name, &slot) in &self.lowered.inputs {
            let refuse = |reason| GraphError::Value { what: "input", name: name.clone(), reason };
            let tensor = inputs.get(name).ok_or_else(|| refuse("it is not given".into()))?;
            let (found, wanted) = (tensor.shape(), &self.lowered.program.slot(slot).shape);
            if found != wanted {
                return Err(refuse(format!("it has shape {found:?}, the network was set up for {wanted:?}")).into());
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
