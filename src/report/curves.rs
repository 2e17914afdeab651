//! Learning curves of runs, as charts.

use std::collections::BTreeMap;

use super::chart::{Chart, Series};
use super::picture::SERIES;
use super::smooth::{Point, smoothed, window};
use crate::files::printable;
use crate::net::named;
use crate::runs::Run;
use crate::train::Metric;

/// Quantity of a run that is drawn over its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// Loss in training and validation.
    Loss,
    /// Share of images whose best class is wrong.
    Error,
    /// Share of images whose five best classes are wrong.
    Top5,
    /// Learning rate of weights.
    Rate,
    /// Images trained each second.
    Speed,
    /// Time that a step waited for images and for devices.
    Waits,
    /// How far the weights of each layer move in a step, as a share of their size.
    Ratio,
}

named! {
    Curve:
    Loss "loss" "Loss in training and validation",
    Error "error" "Top-1 error in training and validation",
    Top5 "top5" "Top-5 error in training and validation",
    Rate "rate" "Learning rate of weights",
    Speed "speed" "Images a second",
    Waits "waits" "Time that a step waited for images and for devices",
    Ratio "ratio" "How far each layer's weights move in a step, as a share of their size"
}

/// Quantity from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Number of finished steps.
    Step,
    /// Number of finished epochs, with fractions.
    Epoch,
    /// Seconds of training since the run began.
    Seconds,
}

named! { Over: Step "step" "Finished steps", Epoch "epoch" "Finished epochs", Seconds "seconds" "Seconds of training" }

/// Names that tell `runs` apart: those of their folders, or their whole paths where two folders are called the same.
pub fn names(runs: &[Run]) -> Vec<String> {
    let folder = |run: &Run| {
        run.path.file_name().map_or_else(|| run.name(), |name| printable(&name.to_string_lossy()).into_owned())
    };
    let short: Vec<String> = runs.iter().map(folder).collect();
    let unique = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
    if short.iter().all(unique) { short } else { runs.iter().map(Run::name).collect() }
}

/// Chart of a quantity of `runs`; `None` where none of them tells it.
pub fn chart(runs: &[Run], curve: Curve, over: Over, log: bool) -> Option<Chart> {
    let (names, several) = (names(runs), runs.len() > 1);
    let mut all: Vec<Curves> = runs.iter().map(|run| curves(run, curve, &Places::new(run, over))).collect();
    let parts = all.iter_mut().flatten();
    parts.for_each(|(_, points)| points.retain(|point| point.at[1].is_finite()));
    // Training is compared with training, which has more points than validation.
    let counts = |part: &str| -> Vec<usize> {
        let same = all.iter().flatten().filter(|(name, points)| name == part && !points.is_empty());
        same.map(|(_, points)| points.len()).collect()
    };
    let windows: BTreeMap<String, usize> =
        all.iter().flatten().map(|(part, _)| (part.clone(), window(&counts(part)))).collect();
    let mut series = Vec::new();
    for (index, (curves, name)) in all.into_iter().zip(&names).enumerate() {
        for (number, (part, points)) in curves.into_iter().enumerate() {
            let points = smoothed(&points, windows[&part]);
            if points.is_empty() {
                continue;
            }
            let (name, colour, dashed) = match (several, part.is_empty()) {
                (true, true) => (name.clone(), index, false),
                (true, false) if curve == Curve::Ratio => (format!("{name} {part}"), series.len(), false),
                (true, false) => (format!("{name} {part}"), index, number == 0),
                (false, true) => (name.clone(), 0, false),
                (false, false) => (part, number, false),
            };
            series.push(Series { name, points, colour: colour % SERIES, dashed });
        }
    }
    if series.is_empty() {
        return None;
    }
    let title = match curve {
        Curve::Loss => "loss, nats",
        Curve::Error => "top-1 error",
        Curve::Top5 => "top-5 error",
        Curve::Rate => "learning rate",
        Curve::Speed => "images a second",
        Curve::Waits => "seconds that a step waits",
        Curve::Ratio => "mean change of a weight in a step, as a share of its size",
    };
    Some(Chart {
        title: title.into(),
        across: over.to_string(),
        log,
        percent: matches!(curve, Curve::Error | Curve::Top5),
        whole: over == Over::Step,
        series,
        marked: runs.iter().zip(&names).flat_map(|(run, name)| drops(run, several.then_some(name), over)).collect(),
    })
}

/// Places of a run's steps from left to right.
struct Places<'a> {
    run: &'a Run,
    over: Over,
    /// Steps of an epoch.
    epoch: f64,
}

impl<'a> Places<'a> {
    fn new(run: &'a Run, over: Over) -> Self {
        let first = || run.steps.iter().rfind(|metric| metric.epoch == 1).map_or(1, |metric| metric.step.max(1));
        Self { run, over, epoch: run.epoch_steps().unwrap_or_else(first) as f64 }
    }

    fn of(&self, metric: &Metric) -> f64 {
        match self.over {
            Over::Step => metric.step as f64,
            Over::Epoch => metric.step as f64 / self.epoch,
            Over::Seconds => metric.seconds,
        }
    }

    /// Place of the last line that is not beyond `step`.
    fn at(&self, step: u64) -> f64 {
        let index = self.run.steps.partition_point(|metric| metric.step <= step);
        index.checked_sub(1).map_or(0.0, |index| self.of(&self.run.steps[index]))
    }
}

