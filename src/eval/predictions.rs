//! Files of predictions: a table of the best labels for people and contests, or all probabilities for programs.

use std::path::Path;

use super::error::EvalError;
use super::evaluator::LabelledImages;
use super::metrics::ranking;
use crate::files::{Elements, FileKind, METADATA, check_target, serialize, write_file};

/// Count of labels of each image in a table.
const BEST: usize = 5;

/// File that predictions are written to.
pub(super) struct PredictionFile<'p> {
    path: &'p Path,
    encode: Encode,
}

/// The bytes of a file of probabilities, `[images][classes]`.
type Encode = fn(&[f32], &LabelledImages) -> Result<Vec<u8>, EvalError>;

impl<'p> PredictionFile<'p> {
    /// Checks the path before there is anything to write; its extension decides the format.
    pub(super) fn new(path: &'p Path) -> Result<Self, EvalError> {
        let (kind, encode): (_, Encode) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => (FileKind::Csv, table),
            Some("safetensors") => (FileKind::Tensors, tensors),
            _ => return Err(EvalError::Format(path.into())),
        };
        check_target(path, kind, None)?;
        Ok(Self { path, encode })
    }

    /// Writes the probabilities `[images][classes]` of all images to the file.
    pub(super) fn write(&self, probabilities: &[f32], images: &LabelledImages) -> Result<(), EvalError> {
        let bytes = (self.encode)(probabilities, images)?;
        Ok(write_file(self.path, &bytes)?)
    }
}

/// Table with a line for every image: its name, its class, and the best labels with their probabilities.
fn table(probabilities: &[f32], images: &LabelledImages) -> Result<Vec<u8>, EvalError> {
    let classes = images.classes.len();
    let best = BEST.min(classes);
    let mut table = csv::Writer::from_writer(Vec::new());
    let columns = (1..=best).flat_map(|i| [format!("label{i}"), format!("probability{i}")]);
    table.write_record(["image".to_owned(), "class".to_owned()].into_iter().chain(columns))?;
    for ((p, &label), name) in probabilities.chunks(classes).zip(&images.labels).zip(&images.names) {
        let labels = ranking(p).into_iter().take(best);
        let cells = labels.flat_map(|class| [images.classes[class].clone(), p[class].to_string()]);
        table.write_record([name.clone(), images.classes[label as usize].clone()].into_iter().chain(cells))?;
    }
    table.into_inner().map_err(|error| csv::Error::from(error.into_error()).into())
}

/// Tensors `probabilities` `[images][classes]` of f32 and `labels` `[images]` of u32; names of images and classes are
/// metadata.
fn tensors(probabilities: &[f32], images: &LabelledImages) -> Result<Vec<u8>, EvalError> {
    let (count, classes) = (images.labels.len(), images.classes.len());
    let tensors = [
        ("labels", &[count][..], Elements::U32(&images.labels)),
        ("probabilities", &[count, classes][..], Elements::F32(probabilities)),
    ];
    let about = serde_json::json!({ "classes": images.classes, "images": images.names }).to_string();
    Ok(serialize(tensors, Some((METADATA, about)))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::TensorFile;
    use crate::tensor::Tensor;

    const P: [f32; 6] = [0.25, 0.5, 0.25, 0.125, 0.125, 0.75];

    #[test]
    fn a_table_names_the_best_labels() {
        let mut images = LabelledImages::example(&[1, 0], 3);
        images.classes[1] = "tench, Tinca tinca".into();
        let text = String::from_utf8(table(&P, &images).unwrap()).unwrap();
        let wanted = "image,class,label1,probability1,label2,probability2,label3,probability3\n\
                      image 0,\"tench, Tinca tinca\",\"tench, Tinca tinca\",0.5,class 0,0.25,class 2,0.25\n\
                      image 1,class 0,class 2,0.75,class 0,0.125,\"tench, Tinca tinca\",0.125\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn tensors_hold_all_of_it() {
        let bytes = tensors(&P, &LabelledImages::example(&[1, 0], 3)).unwrap();
        let file = TensorFile::parse(&bytes).unwrap();
        assert_eq!(file.float32("probabilities").unwrap(), Tensor::new([2, 3], P.to_vec()));
        assert_eq!(file.integers("labels").unwrap(), (vec![2], vec![1, 0]));
    }

    #[test]
    fn what_cannot_be_written_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        for (name, part) in [("x.txt", ".safetensors"), ("x", ".csv"), ("csv", ".csv"), ("nowhere/x.csv", "folder")] {
            let path = folder.path().join(name);
            let Err(error) = PredictionFile::new(&path).map(|_| ()) else { panic!("{name} is taken") };
            let error = error.to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
        let path = folder.path().join("x.csv");
        PredictionFile::new(&path).unwrap().write(&P, &LabelledImages::example(&[1, 0], 3)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
