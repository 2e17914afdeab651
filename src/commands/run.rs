//! A network of an ONNX file on arrays of numpy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::backend::Placement;
use crate::files::{read_file, write_file};
use crate::graph::{Given, Graph};
use crate::interop::npy::{self, Array};
use crate::interop::onnx;
use crate::session::GraphSession;
use crate::tensor::Tensor;

/// An output that was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenArray {
    /// Its name in the network.
    pub name: String,
    /// Extents, the last one innermost.
    pub shape: Vec<usize>,
    /// Where it is.
    pub file: PathBuf,
}

/// A network and its inputs.
#[derive(Clone, Debug)]
pub struct Run {
    graph: Graph,
    given: BTreeMap<String, Given>,
    floats: BTreeMap<String, Tensor>,
}

/// The graph of an ONNX file.
pub fn read_graph(path: &Path) -> Result<Graph> {
    let bytes = read_file(path)?;
    onnx::parse(&bytes).with_context(|| path.display().to_string())
}

impl Run {
    /// Reads the network in `model` and, by the names of its inputs, `.npy` files.
    pub fn read(model: &Path, inputs: &[(String, PathBuf)]) -> Result<Self> {
        let mut run = Self { graph: read_graph(model)?, given: BTreeMap::new(), floats: BTreeMap::new() };
        for (name, path) in inputs {
            let bytes = read_file(path)?;
            let array = npy::parse(&bytes).with_context(|| path.display().to_string())?;
            let given = match array {
                Array::Integers { dims, values } => Given::Integers { dims, values },
                Array::Floats(tensor) => {
                    let given = Given::Floats(tensor.shape().to_vec());
                    run.floats.insert(name.clone(), tensor);
                    given
                }
            };
            if run.given.insert(name.clone(), given).is_some() {
                bail!("input {name} is given twice");
            }
        }
        Ok(run)
    }

    /// Sets the network up on `devices`.
    pub fn session(&self, devices: &Placement) -> Result<GraphSession> {
        Ok(GraphSession::new(&self.graph, &self.given, devices)?)
    }

    /// Computes it once and writes each output to a `.npy` file of its name in `folder`, which gets none when something
    /// fails before; characters that file names should not have become `_`.
    pub fn write(&self, session: &mut GraphSession, folder: &Path) -> Result<Vec<WrittenArray>> {
        let outputs = session.run(&self.floats)?;
        let names: BTreeSet<String> = outputs.iter().map(|(name, _)| file_name(name)).collect();
        if names.len() < outputs.len() {
            bail!("two outputs would be written to one file: {}", names.into_iter().collect::<Vec<_>>().join(", "));
        }
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut written = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            let file = folder.join(file_name(&name));
            write_file(&file, &npy::bytes(&tensor))?;
            written.push(WrittenArray { name, shape: tensor.shape().to_vec(), file });
        }
        Ok(written)
    }
}

fn file_name(output: &str) -> String {
    let letter = |c: char| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    format!("{}.npy", output.chars().map(letter).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_in_the_folder() {
        assert_eq!(file_name("../a b:0/c"), ".._a_b_0_c.npy");
        assert_eq!(file_name("fc8"), "fc8.npy");
    }
}
