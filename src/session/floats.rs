//! Images that are the network's input already: no bytes, no crop, no mean.

use std::collections::BTreeMap;

use super::{Places, Session, SessionError, TRAINING};
use crate::backend::Data;
use crate::data::Batch;
use crate::net::{Feature, ImageSource};
use crate::program::Pass;
use crate::tensor::Tensor;

/// Images as floats, with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Floats {
    /// Pixels as the network sees them, `[images][3][size][size]`.
    pub images: Tensor,
    /// The class of each image.
    pub labels: Vec<u32>,
}

impl Session {
    /// Forward with dropout masks and backward on a minibatch, for step `number`, as [`Session::gradients`].
    pub fn gradients_of(&mut self, batch: &Floats, number: u64) -> Result<(), SessionError> {
        let feed = |session: &mut Self, first| session.feed_floats(batch, first, number);
        let submit = |session: &mut Self, pass, _| Ok(session.backend.run(pass).map(|()| true)?);
        self.run(batch.labels.len(), feed, TRAINING, submit).map(drop)
    }

    /// Class scores of each image before softmax, `[images][classes]`, without dropout masks.
    pub fn logits(&mut self, batch: &Floats) -> Result<Tensor, SessionError> {
        let evaluated = self.lowered.logits.iter().find(|(pass, _)| *pass == Pass::Evaluate).map(|(_, slot)| *slot);
        let Some(slot) = evaluated else { return Err(SessionError::Unscored) };
        let (count, classes) = (batch.labels.len(), self.net.classes());
        let mut all = Vec::with_capacity(count * classes);
        for first in self.firsts(count) {
            let real = self.feed_floats(batch, first, 0)?;
            self.backend.run(Pass::Evaluate)?;
            // Nothing is computed after the loss, which reads them last.
            let values = self.backend.read(slot)?;
            (0..real).for_each(|n| all.extend(values[n..].iter().step_by(self.lowered.images)));
        }
        Ok(Tensor::new([count, classes], all))
    }

    /// What every layer makes of each image, without dropout masks: by the names of nodes,
    /// `[images][channels][height][width]` of all towers behind each other. There is something where the network was
    /// set up for it.
    pub fn features(&mut self, batch: &Floats) -> Result<BTreeMap<String, Tensor>, SessionError> {
        let feed = |session: &mut Self, first| session.feed_floats(batch, first, 0);
        Ok(self.features_by(batch.labels.len(), feed, &|_| true)?.0)
    }

    /// The same of stored images, of the nodes that are `wanted`; and the probabilities of classes,
    /// `[images][classes]`.
    pub fn features_of(
        &mut self,
        batch: &Batch,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(BTreeMap<String, Tensor>, Vec<f32>), SessionError> {
        self.features_by(batch.count, |session, first| session.feed(batch, Places::whole(batch), first, 0), wanted)
    }

    fn features_by(
        &mut self,
        count: usize,
        feed: impl Fn(&mut Self, usize) -> Result<usize, SessionError>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(BTreeMap<String, Tensor>, Vec<f32>), SessionError> {
        let images = self.lowered.images;
        let chosen: Vec<Feature> =
            self.lowered.features.iter().filter(|feature| wanted(&feature.name)).cloned().collect();
        let mut all = vec![Vec::new(); chosen.len()];
        let mut probabilities = Vec::new();
        for first in self.firsts(count) {
            let real = feed(self, first)?;
            self.backend.run(Pass::Evaluate)?;
            let values = self.backend.read(self.lowered.probabilities)?;
            (0..real).for_each(|n| probabilities.extend(values[n..].iter().step_by(images)));
            for (feature, all) in chosen.iter().zip(&mut all) {
                let parts: Result<Vec<_>, _> = feature.parts.iter().map(|&part| self.backend.read(part)).collect();
                let parts = parts?;
                let [maps, height, width] = self.extents(feature);
                for n in 0..real {
                    let values = parts.iter().flat_map(|part| part[n..].iter().step_by(images));
                    all.extend(values.take(maps * height * width));
                }
            }
        }
        let tensor = |(feature, values): (&Feature, Vec<f32>)| {
            let [maps, height, width] = self.extents(feature);
            (feature.name.clone(), Tensor::new([count, maps, height, width], values))
        };
        Ok((chosen.iter().zip(all).map(tensor).collect(), probabilities))
    }

    /// Extents of all maps of a feature. Where towers share the classes, the last may have some that are of no class.
    fn extents(&self, feature: &Feature) -> [usize; 3] {
        let shape = &self.lowered.program.slot(feature.parts[0]).shape;
        let last = self.net.model.layers.last().map(|row| row.name.as_str());
        let maps = feature.parts.len() * shape[0];
        let maps = if feature.name.split('.').next() == last { maps.min(self.net.classes()) } else { maps };
        [maps, shape[1], shape[2]]
    }

    /// Uploads the images of a minibatch from number `first` on, as many as are computed at once, images innermost.
    fn feed_floats(&mut self, batch: &Floats, first: usize, number: u64) -> Result<usize, SessionError> {
        let ImageSource::Floats(input) = self.lowered.source else {
            return Err(SessionError::Source("stored images, not ones as floats"));
        };
        let info = self.lowered.program.slot(input);
        let (count, images) = (batch.labels.len(), self.lowered.images);
        let wanted = [&[count], &info.shape[..3]].concat();
        if batch.images.shape() != wanted {
            let found = batch.images.shape().to_vec();
            return Err(SessionError::Shape { name: "images".into(), found, wanted });
        }
        let each = info.count() / images;
        let real = (count - first).min(images);
        let mut values = vec![0.0; info.count()];
        for (n, image) in batch.images.values()[first * each..][..real * each].chunks_exact(each).enumerate() {
            values[n..].iter_mut().step_by(images).zip(image).for_each(|(to, &value)| *to = value);
        }
        self.backend.write(input, Data::F32(&values))?;
        self.feed_labels(&batch.labels[first..first + real], number, count, first)?;
        Ok(real)
    }
}
