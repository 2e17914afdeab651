//! A training step as `alexnet kernels --wgsl DIR --model MODEL` writes it: runs of kernels, and the shaders for each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// The file `index.json`.
#[derive(Deserialize)]
pub struct Step {
    pub runs: Vec<Run>,
    pub shaders: Vec<Shader>,
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A run of a kernel.
#[derive(Deserialize)]
pub struct Run {
    pub pass: String,
    pub phase: String,
    pub layer: String,
    pub kernel: String,
    pub params: String,
    pub flops: u64,
    pub bytes: u64,
}

/// A variant with the parameters of a run.
#[derive(Deserialize)]
pub struct Shader {
    pub kernel: String,
    pub params: String,
    /// Parameters and tile by name.
    pub values: BTreeMap<String, serde_json::Value>,
    pub variant: String,
    pub file: String,
    pub stages: Vec<Stage>,
    pub workgroup_bytes: u32,
    pub subgroup_size: Option<u32>,
    pub matrix: bool,
}

/// An entry point.
#[derive(Deserialize)]
pub struct Stage {
    pub entry: String,
    pub workgroups: [u32; 3],
    pub threads: [u32; 3],
    pub bindings: Vec<u32>,
}

impl Stage {
    /// Threads of a workgroup.
    pub fn all(&self) -> u32 {
        self.threads.iter().product()
    }
}

impl Step {
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("index.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let step: Self = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        Ok(Self { folder: folder.into(), ..step })
    }

    /// The first layer that a shader computes a part of.
    pub fn layer(&self, shader: &Shader) -> &str {
        let run = self.runs.iter().find(|run| (&run.kernel, &run.params) == (&shader.kernel, &shader.params));
        run.map_or("", |run| &run.layer)
    }

    /// The shaders that a GPU can run, each with its layer; those for subgroups of 8 lanes are for software drivers.
    pub fn of_gpus(&self) -> impl Iterator<Item = (&str, &Shader)> {
        let able = self.shaders.iter().filter(|shader| shader.subgroup_size.is_none_or(|lanes| lanes > 8));
        able.map(|shader| (self.layer(shader), shader))
    }
}

impl Shader {
    /// A whole number among parameters and tile.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.as_u64()
    }

    /// Multiply-adds (matrix products) of a thread between two barriers, where a driver may not unroll the loop over
    /// them.
    pub fn work(&self) -> Option<f64> {
        let depth = self.number("bk").filter(|_| !self.matrix)?;
        Some(64.0 * depth as f64)
    }

    pub fn groups(&self) -> u64 {
        self.stages[0].workgroups.iter().map(|&extent| u64::from(extent)).product()
    }
}
