//! The curves of a reproduction, as a chart.

use super::chart::{Chart, Series};
use super::picture::SERIES;
use crate::commands::reproduce::{ArmOutcome, Outcome};

/// Errors over epochs of every arm of a reproduction, means over its seeds, with the error that was to be reached
/// and how much sooner the first got there.
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
    let title = match outcome.target {
        Some(_) => {
            let number = |arm: &ArmOutcome| {
                let ours = arm.ours.as_ref()?;
                Some(format!("; {}: {} {}", arm.name, ours.words(), outcome.unit))
            };
            let numbers = outcome.arms.iter().filter_map(number).collect::<String>();
            format!("{}: top-1 training error{numbers}", outcome.name)
        }
        None => format!("{}: top-1 validation error", outcome.name),
    };
    Chart { title, across: "epoch".into(), log: false, percent: true, whole: true, series, marked: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::reproduce::Ours;

    #[test]
    fn the_title_says_how_much_sooner_the_first_arrived() {
        let arm = |name: &str, ours: Option<Ours>| ArmOutcome {
            name: name.into(),
            model: String::new(),
            changes: String::new(),
            grid: Vec::new(),
            rate: None,
            published: None,
            together: None,
            ours,
            runs: Vec::new(),
        };
        let ours = Ours { lower_bound: true, ..Ours::of(vec![4.5]).unwrap() };
        let outcome = Outcome {
            name: "relu-vs-tanh".into(),
            claim: String::new(),
            source: String::new(),
            measure: String::new(),
            unit: "times the epochs".into(),
            paper: None,
            arms: vec![arm("relu", None), arm("tanh", Some(ours))],
            curves: Vec::new(),
            target: Some(0.25),
            shortened: Vec::new(),
        };
        let title = "relu-vs-tanh: top-1 training error; tanh: more than 4.50 times the epochs";
        assert_eq!(reproduced(&outcome).title, title);
        assert_eq!(reproduced(&Outcome { target: None, ..outcome }).title, "relu-vs-tanh: top-1 validation error");
    }
}
