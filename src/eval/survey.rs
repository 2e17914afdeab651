//! What a network makes of many images: probabilities, the last hidden layer, and which units ever respond.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::answers::counts;
use super::error::EvalError;
use crate::backend::Placement;
use crate::checkpoint::{Checkpoint, MEAN};
use crate::data::{Loader, LoaderOptions, Split, Views, decoding_threads};
use crate::net::{Job, LAYERS, Net};
use crate::session::Session;
use crate::tensor::Tensor;

/// Most images at once: the outputs of all layers are kept until they are read.
const BATCH: usize = 64;

/// A network that tells what it makes of images, on its devices.
pub struct Surveyor {
    session: Session,
    border2: u32,
    /// Node whose outputs are the features of an image.
    layer: String,
}

/// What a network makes of some images.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Number of each image in its split.
    pub images: Vec<u32>,
    /// Class of each image.
    pub labels: Vec<u32>,
    /// Probabilities of the classes, `[images][classes]`.
    pub probabilities: Vec<f32>,
    /// Outputs of the chosen layer `[images][units]`: of the last hidden one, where none is chosen.
    pub features: Vec<f32>,
    /// Responses of every layer but the last, where they were asked for.
    pub activity: Vec<Activity>,
    /// Images that cannot be decoded, with the reason.
    pub skipped: Vec<String>,
}

/// Responses of the units of a layer: maps of a convolution, neurons of a fully connected layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// Row of the network.
    pub layer: String,
    /// Count of the units.
    pub units: usize,
    /// Units that gave 0 for every image, everywhere.
    pub dead: usize,
    /// Share of all outputs that were not 0.
    pub active: f64,
}

/// Sums over the images of a layer.
#[derive(Default)]
struct Responses {
    alive: BTreeSet<usize>,
    units: usize,
    active: u64,
    outputs: u64,
}

impl Responses {
    /// Takes in outputs `[images][units][height][width]`.
    fn add(&mut self, outputs: &Tensor) {
        let [_, units, height, width] = outputs.shape()[..] else { return };
        self.units = units;
        for (index, map) in outputs.values().chunks(height * width).enumerate() {
            let active = map.iter().filter(|value| **value != 0.0).count();
            (self.active, self.outputs) = (self.active + active as u64, self.outputs + map.len() as u64);
            if active > 0 {
                self.alive.insert(index % units);
            }
        }
    }
}

impl Surveyor {
    /// Sets up the network of `checkpoint` on `devices`.
    pub fn new(checkpoint: &Checkpoint, devices: &Placement) -> Result<Self, EvalError> {
        checkpoint.expect_finite()?;
        let model = checkpoint.state.model(LAYERS)?;
        let border2 = model.input.border2();
        let net = Net::new(model)?;
        let job = Job { features: true, ..Job::evaluation(BATCH) };
        let mut session = Session::new(net, &job, devices, checkpoint.state.seed)?;
        session.load(&checkpoint.tensors)?;
        session.set_mean(checkpoint.tensors.get(MEAN).ok_or(EvalError::NoMean)?.values())?;
        let layer = hidden_rows(session.net()).last().map_or_else(String::new, |(_, node)| node.clone());
        Ok(Self { session, border2, layer })
    }

    /// The same with the features of another layer: a row, of which it is what the next one reads before it is pooled
    /// and the like, or one of its stages, as `conv1.pool`.
    pub fn with_layer(mut self, name: &str) -> Result<Self, EvalError> {
        let net = self.session.net();
        let known = net.model.layers.iter().any(|row| row.name == name);
        let node = if known { Some(response(net, name)) } else { None };
        let node = node.or_else(|| net.nodes.iter().find(|node| node.name == name).map(|node| node.name.clone()));
        let refuse = || {
            let known = net.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
            EvalError::Layer { name: name.into(), known }
        };
        self.layer = node.ok_or_else(refuse)?;
        Ok(self)
    }

    /// Name of the layer whose outputs are the features.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Side to which images are scaled, in pixels.
    pub fn stored(&self) -> usize {
        self.session.net().model.input.stored()
    }

