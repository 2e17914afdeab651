//! Computation of an ONNX network on numpy arrays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CommandError;
use crate::backend::Placement;
use crate::files::{FileKind, check_target, write_file};
use crate::graph::{Given, Graph, KnownOutput};
use crate::interop::npy::{self, Array};
use crate::interop::{read_array, read_graph};
use crate::session::{GraphSession, SessionError};
use crate::tensor::Tensor;

/// An output array on disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenArray {
    /// Name in the network.
    pub name: String,
    /// Extents, the last axis innermost.
    pub shape: Vec<usize>,
    /// Path of its `.npy` file.
    pub file: PathBuf,
}

/// A network and the arrays that it reads.
#[derive(Clone, Debug)]
pub struct Run {
    graph: Graph,
    given: BTreeMap<String, Given>,
    floats: BTreeMap<String, Tensor>,
}

impl Run {
    /// Reads the network in `model` and, by the names of its inputs, `.npy` files; `outputs` are those to compute, all
    /// where none is named.
    pub fn read(model: &Path, inputs: &[(String, PathBuf)], outputs: &[String]) -> Result<Self, CommandError> {
        let mut run = Self { graph: read_graph(model)?, given: BTreeMap::new(), floats: BTreeMap::new() };
        if !outputs.is_empty() {
            run.graph.keep_outputs(outputs).map_err(SessionError::from)?;
        }
        for (name, path) in inputs {
            let given = match read_array(path)? {
                Array::Integers { dims, values } => Given::Integers { dims, values },
                Array::Floats(tensor) => {
                    let given = Given::Floats(tensor.shape().to_vec());
                    run.floats.insert(name.clone(), tensor);
                    given
                }
            };
            if run.given.insert(name.clone(), given).is_some() {
                return Err(CommandError::Twice(name.clone()));
            }
        }
        Ok(run)
    }

    /// Sets the network up on `devices`.
    pub fn session(&self, devices: &Placement) -> Result<GraphSession, SessionError> {
        GraphSession::new(&self.graph, &self.given, devices)
    }

    /// Computes the network once and writes each output to `folder` as a `.npy` file of its name, with `_` for
    /// characters that file names should not have. Nothing is written unless everything was computed.
    pub fn write(&self, session: &mut GraphSession, folder: &Path) -> Result<Vec<WrittenArray>, CommandError> {
        let outputs = session.run(&self.floats)?;
        let known = session.known();
        let all = outputs.iter().map(|(name, _)| name).chain(known.iter().map(|output| &output.name));
        let names: BTreeSet<String> = all.map(|name| file_name(name)).collect();
        if names.len() < outputs.len() + known.len() {
            return Err(CommandError::SameFile(names.into_iter().collect::<Vec<_>>().join(", ")));
        }
        std::fs::create_dir_all(folder).map_err(|error| CommandError::Folder { path: folder.into(), error })?;
        names.iter().try_for_each(|name| check_target(&folder.join(name), FileKind::Npy, None))?;
        let mut written = Vec::with_capacity(names.len());
        let mut write = |name: &str, shape: &[usize], bytes: &[u8]| {
            let file = folder.join(file_name(name));
            write_file(&file, bytes)?;
            written.push(WrittenArray { name: name.into(), shape: shape.into(), file });
            Ok::<_, CommandError>(())
        };
        for (name, tensor) in &outputs {
            write(name, tensor.shape(), &npy::bytes(tensor))?;
        }
        for KnownOutput { name, dims, values } in known {
            write(name, dims, &npy::integer_bytes(dims, values))?;
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
