//! What networks said of every image, as files: the contest's, errors by class, and the confusion matrix.

use std::path::Path;

use super::EvalError;
use super::evaluator::{LabelledImages, Place};
use super::metrics::ranking;

/// Labels of an image that the contest takes.
const BEST: usize = 5;

/// The best classes of every image of a validation set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Place of each image.
    places: Vec<Place>,
    labels: Vec<u32>,
    /// Up to five classes of each image, best first.
    best: Vec<Vec<usize>>,
    /// Places of images that could not be decoded.
    lost: Vec<Place>,
}

/// Errors of the images of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassErrors {
    /// Index of the class.
    pub class: usize,
    /// Count of its images.
    pub images: usize,
    /// Share of them whose best class is another.
    pub top1_error: f64,
    /// Share of them whose five best classes are others.
    pub top5_error: f64,
    /// The class that they are most often taken for, and how often.
    pub taken_for: Option<(usize, usize)>,
}

/// Counts of images `[class][best class]`.
pub(super) fn counts(answers: impl Iterator<Item = (u32, usize)>, classes: usize) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (label, best) in answers {
        let count = counts.get_mut(label as usize).and_then(|row: &mut Vec<usize>| row.get_mut(best));
        if let Some(count) = count {
            *count += 1;
        }
    }
    counts
}

impl Answers {
    /// Those of probabilities `[images][classes]`.
    pub(super) fn new(probabilities: &[f32], images: &LabelledImages) -> Self {
        let LabelledImages { places, labels, classes, lost, .. } = images.clone();
        let best = |p: &[f32]| ranking(p).into_iter().take(BEST).collect();
        let best = probabilities.chunks(classes.len().max(1)).map(best).collect();
        Self { classes, places, labels, best, lost }
    }

    /// Counts of images `[class][best class]`.
    pub fn counts(&self) -> Vec<Vec<usize>> {
        let answers = self.labels.iter().zip(&self.best).filter_map(|(label, best)| Some((*label, *best.first()?)));
        counts(answers, self.classes.len())
    }

    /// The file that the contest takes: five numbers of classes a line, best first, counted from 1 in the order of
    /// `numbers` or else of the network's classes; a line for each image, in the order of the names of their files, or
    /// of the data where they have none. The numbers of an image that could not be decoded are 0.
    ///
    /// # Errors
    /// When `numbers`, WordNet ids one a line as in the development kit's order, lacks a class.
    pub fn contest(&self, numbers: Option<(&Path, &str)>) -> Result<Vec<u8>, EvalError> {
        let number = |class: usize| -> Result<usize, EvalError> {
            let Some((path, list)) = numbers else { return Ok(class + 1) };
            let id = first_word(&self.classes[class]);
            let place = list.lines().position(|line| first_word(line) == id);
            let missing = || EvalError::Unnumbered { path: path.into(), class: self.classes[class].clone() };
            place.map(|place| place + 1).ok_or_else(missing)
        };
        let numbers: Vec<usize> = (0..self.classes.len()).map(number).collect::<Result<_, _>>()?;
        let words = |numbers: Vec<usize>| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ") + "\n";
        let scored = self.best.iter().map(|best| words(best.iter().map(|&class| numbers[class]).collect()));
        let none = words(vec![0; BEST.min(numbers.len())]);
        let lost = self.lost.iter().map(|place| (place, none.clone()));
        let mut lines: Vec<(&Place, String)> = self.places.iter().zip(scored).chain(lost).collect();
        let named = lines.iter().all(|(place, _)| place.file.is_some());
        lines.sort_by_key(|(place, _)| (place.file.as_ref().filter(|_| named), place.index));
        Ok(lines.into_iter().map(|(_, line)| line).collect::<String>().into_bytes())
    }

    /// Count of images that could not be decoded.
    pub fn lost(&self) -> usize {
        self.lost.len()
    }

    /// Errors of each class that has images, in the order of the classes.
    pub fn by_class(&self) -> Vec<ClassErrors> {
        let mut missed = vec![0; self.classes.len()];
        for (&label, best) in self.labels.iter().zip(&self.best) {
            missed[label as usize] += usize::from(!best.contains(&(label as usize)));
        }
        let errors = |(class, row): (usize, Vec<usize>)| {
            let images: usize = row.iter().sum();
            let share = |count: usize| count as f64 / images as f64;
            let wrong = row.iter().copied().enumerate().filter(|(best, count)| *best != class && *count > 0);
            let taken_for = wrong.rev().max_by_key(|(_, count)| *count);
            let (top1_error, top5_error) = (share(images - row[class]), share(missed[class]));
            (images > 0).then_some(ClassErrors { class, images, top1_error, top5_error, taken_for })
        };
        self.counts().into_iter().enumerate().filter_map(errors).collect()
    }

