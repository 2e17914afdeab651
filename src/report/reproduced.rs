//! The curves of a reproduction, as a chart.

use super::chart::{Chart, Series};
use super::picture::SERIES;
use crate::commands::reproduce::Outcome;

/// Errors over epochs of every arm of a reproduction, means over its seeds, with the error that was to be reached.
pub fn reproduced(outcome: &Outcome) -> Chart {
    let curves = outcome.curves.iter().enumerate();
    let mut series: Vec<Series> = curves
        .map(|(number, curve)| {
            let (name, points) = (curve.name.clone(), curve.points.clone());
            Series { name, points, colour: number % SERIES, dashed: false }
        })
        .collect();
    if let Some(target) = outcome.target {
        let last = series.iter().flat_map(|series| &series.points).map(|point| point[0]).fold(1.0, f64::max);
        let (name, points) = (format!("{} %", 100.0 * target), vec![[1.0, target], [last, target]]);
        let colour = series.len() % SERIES;
        series.push(Series { name, points, colour, dashed: true });
    }
    let kind = if outcome.target.is_some() { "training" } else { "validation" };
    Chart {
        title: format!("{}: top-1 {kind} error", outcome.name),
        across: "epoch".into(),
        log: false,
        percent: true,
        whole: true,
        series,
        marked: Vec::new(),
    }
}
