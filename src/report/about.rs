//! The page about one run.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::chart::{Chart, short};
use super::confusion::confusion;
use super::content::{Content, Images, Network};
use super::curves::{Curve, Over, chart};
use super::filters::{Contrast, Filters};
use super::mistakes::Shown;
use super::page::{Block, Page, Part};
use super::placement::placement;
use crate::commands::bench::StepTimes;
use crate::data::described;
use crate::runs::Run;
use crate::train::{Metric, Resumption};

/// Width and height of a chart on a page, and on a narrow one.
const WIDE: [f32; 2] = [900.0, 300.0];
const NARROW: [f32; 2] = [344.0, 260.0];

/// Images beside their predictions, worst mistakes, and images beside those that are alike.
const PREDICTED: usize = 8;
const WORST: usize = 12;
const ALIKE: usize = 5;

/// Training images beside each image.
const NEIGHBOURS: usize = 6;

/// The page about the run of `content`.
pub fn about(content: &Content) -> Page {
    let mut parts = Vec::new();
    if !content.findings.is_empty() || !content.missing.is_empty() {
        let found = content.findings.iter().map(|found| format!("{}: {}", found.subject, found.words));
        let blocks = vec![Block::List(found.chain(content.missing.iter().cloned()).collect())];
        parts.push(Part { title: "What to look at", blocks });
    }
    let curves = [(Curve::Loss, false), (Curve::Error, false), (Curve::Top5, false), (Curve::Rate, true)];
    parts.push(Part { title: "Learning", blocks: charts(std::slice::from_ref(&content.run), &curves) });
    if let Some(network) = &content.network {
        if let Some(images) = &network.images {
            parts.extend(of_images(images, &network.checkpoint.state.classes));
        }
        parts.push(of_weights(content, network));
    }
    parts.push(of_time(content));
    if let Some(network) = &content.network {
        let whose = if network.placed {
            "The network on the devices of the run, as its metrics name them."
        } else {
            "The metrics do not say which devices the run worked on; these are those of the report."
        };
        let caption = format!(
            "{whose} Each box is a layer on one tower. Orange lines cross from one device to another; dashed ones join towers \
             on one device."
        );
        let figure = Block::figure("placement", caption, placement(&network.description));
        parts.push(Part { title: "Placement", blocks: vec![figure, memory(network)] });
    }
    parts.push(of_run(&content.run));
    Page { title: format!("Run {}", content.run.name()), verdict: verdict(content), parts }
}

/// Charts of `runs`, those that their metrics tell.
pub(super) fn charts(runs: &[Run], curves: &[(Curve, bool)]) -> Vec<Block> {
    let block =
        |(curve, log): &(Curve, bool)| Some(figure(&curve.to_string(), &chart(runs, *curve, Over::Step, *log)?));
    curves.iter().filter_map(block).collect()
}

fn figure(name: &str, chart: &Chart) -> Block {
    let drops: Vec<_> = chart.marked.iter().map(|(_, word)| word.as_str()).collect();
    let [wide, narrow] = [WIDE, NARROW].map(|[width, height]| Box::new(chart.draw(width, height)));
    Block::Figure { name: name.into(), caption: drops.join("; "), picture: wide, narrow: Some(narrow) }
}

fn table(caption: &str, header: &[&str], rows: Vec<Vec<String>>) -> Block {
    Block::Table { caption: caption.into(), header: header.iter().map(|&name| name.to_owned()).collect(), rows }
}

/// A share in percent, whose sign stays on its line.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// Seconds as people say them.
pub(super) fn duration(seconds: f64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.max(0.0).round() as u64)).to_string()
}

/// The run in a sentence or two.
fn verdict(content: &Content) -> String {
    let run = &content.run;
    let Some(last) = run.validations.last() else {
        let steps = run.steps.last().map_or(0, |metric| metric.step);
        return format!("After {steps} steps the run has not been validated yet.");
    };
    let best = best(run).unwrap_or(last);
    let took = if last.seconds > 0.0 { format!(" and {}", duration(last.seconds)) } else { String::new() };
    let mut words = format!(
        "After {}, {} steps{took}, the network mistakes {} of the validation images (top-5 {})",
        epochs(run, last),
        last.step,
        percent(last.top1_error),
        percent(last.top5_error)
    );
    if best.step != last.step {
        let _ = write!(words, "; its best was {} after {}", percent(best.top1_error), epochs(run, best));
    }
    words += ". ";
    words += match content.findings.iter().map(|found| found.kind).next() {
        Some("not-learning") => "It does not learn.",
        Some("exploding") => "It explodes.",
        Some("overfitting") => "It learns its training images by heart.",
        _ if run.validations.len() < 4 => "It is too early to say where it goes.",
        _ if still_learning(run) => "It is still getting better.",
        _ => "It hardly gets better any more.",
    };
    if content.findings.is_empty() {
        words += " Nothing unusual was found.";
    }
    words
}

/// Epochs that were done at a validation, in words: 3 epochs, 2.5 epochs.
pub(super) fn epochs(run: &Run, metric: &Metric) -> String {
    let done = short((100.0 * run.epochs(metric)).round() / 100.0);
    if done == "1" { "1 epoch".into() } else { format!("{done} epochs") }
}

