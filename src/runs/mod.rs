//! Runs as others read them: what training wrote into its folder, whether it has ended or not. Nothing here writes.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::table::{MetricRow, csv_table};
use crate::files::{FileError, printable, read_file};
use crate::train::{Config, ConfigError, DeviceRecord, METRICS, Metric, MetricKind, Movement, Resumption, kept};

/// Bytes of metrics that one thread reads at a time.
const PART: usize = 1 << 20;

/// Share of a rate below which the next one counts as a drop; smaller changes are those of a smooth schedule.
const DROP: f32 = 0.9;

/// Reason why a run cannot be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}", printable(&path.to_string_lossy()))]
    Config { path: PathBuf, error: Box<ConfigError> },
    #[error(
        "{}: is no run: expected the folder that `alexnet train --out` wrote, with metrics.jsonl in it",
        printable(&path.to_string_lossy())
    )]
    NoRun { path: PathBuf },
    #[error("{}: holds no step yet: {found}", printable(&path.to_string_lossy()))]
    Empty { path: PathBuf, found: &'static str },
}

/// A run, as far as its folder tells.
#[derive(Clone, Debug)]
pub struct Run {
    /// Folder of the run, or its file of metrics alone.
    pub path: PathBuf,
    /// Configuration; absent where only metrics are left.
    pub config: Option<Config>,
    /// Metrics of every step.
    pub steps: Vec<Metric>,
    /// Metrics of every validation.
    pub validations: Vec<Metric>,
    /// Movements of the weights at every checkpoint.
    pub movements: Vec<Movements>,
    /// Steps in which the devices were measured, with their work.
    pub devices: Vec<(u64, DeviceRecord)>,
    /// How it began, and every time it was resumed.
    pub resumptions: Vec<Resumption>,
    /// Lines that cannot be read, besides one that is being written.
    pub damaged: usize,
}

/// Movements of all weights at one checkpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Movements {
    /// Steps finished when the checkpoint was saved.
    pub step: u64,
    /// Epochs finished when the checkpoint was saved.
    pub epoch: usize,
    /// Movement of each tensor.
    pub tensors: BTreeMap<String, Movement>,
}

/// A line of metrics; lines of kinds that a newer release writes are passed over.
enum Line {
    /// A step or validation, with the work of the devices and how the run began where the line tells it.
    Metric(Metric, Option<Box<(Option<DeviceRecord>, Option<Resumption>)>>),
    Movements(Movements),
    Resumption(Resumption),
    Other,
    Damaged,
}

impl Line {
    fn parse(line: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow)]
            kind: std::borrow::Cow<'a, str>,
            measured: Option<DeviceRecord>,
            begun: Option<Resumption>,
        }
        let Ok(Head { kind, measured, begun }) = serde_json::from_slice(line) else { return Self::Damaged };
        let read = match kind.as_ref() {
            "step" | "validation" => {
                let more = (measured.is_some() || begun.is_some()).then(|| Box::new((measured, begun)));
                serde_json::from_slice(line).map(|metric| Self::Metric(metric, more))
            }
            "weights" => serde_json::from_slice(line).map(Self::Movements),
            "config" | "resume" => serde_json::from_slice(line).map(Self::Resumption),
            _ => Ok(Self::Other),
        };
        read.unwrap_or(Self::Damaged)
    }
}

