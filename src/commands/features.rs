//! Features of images, what a layer of a network makes of them, as a file for other programs.

use std::path::Path;

use super::CommandError;
use crate::data::{NO_LABEL, Split};
use crate::eval::Survey;
use crate::files::{Elements, FileKind, METADATA, check_target, serialize, write_file};
use crate::interop::npy;
use crate::tensor::Tensor;

/// File that features are written to, in the format of its extension.
pub struct FeatureFile<'p> {
    path: &'p Path,
    kind: FileKind,
}

impl<'p> FeatureFile<'p> {
    /// Checks the path before there is anything to write; its extension decides the format.
    pub fn new(path: &'p Path) -> Result<Self, CommandError> {
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => FileKind::Npy,
            Some("safetensors") => FileKind::Tensors,
            Some("csv") => FileKind::Csv,
            _ => return Err(CommandError::FeatureFormat(path.into())),
        };
        check_target(path, kind, None)?;
        Ok(Self { path, kind })
    }

    /// Writes what `layer` made of the images of `survey`, which are those of `split` of `classes`: the array
    /// `[images][units]` as numpy has it; tensors `features` and `labels`, with the names of the layer, images and
    /// classes as metadata; or a table with a line for each image, its name, class and features.
    pub fn write(&self, survey: &Survey, split: &Split, classes: &[String], layer: &str) -> Result<(), CommandError> {
        let (count, units) = (survey.labels.len(), survey.units());
        let names: Vec<String> = survey.images.iter().map(|&image| split.name(image as usize)).collect();
        let bytes = match self.kind {
            FileKind::Npy => npy::bytes(&Tensor::new([count, units], survey.features.clone())),
            FileKind::Csv => table(survey, &names, classes)?,
            _ => {
                let features = ("features", &[count, units][..], Elements::F32(&survey.features));
                let labels = ("labels", &[count][..], Elements::U32(&survey.labels));
                let labelled = survey.labels.iter().any(|&label| label != NO_LABEL);
                let tensors = if labelled { vec![features, labels] } else { vec![features] };
                let about = serde_json::json!({ "layer": layer, "classes": classes, "images": names }).to_string();
                serialize(tensors, Some((METADATA, about)))?
            }
        };
        Ok(write_file(self.path, &bytes)?)
    }
}

fn table(survey: &Survey, names: &[String], classes: &[String]) -> Result<Vec<u8>, CommandError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let columns = (0..survey.units()).map(|unit| unit.to_string());
    table.write_record(["image".to_owned(), "class".to_owned()].into_iter().chain(columns))?;
    for (i, name) in names.iter().enumerate() {
        let class = classes.get(survey.labels[i] as usize).cloned().unwrap_or_default();
        let features = survey.features_of(i).iter().map(f32::to_string);
        table.write_record([name.clone(), class].into_iter().chain(features))?;
    }
    Ok(table.into_inner().map_err(|error| csv::Error::from(error.into_error()))?)
}
