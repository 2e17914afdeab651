use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::options::{Trial, built_in, named};
use super::output::{Output, Table, bytes, counted, gap, line, paragraph, percent, thousands};
use alexnet::backend::Footprint;
use alexnet::commands::describe::{Description, GraphDescription, Source, TrainedState};
use alexnet::commands::scaling::Scaling;
use alexnet::net::{Net, Options, Parallel};
use alexnet::ranks::Network;
use alexnet::session::layout::TrainingPlan;

#[derive(Debug, Args)]
pub(super) struct Describe {
    #[arg(value_name = "MODEL|RUN|CHECKPOINT|MODEL.onnx", help = format!("A run folder, a checkpoint, an ONNX file, a model file, or a built-in network: {}", built_in()))]
    model: String,
    #[command(flatten)]
    trial: Trial,
    #[command(flatten)]
    output: Output,
    /// Plan its training on up to so many ranks (mpirun), on the network that --network tells of
    #[arg(long, value_name = "COUNT", requires = "network", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    ranks: Option<usize>,
    /// Speed of the network between ranks, and the time of its shortest message
    #[arg(long, value_name = "10Gbit/s,20us", requires = "ranks")]
    network: Option<Network>,
    /// Time of a step of the whole minibatch on one rank, as `bench step` measures it [default: bytes and times of the
    /// exchange alone]
    #[arg(long, value_name = "15ms", requires = "ranks", value_parser = humantime::parse_duration)]
    device_step: Option<Duration>,
    /// How ranks share the work of a step [default: data]
    #[arg(long, value_name = "HOW", requires = "ranks", value_parser = named::<Parallel>())]
    parallel: Option<Parallel>,
    /// Describe a damaged checkpoint as well
    #[arg(long)]
    no_verify: bool,
}

#[derive(Serialize)]
struct Titled {
    model: String,
    #[serde(flatten)]
    description: Description,
    /// Of a checkpoint: how far it was trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    trained: Option<TrainedState>,
    /// Training on several ranks, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<Scaling>,
}

impl Describe {
    pub(super) fn run(self) -> Result<()> {
        let (mut model, trained) = match Source::of(&self.model, !self.no_verify)? {
            Source::Graph(graph) => return self.output.tell(&graph, print_graph),
            Source::Model(model) => (*model, None),
            Source::Checkpoint { model, state } => (*model, Some(state)),
        };
        self.trial.replaced.apply(&mut model)?;
        let net = Net::new(model).with_context(|| self.model.clone())?;
        let on = &self.trial.placed.on;
        let limits = on.devices.as_ref().map(|_| on.open()).transpose()?;
        let limits = limits.map_or_else(Vec::new, |devices| devices.limits(net.model.towers));
        let job = self.trial.job(&net);
        let options = Options { parallel: self.parallel.unwrap_or_default(), ..job.options };
        let plan = |on| Scaling::new(&net, &job.with(options), &limits, on, self.device_step);
        let scaling = self.ranks.zip(self.network).map(plan).transpose()?;
        let described =
            Titled { description: Description::new(&net, &job, &limits)?, model: self.model, trained, scaling };
        self.output.tell(&described, |titled| {
            print(&titled.model, &titled.description)?;
            titled.scaling.as_ref().map_or(Ok(()), print_scaling)?;
            titled.trained.as_ref().map_or(Ok(()), print_state)
        })
    }
}

fn print_scaling(scaling: &Scaling) -> Result<()> {
    let Scaling { minibatch, parallel, gradients, .. } = scaling;
    let gradients = thousands(*gradients);
    gap()?;
    paragraph(&format!("plan           {minibatch} images on several ranks, {parallel}, {gradients} gradients"), 15)?;
    paragraph(&format!("               {}", scaling.model), 15)?;
    gap()?;
    let header = ["ranks", "images each", "sent by all", "exchange", "exposed", "step", "images/s", "efficiency"];
    let mut rows = Table::new(&header, &[0, 1, 2, 3, 4, 5, 6, 7]);
    let time = |seconds: Option<f64>| match seconds {
        Some(seconds) if seconds >= 1.0 => format!("{seconds:.2} s"),
        Some(seconds) => format!("{:.2} ms", 1e3 * seconds),
        None => String::new(),
    };
    for row in &scaling.rows {
        let speed = row.step.map_or_else(String::new, |step| thousands((*minibatch as f64 / step) as u64));
        let efficiency = row.efficiency.map_or_else(String::new, percent);
        let (ranks, images, sent) = (thousands(row.ranks as u64), thousands(row.images as u64), bytes(row.bytes));
        rows.add_row([
            ranks,
            images,
            sent,
            time(Some(row.exchange)),
            time(row.exposed),
            time(row.step),
            speed,
            efficiency,
        ]);
    }
    rows.print()
}

fn print_state(state: &TrainedState) -> Result<()> {
    let best = state.best.map_or(String::new(), |best| format!(", best validation error {:.1} %", 100.0 * best));
    let (steps, epochs) = (counted(state.step, "step"), counted(state.epoch as u64, "epoch"));
    paragraph(&format!("trained        {steps}, {epochs}, seed {}{best}", state.seed), 15)?;
    let names = state.classes.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = if state.classes.len() > 5 { "; …" } else { "" };
    paragraph(&format!("classes        {}: {names}{more}", state.classes.len()), 15)
}

