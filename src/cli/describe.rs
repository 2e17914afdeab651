use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::{Placed, Replaced, built_in, open_net};
use super::output::{bytes, json, line, table, thousands};
use alexnet::backend::Footprint;
use alexnet::commands::describe::{Description, LayerInfo};
use alexnet::net::{Job, MOST_IMAGES, Options};
use alexnet::session::layout::TrainingPlan;
use alexnet::session::open_devices;

#[derive(Debug, Args)]
pub(super) struct Describe {
    #[arg(help = format!("A model file, or a built-in network: {}", built_in()))]
    model: String,
    #[command(flatten)]
    replaced: Replaced,
    /// Images in a minibatch, for the memory [default: the model's training batch]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MOST_IMAGES as i64))]
    batch: Option<u32>,
    #[command(flatten)]
    placed: Placed,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Titled {
    model: String,
    #[serde(flatten)]
    description: Description,
}

impl Describe {
    pub(super) fn run(self) -> Result<()> {
        let net = open_net(&self.model, &self.replaced)?;
        let batch = self.batch.map_or(net.model.train.batch, |batch| batch as usize);
        let limits = match &self.placed.devices {
            Some(_) => open_devices(self.placed.devices.as_deref())?.limits(net.model.towers),
            None => Vec::new(),
        };
        let job = Job::training(batch).with(self.placed.over(Options::DEFAULT));
        let description = Description::new(&net, &job, &limits)?;
        if self.json { json(&Titled { model: self.model, description }) } else { print(&self.model, &description) }
    }
}

fn print(model: &str, it: &Description) -> Result<()> {
    line(format_args!("{model}: {}\n", it.about))?;
    let header = ["layer", "what it is", "sees", "output", "weights", "biases", "multiply-adds", "neurons"];
    let mut rows = table(&header, &[4, 5, 6, 7]);
    let crop = format!("crop of an image of {0}×{0}", it.stored);
    let what = if it.stored > it.input[1] { &crop } else { "image" };
    rows.add_row(["input", what, "", &shape(1, it.input)]);
    for layer in &it.layers {
        rows.add_row(row(layer));
    }
    let biases: u64 = it.layers.iter().map(|layer| layer.biases).sum();
    let weights = it.parameters - biases;
    let sums = [weights, biases, it.multiply_adds, it.neurons].map(thousands);
    rows.add_row(["", "", "", "total"].into_iter().map(str::to_owned).chain(sums));
    line(format_args!("{}\n", rows.trim_fmt()))?;
    let sides: Vec<_> = it.maps.iter().map(usize::to_string).collect();
    if !sides.is_empty() {
        line(format_args!("maps           {}", sides.join("-")))?;
    }
    line(format_args!("parameters     {}", thousands(it.parameters)))?;
    line(format_args!("neurons        {}", thousands(it.neurons)))?;
    line(format_args!("multiply-adds  {} an image, forward", thousands(it.multiply_adds)))?;
    line(format_args!("training       {} floating-point operations an image", thousands(it.training_flops)))?;
    print_plan(&it.plan)
}

fn print_plan(plan: &TrainingPlan) -> Result<()> {
    let TrainingPlan { minibatch, micro_batch, .. } = *plan;
    let at_once = if micro_batch < minibatch { format!(", {micro_batch} images at once") } else { String::new() };
    line(format_args!("memory         {} to train with batches of {minibatch}{at_once}\n", bytes(plan.total)))?;
    let mut header = vec![""];
    header.extend(plan.devices.iter().map(|share| share.towers.as_str()));
    let columns: Vec<usize> = (1..header.len()).collect();
    let mut rows = table(&header, &columns);
    let mut row = |name: &str, part: &dyn Fn(&Footprint) -> u64| {
        let sizes = plan.devices.iter().map(|share| bytes(part(&share.footprint)));
        rows.add_row(std::iter::once(name.to_owned()).chain(sizes));
    };
    for (name, _) in plan.devices.first().map(|share| share.footprint.parts()).unwrap_or_default() {
        row(name, &|footprint| footprint.parts().into_iter().filter(|part| part.0 == name).map(|part| part.1).sum());
    }
    row("total", &|footprint| footprint.total);
    line(format_args!("{}\n", rows.trim_fmt()))?;
    for share in &plan.devices {
        let memory = share.memory.map_or(String::new(), |all| format!(", which may take {}", bytes(all)));
        line(format_args!("tower {:<8} {}{memory}", share.towers, share.device))?;
    }
    if let Some(most) = plan.largest_micro_batch {
        line(format_args!("fits           up to {} images at once", thousands(most as u64)))?;
    }
    if plan.crossings.is_empty() {
        return Ok(());
    }
    let mut rows = table(&["crosses, bytes a batch", "forward", "backward", "update"], &[1, 2, 3]);
    for crossing in &plan.crossings {
        let way = format!("{} → {}", crossing.from, crossing.to);
        let sizes = [crossing.forward, crossing.backward, crossing.update].map(thousands);
        rows.add_row(std::iter::once(way).chain(sizes));
    }
    line(format_args!("\n{}", rows.trim_fmt()))
}

fn row(layer: &LayerInfo) -> Vec<String> {
    // Stages are told apart from rows by their indentation; they read their own tower and have no weights.
    let stage = layer.name.split_once('.').map(|(_, stage)| format!("  {stage}"));
    let sees = if stage.is_some() { "" } else { layer.sees };
    let number = |value: u64| if value == 0 { String::new() } else { thousands(value) };
    vec![
        stage.unwrap_or_else(|| layer.name.clone()),
        layer.what.clone(),
        sees.into(),
        shape(layer.towers, layer.output),
        number(layer.weights),
        number(layer.biases),
        number(layer.multiply_adds),
        number(layer.neurons),
    ]
}

/// `2 × 48×55×55`: two towers with 48 maps of 55×55 each; a fully connected layer has only neurons.
fn shape(towers: usize, [maps, height, width]: [usize; 3]) -> String {
    let one = if height * width == 1 { maps.to_string() } else { format!("{maps}×{height}×{width}") };
    if towers == 1 { one } else { format!("{towers} × {one}") }
}