    /// Shows the network at most `most` images of `split`, spread over it; `progress` gets the images that are done,
    /// and all. Images that cannot be decoded are left out. With `activity` the responses of all layers are counted,
    /// which takes longer.
    pub fn survey(
        &mut self,
        split: &Arc<Split>,
        most: usize,
        activity: bool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Survey, EvalError> {
        let order = spread(split.len(), most);
        let all = order.len();
        let views = Views::Centre { border2: self.border2 };
        let plan = LoaderOptions { order, start: 0, capacity: BATCH, views, threads: decoding_threads() };
        let rows = if activity { hidden_rows(self.session.net()) } else { Vec::new() };
        let layer = self.layer.clone();
        let wanted = |name: &str| name == layer || rows.iter().any(|(_, node)| node == name);
        let mut responses: BTreeMap<&str, Responses> = BTreeMap::new();
        let mut survey = Survey::default();
        for batch in Loader::new(split, plan)? {
            let mut batch = batch?;
            survey.skipped.append(&mut batch.skipped);
            survey.images.extend_from_slice(&batch.indices[..batch.count]);
            survey.labels.extend_from_slice(&batch.labels[..batch.count]);
            if batch.count == 0 {
                continue;
            }
            let (features, probabilities) = self.session.features_of(&batch, &wanted)?;
            for (row, node) in &rows {
                features
                    .get(node)
                    .into_iter()
                    .for_each(|outputs| responses.entry(row.as_str()).or_default().add(outputs));
            }
            survey.features.extend(features.get(&layer).map(Tensor::values).unwrap_or_default());
            survey.probabilities.extend(probabilities);
            progress(batch.next, all);
        }
        let activity = |(row, _): &(String, String)| {
            let Responses { alive, units, active, outputs } = responses.get(row.as_str())?;
            let (dead, active) = (units - alive.len(), *active as f64 / (*outputs).max(1) as f64);
            Some(Activity { layer: row.clone(), units: *units, dead, active })
        };
        survey.activity = rows.iter().filter_map(activity).collect();
        Ok(survey)
    }
}

/// Rows before the last, each with the node whose outputs are its responses.
fn hidden_rows(net: &Net) -> Vec<(String, String)> {
    let rows = net.model.layers.iter().map(|row| &row.name);
    rows.take(net.model.layers.len().saturating_sub(1)).map(|row| (row.clone(), response(net, row))).collect()
}

/// The node whose outputs are the responses of a row: those behind its rectifier.
fn response(net: &Net, row: &str) -> String {
    // A rectifier right behind the convolution or product is a part of its node.
    let apart = format!("{row}.relu");
    net.nodes.iter().find(|node| node.name == apart).map_or_else(|| row.to_owned(), |node| node.name.clone())
}

impl Survey {
    /// Count of the classes.
    pub fn classes(&self) -> usize {
        self.probabilities.len() / self.labels.len().max(1)
    }

    /// Probabilities of image `i`.
    pub fn of(&self, i: usize) -> &[f32] {
        let classes = self.classes();
        &self.probabilities[i * classes..(i + 1) * classes]
    }

    /// Classes of image `i` with their probabilities, at most `most`, best first.
    pub fn best(&self, i: usize, most: usize) -> Vec<(usize, f32)> {
        let probabilities = self.of(i);
        super::metrics::ranking(probabilities)
            .into_iter()
            .take(most)
            .map(|class| (class, probabilities[class]))
            .collect()
    }

    /// Units of the chosen layer.
    pub fn units(&self) -> usize {
        self.features.len() / self.labels.len().max(1)
    }

    /// Output of the chosen layer for image `i`.
    pub fn features_of(&self, i: usize) -> &[f32] {
        let units = self.units();
        &self.features[i * units..(i + 1) * units]
    }

    /// Counts of images `[class][best class]`.
    pub fn confusions(&self) -> Vec<Vec<usize>> {
        let best = |i: usize| Some((self.labels[i], self.best(i, 1).first()?.0));
        counts((0..self.labels.len()).filter_map(best), self.classes())
    }

    /// The `most` images whose features are nearest to `features` by Euclidean distance, with their distances.
    pub fn nearest(&self, features: &[f32], most: usize) -> Vec<(usize, f64)> {
        let squares =
            |i: usize| self.features_of(i).iter().zip(features).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let mut all: Vec<(usize, f64)> = (0..self.labels.len()).map(|i| (i, squares(i).sqrt())).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all.truncate(most);
        all
    }
}

/// At most `most` of `count` numbers, spread evenly.
fn spread(count: usize, most: usize) -> Vec<u32> {
    let taken = count.min(most.max(1));
    (0..taken).map(|i| (i * count / taken) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_spread_over_the_whole_set() {
        assert_eq!(spread(3, 10), [0, 1, 2]);
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert!(spread(0, 4).is_empty());
    }

    #[test]
    fn units_that_never_respond_are_dead() {
        let mut responses = Responses::default();
        // Two images, three units of two outputs each.
        let values = vec![0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        responses.add(&Tensor::new([2, 3, 1, 2], values));
        assert_eq!((responses.units - responses.alive.len(), responses.active, responses.outputs), (1, 2, 12));
    }

    #[test]
    fn the_nearest_images_come_first() {
        let survey = Survey {
            images: vec![0, 1, 2],
            labels: vec![0, 1, 1],
            probabilities: vec![0.9, 0.1, 0.8, 0.2, 0.3, 0.7],
            features: vec![0.0, 0.0, 3.0, 4.0, 1.0, 0.0],
            ..Survey::default()
        };
        assert_eq!(survey.nearest(&[0.5, 0.0], 3).iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 2, 1]);
        assert_eq!(survey.nearest(&[0.0, 0.0], 3)[2], (1, 5.0));
        assert_eq!(survey.confusions(), [[1, 0], [1, 1]]);
        assert_eq!(survey.best(2, 1), [(1, 0.7)]);
    }
}