/// The validation with the least error.
pub(super) fn best(run: &Run) -> Option<&Metric> {
    run.validations.iter().min_by(|a, b| a.top1_error.total_cmp(&b.top1_error))
}

/// Whether the error of the last quarter of all validations is clearly less than that of the quarter before.
fn still_learning(run: &Run) -> bool {
    let quarter = (run.validations.len() / 4).max(1);
    let mean = |part: &[Metric]| part.iter().map(|metric| metric.top1_error).sum::<f64>() / part.len() as f64;
    let (before, last) = run.validations[run.validations.len() - 2 * quarter..].split_at(quarter);
    mean(last) < 0.98 * mean(before)
}

fn of_images(images: &Images, classes: &[String]) -> Vec<Part> {
    let (split, survey) = &images.validation;
    let shown = Shown { split, survey, classes };
    let (split, survey_of_training) = &images.training;
    let training = Shown { split, survey: survey_of_training, classes };
    let counts = survey.confusions();
    let caption = format!("{} validation images, of {} that there are.", survey.labels.len(), shown.split.len());
    let mistakes = vec![
        Block::figure("confusion", caption, confusion(&counts, classes)),
        by_class(&counts, classes),
        Block::figure(
            "worst",
            "The worst mistakes: images whose own class, named below each, the network thinks least probable. Orange bars are \
             wrong classes, blue ones right.",
            shown.predictions(&shown.worst(WORST), "Worst mistakes"),
        ),
    ];
    let examples = vec![
        Block::figure(
            "predictions",
            "Validation images with the five most probable classes, as in the paper's Figure 4, left.",
            shown.predictions(&shown.some(PREDICTED), "Examples"),
        ),
        Block::figure(
            "alike",
            "Validation images, and the six training images whose last hidden layer is nearest, as in the paper's Figure 4, \
             right.",
            shown.alike(&shown.some(ALIKE), &training, NEIGHBOURS),
        ),
    ];
    vec![Part { title: "Mistakes", blocks: mistakes }, Part { title: "Examples", blocks: examples }]
}

/// Errors by class, the worst first.
fn by_class(counts: &[Vec<usize>], classes: &[String]) -> Block {
    let name = |class: usize| classes.get(class).map_or_else(|| class.to_string(), |name| described(name).to_owned());
    let mut rows: Vec<(f64, Vec<String>)> = Vec::new();
    for (class, row) in counts.iter().enumerate() {
        let images: usize = row.iter().sum();
        if images == 0 {
            continue;
        }
        let error = 1.0 - row[class] as f64 / images as f64;
        let others = row.iter().enumerate().filter(|(best, count)| *best != class && **count > 0);
        let most = others.max_by_key(|(_, count)| **count).map_or_else(String::new, |(best, _)| name(best));
        rows.push((error, vec![name(class), images.to_string(), percent(error), most]));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    table("Errors by class, the worst first", &["class", "images", "error", "most often taken for"], rows)
}

fn of_weights(content: &Content, network: &Network) -> Part {
    let of = format!("Of {}, after {} steps.", network.file, network.checkpoint.state.step);
    let mut blocks = vec![Block::Text(of)];
    if let Ok(filters) = Filters::new(&network.checkpoint, None) {
        let caption =
            "Filters of the first convolution, as in the paper's Figure 3; grey is 0, each has its own contrast.";
        blocks.push(Block::figure("filters", caption, filters.draw(Contrast::Filter)));
    }
    blocks.extend(charts(std::slice::from_ref(&content.run), &[(Curve::Ratio, true)]));
    let cells = |state: &crate::commands::inspect::TensorState| {
        let shape = state.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        let change = match state.ratio {
            _ if state.frozen => "frozen".into(),
            Some(ratio) => format!("{:.3} %", 100.0 * ratio),
            None => String::new(),
        };
        vec![state.name.clone(), shape, short(state.mean), short(state.norm), short(state.largest), change]
    };
    let header = ["tensor", "shape", "mean |w|", "norm", "largest", "change a step"];
    blocks.push(table("Weights and biases", &header, network.tensors.iter().map(cells).collect()));
    if let Some(Images { validation: (_, survey), .. }) = &network.images {
        let row = |layer: &crate::eval::Activity| {
            vec![layer.layer.clone(), layer.units.to_string(), layer.dead.to_string(), percent(layer.active)]
        };
        let caption = format!("Responses to {} validation images", survey.labels.len());
        let header = ["layer", "units", "never respond", "outputs that are not 0"];
        blocks.push(table(&caption, &header, survey.activity.iter().map(row).collect()));
    }
    Part { title: "Weights", blocks }
}

fn of_time(content: &Content) -> Part {
    let mut blocks = charts(std::slice::from_ref(&content.run), &[(Curve::Speed, false), (Curve::Waits, false)]);
    if let Some((step, record)) = content.run.devices.last() {
        let ms = |seconds: f64| format!("{:.1}", 1e3 * seconds);
        let row = |device: &crate::session::DeviceTimes| {
            let parts = device.parts.map_or_else(
                || vec!["no clock".to_owned(), String::new(), String::new()],
                |parts| [parts.compute, parts.waiting, parts.other].map(ms).into(),
            );
            let names = vec![format!("{}: {}", device.towers, device.device)];
            [names, parts, vec![mebibytes(device.planned)]].concat()
        };
        let caption = format!(
            "Devices in step {step}, which took {} ms, {} ms of it exchanges on the host",
            ms(record.seconds),
            ms(record.exchange)
        );
        let header = ["towers: device", "compute, ms", "waiting, ms", "other, ms", "memory planned"];
        blocks.push(table(&caption, &header, record.devices.iter().map(row).collect()));
    }
    blocks.extend(content.times.as_ref().map(|(times, devices)| layers(times, devices)));
    Part { title: "Time", blocks }
}

/// Times of the layers in a step that the report measured.
fn layers(times: &StepTimes, devices: &str) -> Block {
    let ms = |seconds: f64| format!("{:.2}", 1e3 * seconds);
    let trained = |layer: &crate::commands::bench::LayerTimes| layer.forward + layer.backward + layer.update;
    let all: f64 = times.layers.iter().map(trained).sum();
    let row = |layer: &crate::commands::bench::LayerTimes| {
        vec![
            format!("{} {}", layer.towers, layer.layer),
            ms(layer.forward),
            ms(layer.backward),
            ms(layer.update),
            percent(trained(layer) / all),
        ]
    };
    let caption = format!(
        "Kernels of a step by layer, in ms, as measured for this report on {devices}: {} random images, {:.1} images a \
         second",
        times.images, times.images_per_second
    );
    let header = ["tower and layer", "forward", "backward", "update", "of all"];
    table(&caption, &header, times.layers.iter().map(row).collect())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}\u{a0}MiB", bytes as f64 / f64::from(1 << 20))
}

