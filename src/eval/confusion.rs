//! Classes that are mistaken for one another.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::evaluator::LabelledImages;
use super::metrics::ranking;
use crate::data::described;

/// Images of one class whose best label is another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// Class of the images.
    pub class: String,
    /// Class of their best label.
    pub taken_for: String,
    /// Count of the images.
    pub images: usize,
    /// Share of all images of the class.
    pub share: f64,
}

/// Most frequent confusions, at most `most`, of probabilities `[images][classes]`.
pub(super) fn confusions(probabilities: &[f32], images: &LabelledImages, most: usize) -> Vec<Confusion> {
    let mut pairs: BTreeMap<(u32, usize), usize> = BTreeMap::new();
    let mut totals = vec![0_usize; images.classes.len()];
    for (p, &label) in probabilities.chunks(images.classes.len()).zip(&images.labels) {
        totals[label as usize] += 1;
        if let Some(best) = ranking(p).first().copied().filter(|&best| best != label as usize) {
            *pairs.entry((label, best)).or_default() += 1;
        }
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|&(_, count)| Reverse(count));
    let name = |class: usize| described(&images.classes[class]).to_owned();
    let confusion = |((label, best), count): ((u32, usize), usize)| Confusion {
        class: name(label as usize),
        taken_for: name(best),
        images: count,
        share: count as f64 / totals[label as usize] as f64,
    };
    pairs.into_iter().take(most).map(confusion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_pairs_come_first() {
        let images = LabelledImages::example(&[0, 0, 0, 1, 1, 2], 3);
        let as_class = |class: usize| [0, 1, 2].map(|i| if i == class { 0.8 } else { 0.1 });
        let best = [1, 2, 2, 1, 0, 2].map(as_class);
        let found = confusions(best.as_flattened(), &images, 2);
        let pair = |found: &Confusion| (found.class.clone(), found.taken_for.clone(), found.images);
        let name = |class: usize| images.classes[class].clone();
        assert_eq!(found.iter().map(pair).collect::<Vec<_>>(), [(name(0), name(2), 2), (name(0), name(1), 1)]);
        assert!((found[0].share - 2.0 / 3.0).abs() < 1e-12);
    }
}
