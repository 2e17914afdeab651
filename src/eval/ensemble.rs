//! Ensembles: averages of the probabilities of several networks (section 6 of the paper), with weights that are given,
//! or searched as by the author's script (avg-valid.py:27-71).

use rayon::prelude::*;

use super::evaluator::Predictions;
use super::metrics::scores;

/// Steps of the grid of weights: 0, 0.05, … 1.
const GRID: usize = 20;

/// Most passes over all weights.
const PASSES: usize = 5;

/// Average of the probabilities of several networks.
pub(super) struct Mixture {
    /// Probabilities `[images][classes]` of one network.
    pub(super) probabilities: Vec<f32>,
    /// Weight of each network; their sum is 1.
    pub(super) weights: Vec<f64>,
}

impl Mixture {
    /// Averages the probabilities of `members`; `None` where no weight is above 0.
    pub(super) fn new(members: &[Predictions], weights: &[f64]) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let weights: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let count = members.first().map_or(0, |member| member.probabilities.len());
        let mean = |i: usize| {
            let parts = members.iter().zip(&weights);
            parts.map(|(member, weight)| weight * f64::from(member.probabilities[i])).sum::<f64>() as f32
        };
        Some(Self { probabilities: (0..count).into_par_iter().map(mean).collect(), weights })
    }
}

/// Weights with the lowest top-5 error, then top-1 error, then loss. Coordinate descent on a grid: from a half each,
/// one weight after the other is set to its best value, until none changes.
pub(super) fn searched(members: &[Predictions]) -> Vec<f64> {
    let mut weights = vec![0.5; members.len()];
    if members.len() < 2 {
        return weights;
    }
    let rate = |weights: &[f64]| {
        let mixture = Mixture::new(members, weights)?;
        let scores = scores(&mixture.probabilities, &members[0].images);
        Some([scores.top5_error, scores.top1_error, scores.loss])
    };
    let mut best = rate(&weights);
    for _ in 0..PASSES {
        let before = weights.clone();
        for member in 0..weights.len() {
            for step in 0..=GRID {
                let mut tried = weights.clone();
                tried[member] = step as f64 / GRID as f64;
                let rating = rate(&tried);
                if rating.is_some() && (best.is_none() || rating < best) {
                    (weights, best) = (tried, rating);
                }
            }
        }
        if weights == before {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::evaluator::LabelledImages;

    fn member(probabilities: &[[f32; 3]]) -> Predictions {
        let images = LabelledImages::example(&[0, 1, 2, 0], 3);
        Predictions { probabilities: probabilities.as_flattened().to_vec(), centre: None, images }
    }

    fn members() -> [Predictions; 2] {
        // The first is right twice and sure of it, the second right once, and misleads the first where it is not.
        [
            member(&[[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.2, 0.3], [0.1, 0.5, 0.4]]),
            member(&[[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.1, 0.5, 0.4]]),
        ]
    }

    #[test]
    fn probabilities_are_averaged_by_weight() {
        let members = members();
        let mixture = Mixture::new(&members, &[3.0, 1.0]).unwrap();
        assert_eq!(mixture.weights, [0.75, 0.25]);
        assert!((mixture.probabilities[0] - 0.475).abs() < 1e-6);
        assert!(mixture.probabilities.chunks(3).all(|p| (p.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        assert_eq!(Mixture::new(&members, &[1.0, 0.0]).unwrap().probabilities, members[0].probabilities);
        assert!(Mixture::new(&members, &[0.0, 0.0]).is_none());
    }

    #[test]
    fn a_search_finds_what_errs_least() {
        let members = members();
        let error = |weights: &[f64]| {
            scores(&Mixture::new(&members, weights).unwrap().probabilities, &members[0].images).top1_error
        };
        let found = searched(&members);
        assert_eq!(error(&[1.0, 0.0]), 0.5);
        assert_eq!(error(&[0.0, 1.0]), 0.75);
        assert_eq!(error(&found), 0.25, "{found:?}");
        assert_eq!(searched(&members[..1]), [0.5]);
    }
}
