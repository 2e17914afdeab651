//! `alexnet bench`: kernels, steps, exchanges and the loader, timed.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::options::{Trial, built_in, open_net};
use super::output::{Output, Table, counted, gap, line, paragraph, thousands};
use super::progress::{Lines, Progress};
use alexnet::backend::Placement;
use alexnet::commands::bench::{
    self, DeviceKernels, ExchangeTimes, KernelRow, KernelTimes, LayerTimes, Link, StepTimes,
};
use alexnet::data::{Dataset, LoaderSpeed, decoding_threads, loader_speed};
use alexnet::files::{FileKind, check_target, write_file};
use alexnet::session::Session;

/// Images a second of a GPU that takes 10 ms for a step of 128 images.
const FAST: f64 = 12_800.0;

#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Each kernel of a step by itself, beside the device's measured peak
    Kernels(Measured),
    /// A training step: compute, waiting and the rest on each device
    Step(Measured),
    /// Exchange between devices for one batch: bytes and speed
    Exchange(Measured),
    /// The loader, beside the decoder alone
    Loader(Loading),
}

#[derive(Debug, Args)]
struct Loading {
    /// A data set as `train` takes it; the bundled sample where absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Decoding threads [default: as in training, half of the processor]
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    /// Side to which images are brought, in pixels
    #[arg(long, default_value = "256", value_parser = RangedU64ValueParser::<usize>::new().range(2..=2048))]
    size: usize,
    /// Images of a turn
    #[arg(long, default_value = "2048", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    images: usize,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Measured {
    #[arg(long, default_value = "alexnet", help = format!("A model file, or a built-in network: {}", built_in()))]
    model: String,
    #[command(flatten)]
    trial: Trial,
    /// Measurements, of which the median is shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    #[command(flatten)]
    output: Output,
    /// Also write the JSON to a file
    #[arg(long, value_name = "FILE.json")]
    save: Option<PathBuf>,
}

impl Bench {
    pub(super) fn run(self) -> Result<()> {
        let busy = Progress::new("measuring", "steps", Lines::Errors);
        match self.what {
            What::Kernels(measured) => {
                let (mut session, devices, images) = measured.session()?;
                let times = bench::kernels(&mut session, &devices, images, measured.repeats as usize)?;
                measured.tell(busy, &times, print_kernels)
            }
            What::Step(measured) => {
                let (mut session, _, images) = measured.session()?;
                let times = bench::step(&mut session, images, measured.repeats as usize, &mut |done, all| {
                    busy.length(all);
                    busy.position(done);
                })?;
                measured.tell(busy, &times, print_step)
            }
            What::Exchange(measured) => {
                let (mut session, ..) = measured.session()?;
                let times = bench::exchange(&mut session, measured.repeats as usize)?;
                measured.tell(busy, &times, print_exchange)
            }
            What::Loader(loading) => {
                let split = Dataset::open(loading.data.as_deref(), loading.size)?.train;
                let threads = loading.threads.unwrap_or_else(decoding_threads);
                let speed = loader_speed(&split, threads, loading.images)?;
                drop(busy);
                loading.output.tell(&speed, print_loader)
            }
        }
    }
}

impl Measured {
    fn session(&self) -> Result<(Session, Placement, usize)> {
        self.save.iter().try_for_each(|path| check_target(path, FileKind::Json, None)).context("--save")?;
        let net = open_net(&self.model, &self.trial.replaced)?;
        let job = self.trial.job(&net);
        let (devices, layout) = self.trial.placed.open(&net, &job)?;
        let session = Session::laid_out(net, &job, layout, &devices, 0)?;
        Ok((session, devices, job.minibatch))
    }

    /// Prints what was measured, as a table or as JSON, and saves it where that is wanted.
    fn tell<T: Serialize>(&self, busy: Progress, times: &T, print: fn(&T) -> Result<()>) -> Result<()> {
        if let Some(path) = &self.save {
            let text = serde_json::to_string_pretty(times)?;
            write_file(path, (text + "\n").as_bytes()).context("--save")?;
        }
        drop(busy);
        self.output.tell(times, print)
    }
}

fn print_loader(speed: &LoaderSpeed) -> Result<()> {
    let (images, size) = (thousands(speed.images as u64), speed.size);
    let threads = counted(speed.threads as u64, "decoding thread");
    line(format_args!("{images} images of {size}×{size} pixels on {threads}"))?;
    line(format_args!("decoder alone: {:.0} images/s a thread", speed.decoder))?;
    let share = 100.0 * speed.share;
    line(format_args!("loader: {:.0} images/s a thread, {share:.0} % of that", speed.loader))?;
    line(format_args!("an idle consumer waits {} ms for a batch", ms(speed.wait)))?;
    let (step, threads) = (ms(speed.step()), thousands(speed.threads_for(FAST) as u64));
    line(format_args!(
        "a step of 128 images every {step} ms is fed; one every 10 ms would take {threads} such threads"
    ))?;
    if speed.skipped > 0 {
        line(format_args!("{} images cannot be decoded", speed.skipped))?;
    }
    Ok(())
}

fn print_kernels(times: &KernelTimes) -> Result<()> {
    line(format_args!("{} images at once; medians of {} runs", times.images, times.repeats))?;
    for device in &times.devices {
        let (fma, copy) = (giga(device.ceilings.flops), giga(device.ceilings.bytes));
        gap()?;
        paragraph(&format!("tower {}: {}", device.towers, device.device), 4)?;
        line(format_args!("ceilings: fma {fma} GFLOP/s, copy {copy} GB/s; last column: share of its ceiling"))?;
        ["gradients", "update", "evaluate"].iter().try_for_each(|pass| print_pass(device, pass))?;
    }
    Ok(())
}