fn memory(network: &Network) -> Block {
    let plan = &network.description.plan;
    let rows = plan.devices.iter().map(|share| {
        let parts = share.footprint.parts().into_iter().filter(|(_, bytes)| *bytes > 0);
        let parts: Vec<_> = parts.map(|(name, bytes)| format!("{name} {}", mebibytes(bytes))).collect();
        vec![format!("{}: {}", share.towers, share.device), mebibytes(share.footprint.total), parts.join(", ")]
    });
    let caption = format!("Memory for minibatches of {}", plan.minibatch);
    table(&caption, &["towers: device", "in all", "of which"], rows.collect())
}

/// Version of the program, and the commit that it was built from where that is known.
fn version(taken_up: &Resumption) -> String {
    let commit = taken_up.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {commit}"));
    format!("{}{commit}", taken_up.version)
}

fn of_run(run: &Run) -> Part {
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let mut blocks = Vec::new();
    if let Some(config) = &run.config {
        let begun = run.resumptions.iter().find(|resumption| resumption.kind == "begin");
        let facts = [
            ("model", config.model.clone()),
            ("data", config.data.clone().unwrap_or_else(|| "the bundled sample".into())),
            ("seed", config.seed.to_string()),
            ("begun", begun.map_or_else(String::new, |begun| time(begun.time))),
            ("version", begun.map_or_else(String::new, version)),
            ("devices and drivers", begun.map_or_else(String::new, |begun| begun.devices.join("; "))),
            ("command", begun.map_or_else(String::new, |begun| begun.command.join(" "))),
        ];
        let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
        blocks.push(table(
            "The run",
            &["what", "value"],
            known.map(|(name, value)| vec![name.into(), value]).collect(),
        ));
    }
    let row = |resumption: &Resumption| {
        let changes = resumption.changes.join("; ");
        let devices = resumption.devices.join("; ");
        vec![time(resumption.time), resumption.from_step.to_string(), version(resumption), devices, changes]
    };
    let resumed = run.resumptions.iter().filter(|resumption| resumption.kind != "begin");
    let rows: Vec<_> = resumed.map(row).collect();
    if !rows.is_empty() {
        let header = ["time", "after step", "version", "devices and drivers", "changed settings"];
        blocks.push(table("Resumed", &header, rows));
    }
    let validations = run.validations.iter().map(|metric| {
        let training = metric.training_loss.map_or_else(String::new, |loss| format!("{loss:.3}"));
        vec![
            metric.epoch.to_string(),
            metric.step.to_string(),
            short(f64::from(metric.rate)),
            training,
            format!("{:.3}", metric.loss),
            percent(metric.top1_error),
            percent(metric.top5_error),
            time(metric.time),
        ]
    });
    let header = ["epoch", "step", "rate", "training loss", "validation loss", "top-1 error", "top-5 error", "time"];
    blocks.push(table("Validations", &header, validations.collect()));
    if let Some(text) = run.config.as_ref().and_then(|config| toml::to_string(config).ok()) {
        blocks.push(Block::Text("Configuration, as in config.toml:".into()));
        blocks.push(Block::Lines(text));
    }
    Part { title: "The run", blocks }
}
