//! What a network makes of many images: probabilities, the last hidden layer, and which units ever respond.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

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
    /// Outputs of the last hidden layer `[images][units]`.
    pub hidden: Vec<f32>,
    /// Responses of every layer but the last.
    pub activity: Vec<Activity>,
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
        Ok(Self { session, border2 })
    }

    /// Shows the network at most `most` images of `split`, spread over it; `progress` gets the images that are done, and all.
    /// Images that cannot be decoded are left out.
    pub fn survey(
        &mut self,
        split: &Arc<Split>,
        most: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Survey, EvalError> {
        let order = spread(split.len(), most);
        let all = order.len();
        let views = Views::Centre { border2: self.border2 };
        let plan = LoaderOptions { order, start: 0, capacity: BATCH, views, threads: decoding_threads() };
        let rows = self.hidden_rows();
        let mut responses: BTreeMap<&str, Responses> = BTreeMap::new();
        let mut survey = Survey::default();
        for batch in Loader::new(split, plan)? {
            let batch = batch?;
            survey.images.extend_from_slice(&batch.indices[..batch.count]);
            survey.labels.extend_from_slice(&batch.labels[..batch.count]);
            let features = self.session.features_of(&batch)?;
            for (row, node) in &rows {
                features
                    .get(node)
                    .into_iter()
                    .for_each(|outputs| responses.entry(row.as_str()).or_default().add(outputs));
            }
            let hidden = rows.last().and_then(|(_, node)| features.get(node));
            survey.hidden.extend(hidden.map(Tensor::values).unwrap_or_default());
            survey.probabilities.extend(self.session.probabilities(&batch)?.concat());
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

    /// Rows before the last, each with the node whose outputs are its responses: those behind its rectifier.
    fn hidden_rows(&self) -> Vec<(String, String)> {
        let net = self.session.net();
        let rows = net.model.layers.iter().map(|row| &row.name);
        let response = |row: &String| {
            // A rectifier right behind the convolution or product is a part of its node.
            let apart = format!("{row}.relu");
            let node = net.nodes.iter().find(|node| node.name == apart).map_or(row, |node| &node.name);
            (row.clone(), node.clone())
        };
        rows.take(net.model.layers.len().saturating_sub(1)).map(response).collect()
    }
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

    /// Output of the last hidden layer for image `i`.
    pub fn hidden_of(&self, i: usize) -> &[f32] {
        let units = self.hidden.len() / self.labels.len().max(1);
        &self.hidden[i * units..(i + 1) * units]
    }

    /// Counts of images `[class][best class]`.
    pub fn confusions(&self) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; self.classes()]; self.classes()];
        for (i, &label) in self.labels.iter().enumerate() {
            if let Some((best, _)) = self.best(i, 1).first() {
                counts[label as usize][*best] += 1;
            }
        }
        counts
    }

    /// The `most` images whose last hidden layer is nearest to `hidden`, by Euclidean distance.
    pub fn nearest(&self, hidden: &[f32], most: usize) -> Vec<usize> {
        let distance =
            |i: usize| self.hidden_of(i).iter().zip(hidden).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let mut all: Vec<(f64, usize)> = (0..self.labels.len()).map(|i| (distance(i), i)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all.into_iter().take(most).map(|(_, i)| i).collect()
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
            hidden: vec![0.0, 0.0, 3.0, 4.0, 1.0, 0.0],
            activity: Vec::new(),
        };
        assert_eq!(survey.nearest(&[0.9, 0.0], 2), [2, 0]);
        assert_eq!(survey.confusions(), [[1, 0], [1, 1]]);
        assert_eq!(survey.best(2, 1), [(1, 0.7)]);
    }
}
