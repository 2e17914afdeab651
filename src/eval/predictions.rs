//! Files of predictions: the best labels of every image for people and contests, or all probabilities for programs.

use std::path::Path;

use anyhow::{Result, bail};

use super::evaluator::Images;
use super::scores::ranking;
use crate::files::{Elements, METADATA, serialize, write_file};

/// Labels of an image in a table.
const BEST: usize = 5;

/// A file to be written.
pub(super) struct File<'p> {
    path: &'p Path,
    make: fn(&[f32], &Images) -> Result<Vec<u8>>,
}

impl<'p> File<'p> {
    /// The file at `path`, of the kind that its extension says; known before there is anything to write.
    ///
    /// # Errors
    /// When there is no such kind, or no such folder.
    pub(super) fn new(path: &'p Path) -> Result<Self> {
        let make = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => table,
            Some("safetensors") => tensors,
            _ => bail!("{}: predictions are written to .csv (the best labels) or .safetensors (all)", path.display()),
        };
        if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            bail!("{} cannot be written: there is no such folder; make it first", path.display());
        }
        Ok(Self { path, make })
    }

    /// Writes probabilities, `[images][classes]`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn write(&self, probabilities: &[f32], images: &Images) -> Result<()> {
        let bytes = (self.make)(probabilities, images)?;
        Ok(write_file(self.path, &bytes)?)
    }
}

/// A line for every image: its name, its class, and the best labels with their probabilities.
fn table(probabilities: &[f32], images: &Images) -> Result<Vec<u8>> {
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
    Ok(table.into_inner()?)
}

/// `probabilities` `[images][classes]` of f32 and `labels` `[images]` of u32; names of images and classes as metadata.
fn tensors(probabilities: &[f32], images: &Images) -> Result<Vec<u8>> {
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
        let mut images = Images::example(&[1, 0], 3);
        images.classes[1] = "tench, Tinca tinca".into();
        let text = String::from_utf8(table(&P, &images).unwrap()).unwrap();
        let wanted = "image,class,label1,probability1,label2,probability2,label3,probability3\n\
                      image 0,\"tench, Tinca tinca\",\"tench, Tinca tinca\",0.5,class 0,0.25,class 2,0.25\n\
                      image 1,class 0,class 2,0.75,class 0,0.125,\"tench, Tinca tinca\",0.125\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn tensors_hold_all_of_it() {
        let bytes = tensors(&P, &Images::example(&[1, 0], 3)).unwrap();
        let file = TensorFile::parse(&bytes).unwrap();
        assert_eq!(file.float32("probabilities").unwrap(), Tensor::new([2, 3], P.to_vec()));
        assert_eq!(file.integers("labels").unwrap(), (vec![2], vec![1, 0]));
    }

    #[test]
    fn what_cannot_be_written_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        for (name, part) in [("x.txt", ".safetensors"), ("x", ".csv"), ("csv", ".csv"), ("nowhere/x.csv", "folder")] {
            let path = folder.path().join(name);
            let Err(error) = File::new(&path).map(|_| ()) else { panic!("{name} is taken") };
            let error = error.to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
        let path = folder.path().join("x.csv");
        File::new(&path).unwrap().write(&P, &Images::example(&[1, 0], 3)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
