use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::named;
use super::output::{Output, gap, line, paragraph, tolerance};
use alexnet::commands::shaders;
use alexnet::kernel::{Access, Binding, Holds, Kernel, Variant};
use alexnet::net::{Job, MOST_IMAGES, Model, Net, OptionChanges, Options, Precision};
use alexnet::ops::KERNELS;

#[derive(Debug, Args)]
pub(super) struct Kernels {
    #[command(flatten)]
    output: Output,
    /// Write every variant and case as standard WGSL into this folder, with what to bind and what must come out
    #[arg(long, value_name = "DIR")]
    wgsl: Option<PathBuf>,
    /// Write the shaders of a training step of this network instead: a model file or a built-in one
    #[arg(long, requires = "wgsl")]
    model: Option<String>,
    /// Images of the step [default: the model's training batch]
    #[arg(long, requires = "model", value_parser = clap::value_parser!(u32).range(1..=MOST_IMAGES as i64))]
    batch: Option<u32>,
    /// Floating-point precision of the step [default: f32]
    #[arg(long, requires = "model", value_name = "PRECISION", value_parser = named::<Precision>())]
    precision: Option<Precision>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    doc: &'static str,
    bindings: Vec<BindingEntry>,
    variants: Vec<VariantEntry>,
    cases: usize,
    tolerance: f64,
}

#[derive(Serialize)]
struct BindingEntry {
    name: &'static str,
    access: &'static str,
    holds: &'static str,
}

#[derive(Serialize)]
struct VariantEntry {
    name: &'static str,
    /// Lanes that a subgroup must have, or the most where `subgroup_least` are enough.
    subgroup_size: Option<u32>,
    /// Fewest lanes of a subgroup, where they may differ.
    subgroup_least: Option<u32>,
    /// Sides of the matrices that its matrix units must multiply, of 16-bit floats.
    matrix: Option<u32>,
    /// Whether it loads words of 64 bits.
    words: bool,
}

impl Kernels {
    pub(super) fn run(self) -> Result<()> {
        let entries: Vec<Entry> = KERNELS.iter().map(|kernel| entry(kernel)).collect();
        if let Some(folder) = &self.wgsl {
            let shaders = match &self.model {
                None => shaders::write(folder, KERNELS)?.shaders.len(),
                Some(model) => self.write_step(folder, &Net::new(Model::open(model)?)?)?,
            };
            return line(format_args!("{}: {shaders} shaders, listed in index.json", folder.display()));
        }
        self.output.tell(&entries, |entries| print_all(entries))
    }

    /// Writes the shaders of a training step, and counts them.
    fn write_step(&self, folder: &Path, net: &Net) -> Result<usize> {
        let images = self.batch.map_or(net.model.train.batch, |batch| batch as usize);
        let changes = OptionChanges { precision: self.precision, ..OptionChanges::default() };
        let job = Job::training(images).with(Options::DEFAULT.changed(changes));
        Ok(shaders::write_step(folder, net, &job)?.shaders.len())
    }
}

fn print_all(entries: &[Entry]) -> Result<()> {
    entries.iter().try_for_each(print)?;
    let variants: usize = entries.iter().map(|entry| entry.variants.len()).sum();
    let cases: usize = entries.iter().map(|entry| entry.cases).sum();
    gap()?;
    line(format_args!("{} kernels in {variants} variants, {cases} cases", entries.len()))
}

fn entry(kernel: &Kernel) -> Entry {
    let binding = |b: &Binding| BindingEntry { name: b.name, access: access(b.access), holds: holds(b.holds) };
    let variant = |v: &Variant| VariantEntry {
        name: v.name,
        subgroup_size: v.needs.subgroup_size,
        subgroup_least: v.needs.subgroup_least,
        matrix: v.needs.matrix,
        words: v.needs.words,
    };
    let cases = (kernel.cases)();
    Entry {
        name: kernel.name,
        doc: kernel.doc,
        bindings: kernel.bindings.iter().map(binding).collect(),
        variants: kernel.variants.iter().map(variant).collect(),
        cases: cases.len(),
        tolerance: cases.iter().map(|case| kernel.tolerance_of(&case.params)).fold(0.0, f64::max),
    }
}

fn print(entry: &Entry) -> Result<()> {
    let binding = |b: &BindingEntry| format!("{}: {} {}", b.name, b.access, b.holds);
    let variant = |v: &VariantEntry| {
        let least = v.subgroup_least.map_or(String::new(), |least| format!("{least} to "));
        let lanes = v.subgroup_size.map(|lanes| format!("subgroups of {least}{lanes}"));
        let matrices = v.matrix.map(|side| format!("matrices of {side}×{side}"));
        let words = v.words.then(|| "64-bit words".to_owned());
        let needs: Vec<_> = lanes.into_iter().chain(matrices).chain(words).collect();
        if needs.is_empty() { v.name.to_owned() } else { format!("{} ({})", v.name, needs.join(", ")) }
    };
    line(entry.name)?;
    paragraph(&format!("    {}", entry.doc), 4)?;
    paragraph(&format!("    bindings  {}", entry.bindings.iter().map(binding).collect::<Vec<_>>().join(", ")), 14)?;
    paragraph(&format!("    variants  {}", entry.variants.iter().map(variant).collect::<Vec<_>>().join(", ")), 14)?;
    line(format_args!("    cases     {}, tolerance {}", entry.cases, tolerance(entry.tolerance)))
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Update => "update",
    }
}

fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Maps => "maps",
        Holds::Floats => "f32",
        Holds::Words => "u32",
    }
}