    /// [`Answers::by_class`] as comma-separated values.
    pub fn class_table(&self) -> Result<Vec<u8>, EvalError> {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["class", "images", "top1_error", "top5_error", "most_often_taken_for", "times"])?;
        for ClassErrors { class, images, top1_error, top5_error, taken_for } in self.by_class() {
            let (other, times) = taken_for
                .map_or_else(Default::default, |(other, times)| (self.classes[other].clone(), times.to_string()));
            let numbers = [images.to_string(), top1_error.to_string(), top5_error.to_string()];
            let [images, top1, top5] = numbers;
            table.write_record([self.classes[class].clone(), images, top1, top5, other, times])?;
        }
        finished(table)
    }

    /// [`Answers::counts`] as comma-separated values: a row for each class, a column for each that it is taken for.
    pub fn confusion_table(&self) -> Result<Vec<u8>, EvalError> {
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(std::iter::once("class").chain(self.classes.iter().map(String::as_str)))?;
        for (class, row) in self.classes.iter().zip(self.counts()) {
            table.write_record(std::iter::once(class.clone()).chain(row.iter().map(usize::to_string)))?;
        }
        finished(table)
    }
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn finished(table: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, EvalError> {
    table.into_inner().map_err(|error| csv::Error::from(error.into_error()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images of three classes; the last two come first by the names of their files.
    fn answers() -> Answers {
        let mut images = LabelledImages::example(&[0, 0, 1, 2], 3);
        images.classes = ["n3 cat, puss", "n1 dog", "n2 eel"].map(str::to_owned).to_vec();
        for (place, name) in images.places.iter_mut().zip(["3.jpg", "4.jpg", "1.jpg", "2.jpg"]) {
            place.file = Some(name.into());
        }
        Answers::new(&[0.5, 0.3, 0.2, 0.1, 0.6, 0.3, 0.0, 1.0, 0.0, 0.2, 0.1, 0.7], &images)
    }

    #[test]
    fn the_contest_file_has_the_best_classes_in_the_order_of_the_files() {
        assert_eq!(answers().contest(None).unwrap(), b"2 1 3\n3 1 2\n1 2 3\n2 3 1\n");
        let mut some = answers();
        some.lost.push(Place { index: 9, file: Some("1a.jpg".into()) });
        assert_eq!(some.contest(None).unwrap(), b"2 1 3\n0 0 0\n3 1 2\n1 2 3\n2 3 1\n", "a line for what was lost");
        some.places[3].file = None;
        let lines = b"1 2 3\n2 3 1\n2 1 3\n3 1 2\n0 0 0\n";
        assert_eq!(some.contest(None).unwrap(), lines, "in the order of the data where a name is not known");
        let kit = (Path::new("kit.txt"), "n1\nn2\nn3\n");
        assert_eq!(answers().contest(Some(kit)).unwrap(), b"1 3 2\n2 3 1\n3 1 2\n1 2 3\n");
        let message = answers().contest(Some((Path::new("kit.txt"), "n1\nn2\n"))).unwrap_err().to_string();
        assert!(message.contains("kit.txt") && message.contains("n3 cat, puss"), "{message}");
    }

    #[test]
    fn classes_are_counted_one_by_one() {
        let text = String::from_utf8(answers().class_table().unwrap()).unwrap();
        assert_eq!(
            text,
            "class,images,top1_error,top5_error,most_often_taken_for,times\n\"n3 cat, puss\",2,0.5,0,n1 dog,1\nn1 dog,1,0,0,,\n\
             n2 eel,1,0,0,,\n"
        );
        let text = String::from_utf8(answers().confusion_table().unwrap()).unwrap();
        assert_eq!(text, "class,\"n3 cat, puss\",n1 dog,n2 eel\n\"n3 cat, puss\",1,1,0\nn1 dog,0,1,0\nn2 eel,0,0,1\n");
    }
}