fn print_pass(device: &DeviceKernels, pass: &str) -> Result<()> {
    let rows = device.rows(pass);
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    let runs: usize = rows.iter().map(|row| row.runs.len()).sum();
    gap()?;
    line(format_args!("{pass}: {} ms in {runs} runs", ms(seconds)))?;
    // The CPU engine runs no variants, and the width is for names of kernels.
    let named = rows.iter().any(|row| row.runs[0].variant.is_some());
    let mut header = vec!["kernel", "variant", "layer", "runs", "ms", "GFLOP/s", "GB/s", "ceiling"];
    header.retain(|name| named || *name != "variant");
    let right: Vec<_> = (header.len() - 5..header.len()).collect();
    let mut table = Table::new(&header, &right);
    let passed = rows.iter().any(|row| row.speed.passes());
    for KernelRow { runs, seconds, layers, speed } in rows {
        let mark = if speed.passes() { "!" } else { "" };
        let share = format!("{:.1} %{mark} {:4}", 100.0 * speed.share, speed.ceiling);
        let (count, milliseconds) = (runs.len().to_string(), format!("{:.3}", 1e3 * seconds));
        let (name, variant) = (runs[0].kernel.to_owned(), runs[0].variant.clone().unwrap_or_default());
        let numbers = [count, milliseconds, giga(speed.flops), giga(speed.bytes), share];
        let variant = named.then_some(variant);
        table.add_row([name].into_iter().chain(variant).chain([layers.join(" ")]).chain(numbers));
    }
    table.print()?;
    if passed {
        paragraph("! above its ceiling: the machine did something else while that was measured; measure again", 0)?;
    }
    Ok(())
}

fn print_step(times: &StepTimes) -> Result<()> {
    let speed = |images: f64, flops: f64| format!("{images:.1} images/s, {} GFLOP/s", giga(flops));
    let trained = speed(times.images_per_second, times.flops_per_second);
    let scored = speed(times.forward.images_per_second, times.forward.flops_per_second);
    line(format_args!(
        "a step of {} images: {} ms, {trained}; median of {}",
        times.images,
        ms(times.step),
        times.steps
    ))?;
    let steady = &times.steady;
    line(format_args!(
        "in a row, as in training: {} ms a step, {:.1} images/s",
        ms(steady.step),
        steady.images_per_second
    ))?;
    line(format_args!("a forward pass: {} ms, {scored}", ms(times.forward.seconds)))?;
    let share = 100.0 * times.host / times.step;
    line(format_args!("the host works for {:.2} ms of a step, {share:.2} %", 1e3 * times.host))?;
    gap()?;
    let header = ["tower", "device", "compute", "waiting", "other", "waits", "idle in a row"];
    let mut rows = Table::new(&header, &[2, 3, 4, 5, 6]);
    for (device, idle) in times.devices.iter().zip(&steady.idle) {
        let idle = idle.map_or_else(String::new, |share| format!("{:.1} %", 100.0 * share));
        let times = match device.parts {
            Some(parts) => {
                let share = format!("{:.1} %", 100.0 * parts.waiting / times.step);
                [ms(parts.compute), ms(parts.waiting), ms(parts.other), share]
            }
            None => ["no clock".into(), String::new(), String::new(), String::new()],
        };
        rows.add_row([device.towers.clone(), device.device.clone()].into_iter().chain(times).chain([idle]));
    }
    rows.print()?;
    print_layers(&times.layers)?;
    print_ways(&times.ways)
}

/// The rows of the network in milliseconds; the share is that of a step's kernels.
fn print_layers(layers: &[LayerTimes]) -> Result<()> {
    let trained = |row: &LayerTimes| row.forward + row.backward + row.update;
    let all: f64 = layers.iter().map(trained).sum();
    let mut rows =
        Table::new(&["tower", "layer", "forward", "backward", "update", "of all", "evaluate"], &[2, 3, 4, 5, 6]);
    for row in layers {
        let share = format!("{:.1} %", 100.0 * trained(row) / all);
        let [forward, backward, update, evaluate] = [row.forward, row.backward, row.update, row.evaluate].map(ms);
        rows.add_row([row.towers.clone(), row.layer.clone(), forward, backward, update, share, evaluate]);
    }
    gap()?;
    rows.print()
}

fn print_exchange(times: &ExchangeTimes) -> Result<()> {
    line(format_args!("a batch of {} images", times.images))?;
    for pass in &times.passes {
        let speed = pass.bytes_per_second / 1e6;
        gap()?;
        line(format_args!("{}: {} ms, {speed:.0} MB/s", pass.pass, ms(pass.seconds)))?;
        print_ways(&pass.ways)?;
    }
    Ok(())
}

fn print_ways(ways: &[Link]) -> Result<()> {
    if ways.is_empty() {
        gap()?;
        return line("nothing crosses: all towers lie on one device");
    }
    let mut rows = Table::new(&["way", "bytes", "exchanges", "host, ms"], &[1, 2, 3]);
    for way in ways {
        let name = format!("{} → {}", way.from, way.to);
        rows.add_row([name, thousands(way.bytes), thousands(way.exchanges), ms(way.host)]);
    }
    gap()?;
    rows.print()
}

/// A number of billions.
fn giga(number: f64) -> String {
    format!("{:.1}", number / 1e9)
}

fn ms(seconds: f64) -> String {
    format!("{:.1}", 1e3 * seconds)
}