impl Run {
    /// Reads the run in the folder at `path`, or the file of metrics at `path` alone; warns of lines that cannot be
    /// read.
    ///
    /// # Errors
    /// When there is no run, or no step of it yet; or its files cannot be read.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let metrics = if path.is_dir() { path.join(METRICS) } else { path.into() };
        let is_run = metrics.is_file() && (path.is_dir() || metrics.extension().is_some_and(|it| it == "jsonl"));
        if !is_run {
            return Err(RunError::NoRun { path: path.into() });
        }
        let mut run = Self::parse(&read_file(&metrics)?);
        run.path = path.into();
        if run.steps.is_empty() && run.validations.is_empty() {
            let found = if run.damaged > 0 { "no line of metrics.jsonl can be read" } else { "metrics.jsonl has none" };
            return Err(RunError::Empty { path: path.into(), found });
        }
        if run.damaged > 0 {
            log::warn!("{}: {} of the lines of its metrics cannot be read", run.name(), run.damaged);
        }
        let config = path.join("config.toml");
        if config.is_file() {
            let text = String::from_utf8_lossy(&read_file(&config)?).into_owned();
            let refuse = |error| RunError::Config { path: config, error: Box::new(error) };
            run.config = Some(Config::parse(&text).map_err(refuse)?);
        }
        Ok(run)
    }

    /// The run in the bytes of a file of metrics. What follows the last line end is being written, and left out.
    pub fn parse(bytes: &[u8]) -> Self {
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let parts: Vec<Self> = parts(&bytes[..whole]).into_par_iter().map(Self::part).collect();
        let mut run = Self::empty();
        for mut part in parts {
            run.steps.append(&mut part.steps);
            run.validations.append(&mut part.validations);
            run.movements.append(&mut part.movements);
            run.devices.append(&mut part.devices);
            run.resumptions.append(&mut part.resumptions);
            run.damaged += part.damaged;
        }
        run
    }

    /// A run of which nothing is known.
    pub fn empty() -> Self {
        Self {
            path: PathBuf::new(),
            config: None,
            steps: Vec::new(),
            validations: Vec::new(),
            movements: Vec::new(),
            devices: Vec::new(),
            resumptions: Vec::new(),
            damaged: 0,
        }
    }

    /// What whole lines tell.
    fn part(lines: &[u8]) -> Self {
        let mut run = Self::empty();
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match Line::parse(line) {
                Line::Metric(metric, more) => {
                    let of_kind = if metric.kind == MetricKind::Step { &mut run.steps } else { &mut run.validations };
                    of_kind.push(metric);
                    if let Some(more) = more {
                        run.devices.extend(more.0.map(|measured| (metric.step, measured)));
                        run.resumptions.extend(more.1);
                    }
                }
                Line::Movements(movements) => run.movements.push(movements),
                Line::Resumption(resumption) => run.resumptions.push(resumption),
                Line::Other => (),
                Line::Damaged => run.damaged += 1,
            }
        }
        run
    }

    /// Name of the run, for people: its folder's, in one line.
    pub fn name(&self) -> String {
        printable(&self.path.to_string_lossy()).into_owned()
    }

    /// Steps of a whole epoch: as the run said when it was taken up last, or those of a first epoch that has ended.
    pub fn epoch_steps(&self) -> Option<u64> {
        let said = self.resumptions.iter().rev().find_map(|resumption| resumption.epoch_steps);
        let ended = self.steps.partition_point(|metric| metric.epoch <= 1);
        let first = || self.steps[..ended].last().filter(|_| ended < self.steps.len()).map(|metric| metric.step);
        said.or_else(first).filter(|steps| *steps > 0)
    }

    /// Epochs that were done after the step of `metric`; whole ones where it is not known how long they are.
    pub fn epochs(&self, metric: &Metric) -> f64 {
        let Some(whole) = self.epoch_steps() else { return metric.epoch as f64 };
        let before = self.steps.partition_point(|step| step.epoch < metric.epoch);
        let steps = self.steps.partition_point(|step| step.step <= metric.step).saturating_sub(before);
        metric.epoch.saturating_sub(1) as f64 + (steps as f64 / whole as f64).min(1.0)
    }

    /// Steps at which the learning rate fell, with the rates before and after.
    pub fn drops(&self) -> Vec<(u64, f32, f32)> {
        let pairs = self.steps.windows(2).map(|pair| (pair[1].step, pair[0].rate, pair[1].rate));
        pairs.filter(|(_, before, after)| *after < DROP * *before).collect()
    }

    /// Its saved checkpoints: that of the least validation error, and the last one.
    pub fn checkpoints(&self) -> impl Iterator<Item = PathBuf> {
        let names = if self.path.is_dir() { &["best.safetensors", "last.safetensors"][..] } else { &[] };
        names.iter().map(|name| self.path.join(name)).filter(|path| path.is_file())
    }

    /// Its checkpoints that were kept by their steps, in order.
    pub fn kept(&self) -> Result<Vec<PathBuf>, RunError> {
        let mut all = kept(&self.path).map_err(FileError::read(&self.path))?;
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, path)| path).collect())
    }

    /// Names of the devices that it worked on last, each with its driver; none where its metrics do not tell.
    pub fn device_names(&self) -> Vec<&str> {
        let told = self.resumptions.iter().rev().map(|resumption| &resumption.devices);
        let last = told.into_iter().find(|devices| !devices.is_empty());
        let last = last.into_iter().flatten();
        last.map(|device| device.split_once(": ").map_or(device.as_str(), |(_, name)| name)).collect()
    }
}

