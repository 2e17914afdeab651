//! What ranks agree on between two steps: whether to stop, which images are left out, how the training images look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::skipped::Images;
use super::{TrainError, Trainer};
use crate::data::{self, Batch, Colours, Delivery, Loader, LoaderOptions, Part, PartLoader, Split, Statistics, Views};
use crate::ranks::{Ranks, RanksError};

/// The wish to stop, and what all ranks make of it.
pub(super) struct Stop<'a> {
    /// The wish of this process.
    pub(super) wish: &'a AtomicBool,
    /// Whether all ranks stop, where there are several.
    agreed: Option<AtomicBool>,
}

impl<'a> Stop<'a> {
    pub(super) fn new(wish: &'a AtomicBool, ranks: &Ranks) -> Self {
        Self { wish, agreed: (ranks.size() > 1).then(|| AtomicBool::new(false)) }
    }

    /// The flag that ends the run: the same on all ranks at the same time.
    pub(super) fn flag(&self) -> &AtomicBool {
        self.agreed.as_ref().unwrap_or(self.wish)
    }

    pub(super) fn is_raised(&self) -> bool {
        self.flag().load(Ordering::Relaxed)
    }

    /// Raises the flag on this rank, as all others do.
    fn agree(&self) {
        self.flag().store(true, Ordering::Relaxed);
    }
}

/// A loader of whole minibatches, or of this rank's part of each.
enum Source {
    Whole(Loader),
    Part(Box<PartLoader>),
}

/// The minibatches of a pass.
pub(super) struct Batches {
    source: Source,
    ranks: Arc<Ranks>,
    /// Reasons for the images that were left out since the minibatch before.
    skipped: Vec<String>,
    begun: bool,
}

/// What a rank tells the others before every minibatch: whether it wants to stop, and its images that are broken.
type Notice = (bool, Vec<(u32, String)>);

impl Batches {
    /// This rank's part of the next minibatch; `None` at the end of the pass, or as soon as the run is to stop.
    pub(super) fn next(&mut self, stop: &Stop<'_>) -> Result<Option<Part>, TrainError> {
        let loader = match &mut self.source {
            Source::Whole(loader) => {
                let batch = loader.next_unless(stop.flag()).transpose()?;
                return Ok(batch.map(|batch| Part { first: 0, minibatch: batch.count, batch }));
            }
            Source::Part(loader) => loader,
        };
        loop {
            let found = loader.next_unless(stop.wish)?;
            let own: Notice = match &found {
                Delivery::Broken(broken) => (false, broken.clone()),
                found => (matches!(found, Delivery::Stopped), Vec::new()),
            };
            let notice = serde_json::to_vec(&own).map_err(|_| RanksError::Different)?;
            let mut broken = Vec::new();
            for notice in self.ranks.gather(notice)? {
                let (stops, images): Notice = serde_json::from_slice(&notice).map_err(|_| RanksError::Different)?;
                if stops {
                    stop.agree();
                }
                broken.extend(images);
            }
            if stop.is_raised() {
                return Ok(None);
            }
            if !broken.is_empty() {
                loader.leave_out(broken.iter().map(|(index, _)| *index))?;
                self.skipped.extend(broken.into_iter().map(|(_, reason)| reason));
                continue;
            }
            let mut part = match found {
                Delivery::Part(part) => part,
                // The pass consists of broken images.
                _ if !self.begun && !self.skipped.is_empty() => {
                    Part { batch: Batch::without_images(), first: 0, minibatch: 0 }
                }
                _ => return Ok(None),
            };
            part.batch.skipped = std::mem::take(&mut self.skipped);
            self.begun = true;
            return Ok(Some(part));
        }
    }

    /// Numbers of the images that are known to be broken, of all ranks.
    fn into_broken(self) -> BTreeSet<u32> {
        match self.source {
            Source::Whole(_) => BTreeSet::new(),
            Source::Part(loader) => loader.into_broken(),
        }
    }
}

impl Trainer<'_> {
    /// What the first rank says, where all have to do the same at the same time; else what this one does.
    pub(super) fn first_says(&self, own: bool) -> Result<bool, TrainError> {
        if !self.session.is_hybrid() {
            return Ok(own);
        }
        Ok(self.ranks.broadcast(vec![u8::from(own)])? == [1])
    }

    /// The minibatches of a pass over `split`, from position `start` of the order on.
    pub(super) fn batches(
        &self,
        split: &Arc<Split>,
        order: Vec<u32>,
        start: usize,
        views: Views,
        of: Images,
    ) -> Result<Batches, TrainError> {
        let capacity = self.config.batch();
        let options = LoaderOptions { order, start, capacity, views, threads: data::decoding_threads() };
        let source = if self.ranks.size() == 1 {
            Source::Whole(Loader::new(split, options)?)
        } else {
            let place = [self.ranks.rank(), self.ranks.size()];
            Source::Part(PartLoader::new(split, options, place, self.broken[of as usize].clone())?.into())
        };
        Ok(Batches { source, ranks: Arc::clone(&self.ranks), skipped: Vec::new(), begun: false })
    }

    /// Keeps in mind which images a pass found broken.
    pub(super) fn ended(&mut self, batches: Batches, of: Images) {
        self.broken[of as usize].extend(batches.into_broken());
    }
}

/// Statistics of the training images, which the first rank has measured, or none if it was stopped meanwhile.
pub(super) fn share_statistics(
    ranks: &Ranks,
    measured: Option<Statistics>,
    stop: &Stop<'_>,
) -> Result<Option<Statistics>, TrainError> {
    if ranks.size() == 1 {
        return Ok(measured);
    }
    let own = measured.map_or_else(Vec::new, |Statistics { mean, colours }| {
        [colours.eigenvectors.as_flattened(), &colours.deviations, &mean].concat()
    });
    let bytes = ranks.broadcast(bytemuck::cast_slice(&own).to_vec())?;
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    if values.is_empty() {
        stop.agree();
        return Ok(None);
    }
    let (eigenvectors, rest) = values.split_at_checked(9).ok_or(RanksError::Different)?;
    let (deviations, mean) = rest.split_at_checked(3).ok_or(RanksError::Different)?;
    let colours = Colours::new(eigenvectors, deviations).ok_or(RanksError::Different)?;
    Ok(Some(Statistics { mean: mean.to_vec(), colours }))
}
