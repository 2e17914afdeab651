use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::{Replaced, open_net};
use super::output::{Output, bytes, line, paragraph, thousands};
use alexnet::backend::cpu;
use alexnet::backend::gpu::summary::{AdapterSummary, Lanes, summaries};
use alexnet::net::Job;
use alexnet::session::layout::Capacity;
use alexnet::session::{CPU_SPEED, INSTALL};

/// The network whose largest batch is listed.
const MODEL: &str = "alexnet";

/// The kind of an adapter that computes on the processor.
const SOFTWARE: &str = "software";

#[derive(Debug, Args)]
pub(super) struct Devices {
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Listing {
    adapters: Vec<Adapter>,
    cpu: String,
    /// What runs where no `--devices` are given: a number, or `cpu`.
    default: String,
    /// What is expected to be the fastest.
    fastest: String,
}

#[derive(Serialize)]
struct Adapter {
    number: usize,
    #[serde(flatten)]
    summary: AdapterSummary,
    /// The most images of `alexnet` that can be trained with at once, and the bytes they take.
    alexnet: Option<Capacity>,
}

impl Devices {
    pub(super) fn run(self) -> Result<()> {
        let net = open_net(MODEL, &Replaced::default())?;
        let adapter = |(number, summary): (usize, AdapterSummary)| {
            let job = Job::training(net.model.train.batch);
            let alexnet = Capacity::new(&net, &job, &[summary.bounds()]);
            Adapter { number, summary, alexnet }
        };
        let adapters: Vec<Adapter> = summaries().into_iter().enumerate().map(adapter).collect();
        let default = adapters.first().map_or("cpu", |_| "0").to_owned();
        let hardware = adapters.first().is_some_and(|first| first.summary.kind != SOFTWARE);
        let fastest = if hardware { "0" } else { "cpu" }.to_owned();
        self.output.tell(&Listing { adapters, cpu: cpu::describe(), default, fastest }, print)
    }
}

fn print(listing: &Listing) -> Result<()> {
    if listing.adapters.is_empty() {
        paragraph(&format!("no graphics adapter: {INSTALL}"), 2)?;
    }
    for Adapter { number, summary, alexnet } in &listing.adapters {
        let default = if *number == 0 { "  (default)" } else { "" };
        line(format_args!("{number}: {}{default}", summary.name))?;
        let row = |name: &str, value: String| paragraph(&format!("   {name:<11}{value}"), 14);
        row("type", summary.kind.into())?;
        row("driver", format!("{}, {} {}", summary.backend, summary.driver, summary.version))?;
        let bus = summary.ids.pci_bus.as_ref().map(|id| format!("PCI bus {id}"));
        let model = summary.ids.vendor_device.as_ref().map(|id| format!("vendor:device {id}"));
        let ids: Vec<_> = [bus, model].into_iter().flatten().collect();
        if !ids.is_empty() {
            row("ids", ids.join(", "))?;
        }
        let limits = &summary.limits;
        let (binding, buffer) = (limits.max_storage_buffer_binding_size, limits.max_buffer_size);
        let whole =
            summary.memory.as_ref().map_or(String::new(), |memory| format!("{} of memory, ", bytes(memory.bytes)));
        row("memory", format!("{whole}{} in one binding, {} in one buffer", bytes(binding), bytes(buffer)))?;
        let shared = bytes(limits.max_compute_workgroup_storage_size.into());
        let invocations = thousands(limits.max_compute_invocations_per_workgroup.into());
        let along = thousands(limits.max_compute_workgroups_per_dimension.into());
        row("workgroup", format!("{invocations} invocations, {shared}; {along} workgroups along one dimension"))?;
        row("features", features(summary))?;
        let fits = alexnet.map_or("not even the fewest images fit".into(), |memory| {
            format!(
                "trains with up to {} images at once, which take {}",
                thousands(memory.images as u64),
                bytes(memory.bytes)
            )
        });
        row(MODEL, fits)?;
    }
    let default = if listing.adapters.is_empty() { "  (default)" } else { "" };
    line(format_args!("{}{default}", listing.cpu))?;
    let than = if listing.default == listing.fastest || listing.adapters.is_empty() {
        String::new()
    } else {
        format!(", about {CPU_SPEED} as {}, a software driver", listing.default)
    };
    paragraph(&format!("expected to be fastest: --devices {}{than}", listing.fastest), 2)
}

fn features(summary: &AdapterSummary) -> String {
    let subgroups = summary.features.subgroups.map(|Lanes { min, max }| {
        if min == max { format!("subgroups of {min}") } else { format!("subgroups of {min} to {max}") }
    });
    let f16 = summary.features.f16.then(|| "f16".to_owned());
    let words = summary.features.words.then(|| "64-bit words".to_owned());
    let matrices = summary.features.matrices.iter().map(|side| format!("matrices of {side}×{side}"));
    let timestamps = summary.features.timestamps.then(|| "timestamps".to_owned());
    let all: Vec<_> = subgroups.into_iter().chain(f16).chain(words).chain(matrices).chain(timestamps).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
