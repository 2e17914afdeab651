//! Loss and errors of class probabilities, as the released code counts them (section 3.5 of the specification of 2012).

use rayon::prelude::*;

use super::evaluator::LabelledImages;
use crate::ops::softmax::credit;

/// Loss and errors, means over the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scores {
    /// Mean cross-entropy of an image, in nats.
    pub(super) loss: f64,
    pub(super) top1_error: f64,
    pub(super) top5_error: f64,
}

/// Scores probabilities, `[images][classes]`. Equal ones share their ranks: each is as likely to come first.
pub(super) fn scores(probabilities: &[f32], images: &LabelledImages) -> Scores {
    let classes = images.classes.len();
    let score = |(p, &label): (&[f32], &u32)| {
        let own = p[label as usize];
        if own.is_nan() {
            return [f64::NAN, 1.0, 1.0];
        }
        let above = p.iter().filter(|&&other| other > own).count();
        let equal = p.iter().filter(|&&other| other == own).count();
        // Probabilities that underflow count as the least normal float.
        let loss = -f64::from(own.max(f32::MIN_POSITIVE)).ln();
        [loss, 1.0 - credit::<f64>(1, above, equal), 1.0 - credit::<f64>(5, above, equal)]
    };
    let each: Vec<[f64; 3]> = probabilities.par_chunks(classes).zip(&images.labels).map(score).collect();
    let mean = |i: usize| each.iter().map(|scores| scores[i]).sum::<f64>() / each.len().max(1) as f64;
    Scores { loss: mean(0), top1_error: mean(1), top5_error: mean(2) }
}

/// Classes of one image, the most probable first; equal ones in their order.
pub(super) fn ranking(probabilities: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_errors_are_means_with_ties_shared() {
        let images = LabelledImages::example(&[0, 1, 2, 3], 7);
        let tie = 1.0 / 7.0;
        let probabilities = [
            [0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0],      // right
            [tie; 7],                                 // one of seven
            [0.5, 0.25, 0.0, 0.125, 0.125, 0.0, 0.0], // one of the three that share the fifth place
            [0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05],    // one of the two in fourth place
        ];
        let got = scores(probabilities.as_flattened(), &images);
        let loss =
            (0.5_f64.ln() + f64::from(tie).ln() + f64::from(f32::MIN_POSITIVE).ln() + f64::from(0.1_f32).ln()) / -4.0;
        assert!((got.loss - loss).abs() < 1e-12);
        assert!((got.top1_error - (0.0 + 6.0 / 7.0 + 1.0 + 1.0) / 4.0).abs() < 1e-12);
        assert!((got.top5_error - (0.0 + 2.0 / 7.0 + 2.0 / 3.0 + 0.0) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_is_no_success() {
        let got = scores(&[f32::NAN, f32::NAN, 0.5, 0.5], &LabelledImages::example(&[0, 1], 2));
        assert!(got.loss.is_nan());
        assert_eq!((got.top1_error, got.top5_error), (0.75, 0.5));
    }

    #[test]
    fn a_ranking_keeps_the_order_of_equals() {
        assert_eq!(ranking(&[0.1, 0.4, 0.1, 0.4]), [1, 3, 0, 2]);
    }
}
