//! The page that compares runs.

use std::collections::{BTreeMap, BTreeSet};

use super::about::{best, charts, duration, epochs, percent};
use super::curves::{Curve, names};
use super::page::{Block, Page, Part};
use crate::runs::Run;
use crate::train::settings;

/// The page that compares `runs`.
pub fn compare(runs: &[Run]) -> Page {
    let names = names(runs);
    let curves =
        [(Curve::Loss, false), (Curve::Error, false), (Curve::Top5, false), (Curve::Rate, true), (Curve::Speed, false)];
    let parts = vec![
        Part { title: "Results", blocks: vec![results(runs, &names)] },
        Part { title: "Learning", blocks: charts(runs, &curves) },
        Part { title: "Settings", blocks: differences(runs, &names) },
    ];
    Page { title: format!("Runs {}", names.join(", ")), verdict: verdict(runs, &names), parts }
}

fn verdict(runs: &[Run], names: &[String]) -> String {
    let bests = runs.iter().zip(names).filter_map(|(run, name)| Some((best(run)?, run, name)));
    let mut bests: Vec<_> = bests.collect();
    bests.sort_by(|a, b| a.0.top1_error.total_cmp(&b.0.top1_error));
    let told: Vec<String> = bests
        .iter()
        .map(|(metric, run, name)| format!("{name} {} after {}", percent(metric.top1_error), epochs(run, metric)))
        .collect();
    match told.split_first() {
        None => "None of the runs has been validated yet.".into(),
        Some((first, [])) => format!("Only one run has been validated: {first}."),
        Some((first, rest)) => format!("The least validation error is that of {first}, before {}.", rest.join(", ")),
    }
}

fn results(runs: &[Run], names: &[String]) -> Block {
    let row = |(run, name): (&Run, &String)| {
        let last = run.steps.last().or(run.validations.last());
        let steps = last.map_or(0, |metric| metric.step).to_string();
        let time = last.map_or_else(String::new, |metric| duration(metric.seconds));
        let Some(best) = best(run) else { return vec![name.clone(), steps, time] };
        let scores = [percent(best.top1_error), percent(best.top5_error), format!("{:.3}", best.loss)];
        [vec![name.clone(), steps, time], scores.to_vec(), vec![epochs(run, best)]].concat()
    };
    let header = ["run", "steps", "time", "top-1 error", "top-5 error", "loss", "after"];
    Block::Table {
        caption: "Best validations".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: runs.iter().zip(names).map(row).collect(),
    }
}

/// The settings in which the runs differ.
fn differences(runs: &[Run], names: &[String]) -> Vec<Block> {
    let all: Vec<BTreeMap<String, String>> = runs
        .iter()
        .map(|run| run.config.as_ref().and_then(|config| toml::to_string(config).ok()).map(|text| settings(&text)))
        .map(Option::unwrap_or_default)
        .collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let row = |key: &&String| {
        let values: Vec<String> = all.iter().map(|of| of.get(*key).cloned().unwrap_or_default()).collect();
        let differ = values.windows(2).any(|pair| pair[0] != pair[1]);
        differ.then(|| [vec![(*key).clone()], values].concat())
    };
    let rows: Vec<_> = keys.iter().filter_map(row).collect();
    if rows.is_empty() {
        return vec![Block::Text("The runs have the same settings.".into())];
    }
    let header = std::iter::once("setting".to_owned()).chain(names.iter().cloned()).collect();
    vec![Block::Table { caption: "Settings that differ".into(), header, rows }]
}