/// Pieces of whole lines.
fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while bytes.len() > PART {
        let end = bytes[PART..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| PART + at + 1);
        let (part, rest) = bytes.split_at(end);
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"kind":"step","step":1,"epoch":1,"loss":2.5,"top1_error":0.9,"top5_error":0.5,"images_per_second":10.0,"wait":0.5,"rate":0.01,"bias_rate":0.02,"time":"2012-09-30T12:34:56Z"}"#;

    const MEASURED: &str = r#","measured":{"seconds":0.5,"exchange":0.1,"devices":[{"towers":"a","device":"x","compute":0.4,"waiting":0.0,"other":0.1,"planned":8,"allocated":null},{"towers":"b","device":"y","planned":8,"allocated":9}]}}"#;

    #[test]
    fn lines_are_read_by_their_kinds_and_damage_is_counted() {
        let text = [
            STEP,
            r#"{"kind":"weights","step":1,"epoch":0,"tensors":{"a.weights":{"weight":2.0,"increment":0.2,"ratio":0.1}}}"#,
            r#"{"kind":"resume","from_step":1,"time":"2012-09-30T12:34:56Z","version":"0.1.0","devices":["a: x"],"command":["alexnet","train"]}"#,
            r#"{"kind":"of a later release","step":1}"#,
            r#"{"kind":"step","#,
            "",
            &STEP.replace("\"step\":1", "\"step\":2").replace("0.01,", "0.001,").replace('}', MEASURED),
            r#"{"kind":"step","step":3"#,
        ]
        .join("\n");
        let run = Run::parse(text.as_bytes());
        assert_eq!((run.steps.len(), run.damaged, run.resumptions.len()), (2, 1, 1));
        assert_eq!(run.movements[0].tensors["a.weights"].ratio, 0.1);
        assert_eq!(run.devices[0].0, 2);
        let devices = &run.devices[0].1.devices;
        assert_eq!(devices[0].parts.map(|parts| parts.compute), Some(0.4));
        assert_eq!((devices[1].parts, devices[1].allocated), (None, Some(9)));
        assert_eq!(run.drops(), [(2, 0.01, 0.001)]);
        let first = run.steps[0];
        assert_eq!((first.seconds, first.device, first.wait), (0.0, 0.0, 0.5), "older releases wrote fewer fields");
    }

    #[test]
    fn a_run_that_ends_within_an_epoch_has_done_a_part_of_it() {
        let step = |step: u64| {
            let epoch = 1 + (step - 1) / 4;
            STEP.replace("\"step\":1", &format!("\"step\":{step}"))
                .replace("\"epoch\":1", &format!("\"epoch\":{epoch}"))
        };
        let of = |steps: u64| {
            let text: String = (1..=steps).map(|i| step(i) + "\n").collect();
            let run = Run::parse(text.as_bytes());
            run.epochs(run.steps.last().unwrap())
        };
        assert_eq!([10, 8, 5].map(of), [2.5, 2.0, 1.25]);
        assert_eq!(of(3), 1.0, "nobody knows how long an epoch is");
        let begun = r#","begun":{"kind":"begin","from_step":0,"epoch_steps":4}}"#;
        let run = Run::parse(format!("{}\n", STEP.replace('}', begun)).as_bytes());
        assert_eq!((run.epochs(&run.steps[0]), run.resumptions.len()), (0.25, 1));
    }

    #[test]
    fn names_are_one_line() {
        let run = Run { path: "a\nb\u{1b}[31m".into(), ..Run::empty() };
        assert_eq!(run.name(), r"a\u000ab\u001b[31m");
        let error = Run::open(Path::new("no\nrun")).unwrap_err().to_string();
        assert!(error.starts_with(r"no\u000arun: is no run"), "{error}");
    }

    #[test]
    fn parts_are_whole_lines() {
        let text = format!("{STEP}\n").repeat(3 * PART / STEP.len());
        let parts = parts(text.as_bytes());
        assert!(parts.len() > 2 && parts.iter().all(|part| part.ends_with(b"\n")));
        assert_eq!(parts.concat(), text.as_bytes());
        assert_eq!(Run::parse(text.as_bytes()).steps.len(), text.lines().count());
    }
}