/// Places at which the learning rate fell.
fn drops(run: &Run, name: Option<&String>, over: Over) -> Vec<(f64, String)> {
    let place = Places::new(run, over);
    let name = name.map_or_else(String::new, |name| format!("{name}: "));
    let word = |(step, before, after): (u64, f32, f32)| {
        let [before, after] = [before, after].map(|rate| super::chart::short(f64::from(rate)));
        (place.at(step), format!("{name}learning rate {before} → {after} at step {step}"))
    };
    run.drops().into_iter().map(word).collect()
}

/// Curves with their names.
type Curves = Vec<(String, Vec<Point>)>;

fn curves(run: &Run, curve: Curve, place: &Places<'_>) -> Curves {
    // Where some lines tell no images all count alike.
    let told = run.steps.iter().all(|metric| metric.images > 0);
    let steps = |of: fn(&Metric) -> f64| -> Vec<Point> {
        let images = |metric: &Metric| if told { metric.images as f64 } else { 1.0 };
        run.steps.iter().map(|metric| Point { at: [place.of(metric), of(metric)], images: images(metric) }).collect()
    };
    let scored = |of: fn(&Metric) -> f64| {
        let validation = |metric| Point { at: [place.of(metric), of(metric)], images: 1.0 };
        let validations = run.validations.iter().map(validation).collect();
        vec![("training".to_owned(), steps(of)), ("validation".to_owned(), validations)]
    };
    match curve {
        Curve::Loss => scored(|metric| metric.loss),
        Curve::Error => scored(|metric| metric.top1_error),
        Curve::Top5 => scored(|metric| metric.top5_error),
        Curve::Rate => vec![(String::new(), steps(|metric| f64::from(metric.rate)))],
        Curve::Speed => vec![(String::new(), steps(|metric| metric.images_per_second))],
        Curve::Waits => vec![
            ("for images".to_owned(), steps(|metric| metric.wait)),
            ("for devices".to_owned(), steps(|metric| metric.device)),
        ],
        Curve::Ratio => ratios(run, place),
    }
}

/// Movements of the weights of each layer, means over its towers.
fn ratios(run: &Run, place: &Places<'_>) -> Curves {
    let mut rows: Vec<&str> = Vec::new();
    let mut sums: BTreeMap<&str, BTreeMap<u64, (f64, f64)>> = BTreeMap::new();
    for movements in &run.movements {
        for (name, movement) in movements.tensors.iter().filter(|(name, _)| name.contains(".weights")) {
            let row = name.split('.').next().unwrap_or(name);
            if !rows.contains(&row) {
                rows.push(row);
            }
            let (sum, count) = sums.entry(row).or_default().entry(movements.step).or_default();
            (*sum, *count) = (*sum + movement.ratio, *count + 1.0);
        }
    }
    let curve = |row: &&str| {
        let mean =
            |(step, (sum, count)): (&u64, &(f64, f64))| Point { at: [place.at(*step), sum / count], images: 1.0 };
        let points = sums.get(row).into_iter().flatten().map(mean);
        ((*row).to_owned(), points.collect())
    };
    rows.iter().map(curve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(path: &str) -> Run {
        let step = |step: u32| {
            let rate = if step > 20 { 0.001 } else { 0.01 };
            format!(
                r#"{{"kind":"step","step":{step},"epoch":{},"loss":{},"top1_error":0.5,"top5_error":0.1,"images_per_second":9.0,"rate":{rate},"seconds":{step}}}"#,
                1 + (step - 1) / 10,
                2.0 / f64::from(step),
            )
        };
        let weights = r#"{"kind":"weights","step":10,"epoch":1,"tensors":{"conv1.a.weights":{"weight":1.0,"increment":0.1,"ratio":0.1},"conv1.b.weights":{"weight":1.0,"increment":0.3,"ratio":0.3},"conv1.a.bias":{"weight":1.0,"increment":9.0,"ratio":9.0}}}"#;
        let lines: Vec<String> = (1..=30).map(step).chain([weights.to_owned(), String::new()]).collect();
        Run { path: path.into(), ..Run::parse(lines.join("\n").as_bytes()) }
    }

    #[test]
    fn charts_have_the_curves_of_all_runs_and_the_drops_of_the_rate() {
        let runs = [run("x/a"), run("y/b")];
        let loss = chart(&runs, Curve::Loss, Over::Epoch, false).unwrap();
        let names: Vec<_> = loss.series.iter().map(|series| (series.name.as_str(), series.dashed)).collect();
        assert_eq!(names, [("a training", true), ("b training", true)], "there are no validations");
        assert_eq!(loss.series[0].points.last().unwrap()[0], 3.0);
        assert_eq!(loss.marked[0], (2.1, "a: learning rate 0.01 → 0.001 at step 21".into()));
        let alone = chart(&runs[..1], Curve::Ratio, Over::Step, true).unwrap();
        assert_eq!(alone.series[0].name, "conv1");
        assert!((alone.series[0].points[0][1] - 0.2).abs() < 1e-12, "mean over towers, without biases");
        assert_eq!(super::names(&[run("x/a"), run("y/a")]), ["x/a", "y/a"]);
        assert!(chart(&[Run { movements: Vec::new(), ..run("a") }], Curve::Ratio, Over::Step, true).is_none());
    }
}