fn print_graph(graph: &GraphDescription) -> Result<()> {
    let values = |values: &[(String, String)]| {
        values.iter().map(|(name, shape)| format!("{name} {shape}")).collect::<Vec<_>>().join("; ")
    };
    paragraph(&format!("inputs         {}", values(&graph.inputs)), 15)?;
    paragraph(&format!("outputs        {}", graph.outputs.join("; ")), 15)?;
    let operators: Vec<_> = graph.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
    paragraph(&format!("operators      {}", operators.join(", ")), 15)?;
    line(format_args!("parameters     {}", thousands(graph.parameters)))?;
    graph.metadata.iter().try_for_each(|(key, value)| paragraph(&format!("{key:<14} {value}"), 15))
}

fn print(model: &str, net: &Description) -> Result<()> {
    paragraph(&format!("{model}: {}", net.about), 2)?;
    gap()?;
    let mut shapes = Table::new(&["layer", "what it is", "sees", "output"], &[]);
    let crop = format!("crop of an image of {0}×{0}", net.stored);
    let what = if net.stored > net.input[1] { &crop } else { "image" };
    shapes.add_row(["input", what, "", &shape(1, net.input)]);
    let mut costs = Table::new(&["layer", "weights", "biases", "multiply-adds", "neurons"], &[1, 2, 3, 4]);
    for layer in &net.layers {
        // Stages are told apart from rows by their indentation; they read their own tower and have no weights.
        let stage = layer.name.split_once('.').map(|(_, stage)| format!("  {stage}"));
        let sees = if stage.is_some() { "" } else { layer.sees };
        let (name, output) = (stage.as_ref().unwrap_or(&layer.name), shape(layer.towers, layer.output));
        shapes.add_row([name.as_str(), &layer.what, sees, &output]);
        let numbers = [layer.weights, layer.biases, layer.multiply_adds, layer.neurons];
        if numbers.iter().any(|&number| number > 0) {
            costs.add_row(std::iter::once(name.clone()).chain(numbers.map(thousands)));
        }
    }
    shapes.print()?;
    gap()?;
    let biases: u64 = net.layers.iter().map(|layer| layer.biases).sum();
    let sums = [net.parameters - biases, biases, net.multiply_adds, net.neurons].map(thousands);
    costs.add_row(std::iter::once("total".to_owned()).chain(sums));
    costs.print()?;
    gap()?;
    let sides: Vec<_> = net.maps.iter().map(usize::to_string).collect();
    if !sides.is_empty() {
        paragraph(&format!("maps           {}", sides.join("-")), 15)?;
    }
    line(format_args!("parameters     {}", thousands(net.parameters)))?;
    line(format_args!("neurons        {}", thousands(net.neurons)))?;
    line(format_args!("multiply-adds  {} an image, forward", thousands(net.multiply_adds)))?;
    line(format_args!("training       {} floating-point operations an image", thousands(net.training_flops)))?;
    print_plan(&net.plan)
}

fn print_plan(plan: &TrainingPlan) -> Result<()> {
    let TrainingPlan { minibatch, micro_batch, .. } = *plan;
    let at_once = if micro_batch < minibatch { format!(", {micro_batch} images at once") } else { String::new() };
    let memory = bytes(plan.total);
    paragraph(&format!("memory         {memory} to train with batches of {minibatch}{at_once}"), 15)?;
    gap()?;
    let mut header = vec![""];
    header.extend(plan.devices.iter().map(|share| share.towers.as_str()));
    let columns: Vec<usize> = (1..header.len()).collect();
    let mut rows = Table::new(&header, &columns);
    let mut row = |name: &str, part: &dyn Fn(&Footprint) -> u64| {
        let sizes = plan.devices.iter().map(|share| bytes(part(&share.footprint)));
        rows.add_row(std::iter::once(name.to_owned()).chain(sizes));
    };
    for (name, _) in plan.devices.first().map(|share| share.footprint.parts()).unwrap_or_default() {
        row(name, &|footprint| footprint.parts().into_iter().filter(|part| part.0 == name).map(|part| part.1).sum());
    }
    row("total", &|footprint| footprint.total);
    rows.print()?;
    gap()?;
    for share in &plan.devices {
        let memory = share.memory.map_or(String::new(), |all| format!(", which may take {}", bytes(all)));
        paragraph(&format!("tower {:<8} {}{memory}", share.towers, share.device), 15)?;
    }
    if let Some(most) = plan.largest_micro_batch {
        line(format_args!("fits           up to {} images at once", thousands(most as u64)))?;
    }
    if plan.crossings.is_empty() {
        return Ok(());
    }
    let mut rows = Table::new(&["crosses, bytes a batch", "forward", "backward", "update"], &[1, 2, 3]);
    for crossing in &plan.crossings {
        let way = format!("{} → {}", crossing.from, crossing.to);
        let sizes = [crossing.forward, crossing.backward, crossing.update].map(thousands);
        rows.add_row(std::iter::once(way).chain(sizes));
    }
    gap()?;
    rows.print()
}

/// `2 × 48×55×55`: two towers with 48 maps of 55×55 each; a fully connected layer has only neurons.
fn shape(towers: usize, [maps, height, width]: [usize; 3]) -> String {
    let one = if height * width == 1 { maps.to_string() } else { format!("{maps}×{height}×{width}") };
    if towers == 1 { one } else { format!("{towers} × {one}") }
}
