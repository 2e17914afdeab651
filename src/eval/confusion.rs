//! Classes that are mistaken for one another.

use std::cmp::Reverse;

use serde::Serialize;

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

/// Most frequent confusions, at most `most`, of the counts of images `[class][best class]`.
pub(super) fn confusions(counts: &[Vec<usize>], classes: &[String], most: usize) -> Vec<Confusion> {
    let wrong = |(class, row): (usize, &'_ Vec<usize>)| -> Vec<(usize, usize, usize)> {
        let others = row.iter().enumerate().filter(|(best, count)| *best != class && **count > 0);
        others.map(|(best, &count)| (class, best, count)).collect()
    };
    let mut pairs: Vec<_> = counts.iter().enumerate().flat_map(wrong).collect();
    pairs.sort_by_key(|&(_, _, count)| Reverse(count));
    let name = |class: usize| described(&classes[class]).to_owned();
    let confusion = |(class, best, count): (usize, usize, usize)| Confusion {
        class: name(class),
        taken_for: name(best),
        images: count,
        share: count as f64 / counts[class].iter().sum::<usize>() as f64,
    };
    pairs.into_iter().take(most).map(confusion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::answers::counts;
    use crate::eval::evaluator::LabelledImages;

    #[test]
    fn the_most_frequent_pairs_come_first() {
        let classes = LabelledImages::example(&[], 3).classes;
        let best = [0, 0, 0, 1, 1, 2].into_iter().zip([1, 2, 2, 1, 0, 2]);
        let found = confusions(&counts(best, 3), &classes, 2);
        let pair = |found: &Confusion| (found.class.clone(), found.taken_for.clone(), found.images);
        let name = |class: usize| classes[class].clone();
        assert_eq!(found.iter().map(pair).collect::<Vec<_>>(), [(name(0), name(2), 2), (name(0), name(1), 1)]);
        assert!((found[0].share - 2.0 / 3.0).abs() < 1e-12);
    }
}
