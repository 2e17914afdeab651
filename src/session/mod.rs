//! A network on its devices: the one place where the two meet. Lower, place, load weights, feed a batch, run, read.
//!
//! Every command that computes goes through a [`Session`], so that none of them knows programs, slots or adapters.

mod floats;
mod graph;
mod health;
pub mod layout;
mod place;
mod shared;
mod timeline;
mod weights;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thiserror::Error;

pub use self::floats::Floats;
pub use self::graph::GraphSession;
use self::layout::Layout;
pub use self::place::{CPU_SPEED, INSTALL, open_among, open_devices, place};
use self::shared::Images;
pub use self::shared::{Places, total_score};
use self::timeline::Timeline;
pub use self::timeline::{DeviceTimes, Event, StepBreakdown};
use crate::backend::{BackendError, Cluster, Data, Placement};
use crate::data::Batch;
use crate::graph::GraphError;
pub use crate::net::Score;
use crate::net::{Job, LayerFactors, Net, NetError, NetProgram, RankSlots, StoredImageSlots, Trained};
use crate::ops::input::{colour, view};
use crate::ops::step;
use crate::program::{Pass, Slot};
use crate::ranks::{Ranks, RanksError};
use crate::tensor::{NO_LABEL, Tensor};

/// Why weights do not fit a network, or a device fails.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SessionError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("--devices: {0}")]
    Devices(Box<BackendError>),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Ranks(#[from] RanksError),
    #[error("there is no score: the last batch was not computed to its end")]
    Unscored,
    #[error("this network was set up for {0}")]
    Source(&'static str),
    #[error("tensor {0} is missing: these weights belong to another network")]
    Missing(String),
    #[error("tensor {name} has shape {found:?}, the network needs {wanted:?}: these weights belong to another network")]
    Shape { name: String, found: Vec<usize>, wanted: Vec<usize> },
}

/// Learning rates of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Learning rate of weights.
    pub weights: f32,
    /// Learning rate of biases.
    pub biases: f32,
    /// Hyper-parameters of the optimiser, by name; its defaults where absent.
    pub hyper: BTreeMap<&'static str, f32>,
    /// Further factors of the rates of single layers, by the names of rows.
    pub layers: BTreeMap<String, LayerFactors>,
}

/// Training passes of the first batch of a minibatch, and of all others.
const TRAINING: [Pass; 2] = [Pass::Gradients, Pass::Accumulate];

/// `bytes` as `count` words, the last ones 0 where bytes are fewer: of a whole batch the same memory, for it is large.
fn whole_words(bytes: &[u8], count: usize) -> Cow<'_, [u32]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(words) if words.len() == count => Cow::Borrowed(words),
        _ => {
            let mut words = bytemuck::pod_collect_to_vec(bytes);
            words.resize(count, 0);
            Cow::Owned(words)
        }
    }
}

/// A network set up to run.
pub struct Session {
    net: Net,
    job: Job,
    devices: Placement,
    frozen: BTreeSet<String>,
    /// States of the optimiser of frozen tensors, by name, for the time when those are trained again.
    resting: BTreeMap<String, Tensor>,
    lowered: NetProgram,
    backend: Cluster,
    seed: u64,
    rates: Option<Rates>,
    /// Score of the last minibatch; `None` if a device failed during it.
    score: Option<Score>,
    /// Number of images in the batch whose score is on its way from the device.
    unread: Option<usize>,
    /// Score of the minibatch before the last, if it was read while the last was computed.
    before: Option<Score>,
    profile: Option<Timeline>,
    ranks: Arc<Ranks>,
    /// The images of every rank in the minibatch that is computed, where ranks share layers.
    images_of_ranks: Vec<Images>,
    /// Memory of gradients on their way, kept for the next step.
    memory: Vec<Vec<f32>>,
    /// Time for which nothing was left to do but wait for other ranks, within passes.
    waited: Rc<Cell<Duration>>,
}

impl Session {
    /// Lays `net` out on `devices` for `job`, and sets it up there.
    ///
    /// # Errors
    /// When the network does not fit, said before anything is allocated; or a device fails.
    pub fn new(net: Net, job: &Job, devices: &Placement, seed: u64) -> Result<Self, SessionError> {
        let layout = Layout::new(&net, job, &devices.limits(net.model.towers))?;
        Self::laid_out(net, job, layout, devices, seed)
    }

    /// Sets `net` up on `devices`, on whose limits `layout` was made for `job`.
    pub fn laid_out(net: Net, job: &Job, layout: Layout, devices: &Placement, seed: u64) -> Result<Self, SessionError> {
        let lowered = layout.lowered;
        let backend = devices.set_up(&lowered.program)?;
        let (job, devices, frozen, resting) = (*job, devices.clone(), BTreeSet::new(), BTreeMap::new());
        let (rates, score, unread, before, profile) = (None, None, None, None, None);
        let (ranks, images_of_ranks, memory, waited) = Default::default();
        Ok(Self {
            net,
            job,
            devices,
            frozen,
            resting,
            lowered,
            backend,
            seed,
            rates,
            score,
            unread,
            before,
            profile,
            ranks,
            images_of_ranks,
            memory,
            waited,
        })
    }

    /// The network that it computes.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Number of images computed at once, a multiple of 8.
    pub fn images(&self) -> usize {
        self.lowered.images
    }

    /// Names of its devices, for messages.
    pub fn device(&self) -> String {
        match &self.backend.devices()[..] {
            [(_, only)] => only.clone(),
            several => {
                several.iter().map(|(towers, name)| format!("tower {towers}: {name}")).collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// The devices it runs on.
    pub fn cluster(&self) -> &Cluster {
        &self.backend
    }

    /// The devices it runs on, to be measured.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.backend
    }

    /// The program it runs.
    pub fn lowered(&self) -> &NetProgram {
        &self.lowered
    }

    /// Sets the mean image: stored size squared × 3, H·W·C.
    pub fn set_mean(&mut self, mean: &[f32]) -> Result<(), SessionError> {
        let slot = self.stored()?.mean;
        let shape = self.lowered.program.slot(slot).shape.clone();
        if mean.len() != shape.iter().product::<usize>() {
            return Err(SessionError::Shape { name: "mean".into(), found: vec![mean.len()], wanted: shape });
        }
        Ok(self.backend.write(slot, Data::F32(mean))?)
    }

    fn stored(&self) -> Result<StoredImageSlots, SessionError> {
        self.lowered.source.stored().ok_or(SessionError::Source("images as floats, not stored ones"))
    }

    /// Uploads the images of a batch from number `first` on, as many as are computed at once, for step `number`; the
    /// batch has these places in the minibatch.
    fn feed(&mut self, batch: &Batch, places: Places, first: usize, number: u64) -> Result<usize, SessionError> {
        let (images, StoredImageSlots { pixels, views, colours, .. }) = (self.lowered.images, self.stored()?);
        let end = (first + images).min(batch.labels.len());
        let begin = first.min(end);
        let bytes_per_image = batch.images.len() / batch.labels.len().max(1);
        let stored = &batch.images[begin * bytes_per_image..end * bytes_per_image];
        let words = whole_words(stored, self.lowered.program.slot(pixels).count());
        let shown = &batch.views[begin..end];
        let mut corners: Vec<u32> = shown.iter().flat_map(|v| view::words(v.y, v.x, v.mirror)).collect();
        corners.resize(view::COUNT * images, 0);
        let mut shifts: Vec<f32> = shown.iter().flat_map(|v| colour::floats(v.shift, v.gain)).collect();
        shifts.resize(colour::COUNT * images, 0.0);
        self.backend.write(pixels, Data::U32(&words))?;
        self.backend.write(views, Data::U32(&corners))?;
        self.backend.write(colours, Data::F32(&shifts))?;
        self.feed_labels(&batch.labels[begin..end], number, places.images, places.first + first)?;
        self.feed_ranks(first, places.images, number)?;
        Ok(batch.count.saturating_sub(first).min(images))
    }

    /// Uploads the labels of as many images as are computed at once, which are those from number `first` on of a
    /// minibatch of `count`, for step `number`.
    fn feed_labels(&mut self, labels: &[u32], number: u64, count: usize, first: usize) -> Result<(), SessionError> {
        let slots = RankSlots { labels: self.lowered.labels, step: self.lowered.step };
        self.feed_labels_of(slots, labels, number, [count, first])
    }

    fn feed_labels_of(
        &mut self,
        slots: RankSlots,
        labels: &[u32],
        number: u64,
        [count, first]: [usize; 2],
    ) -> Result<(), SessionError> {
        let mut labels = labels.to_vec();
        labels.resize(self.lowered.images, NO_LABEL);
        let words = step::words(self.seed, number as u32, count as u32, first as u32);
        self.backend.write(slots.labels, Data::U32(&labels))?;
        Ok(self.backend.write(slots.step, Data::U32(&words))?)
    }

    /// Uploads the first images of a minibatch, as many as are computed at once, and computes nothing.
    pub fn upload(&mut self, batch: &Batch) -> Result<(), SessionError> {
        self.feed(batch, Places::whole(batch), 0, 0).map(drop)
    }

    /// Runs a minibatch of `count` images through the network, as many at once as fit: `pass` for the first, `further`
    /// for the others. `feed` uploads those from some number on, and says how many they are; `submit` computes a pass,
    /// told whether it is the last one, unless it is to stop. The score of one batch is read while the next is
    /// computed, so that the device never waits for the host: that of the minibatch before, too. Whether all was
    /// computed.
    fn run(
        &mut self,
        count: usize,
        feed: impl Fn(&mut Self, usize) -> Result<usize, SessionError>,
        [pass, further]: [Pass; 2],
        mut submit: impl FnMut(&mut Self, Pass, bool) -> Result<bool, SessionError>,
    ) -> Result<bool, SessionError> {
        // Of the minibatch before, as far as its score is read.
        let mut before = self.score.take();
        self.before = None;
        let mut total = Score::default();
        for first in self.firsts(count) {
            let real = self.phase("upload", |session| feed(session, first))?;
            let pass = if first == 0 { pass } else { further };
            let last = first + self.lowered.images >= count;
            let submitted = self.phase("submit", |session| submit(session, pass, last))?;
            let read = self.read_score()?;
            if let Some(mut whole) = before.take() {
                whole.add(read);
                self.before = Some(whole);
            } else if first > 0 {
                total.add(read);
            }
            if !submitted {
                return Ok(false);
            }
            let scores = self.scores();
            self.phase("fetch", |session| {
                scores.into_iter().try_for_each(|slot| session.backend.fetch(slot)).map_err(SessionError::from)
            })?;
            self.unread = Some(real);
        }
        self.score = Some(total);
        Ok(true)
    }

    /// The numbers of the first images of the batches in which a minibatch is computed.
    fn firsts(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        (0..count.max(1)).step_by(self.lowered.images)
    }

    fn scores(&self) -> [Slot; 3] {
        [self.lowered.loss, self.lowered.top1, self.lowered.top5]
    }

    /// Reads the score of the last batch, if that is still to be read.
    fn read_score(&mut self) -> Result<Score, SessionError> {
        let Some(images) = self.unread.take() else { return Ok(Score::default()) };
        let mut sums = [0.0; 3];
        self.phase("read", |session| {
            for (sum, slot) in sums.iter_mut().zip(session.scores()) {
                *sum = session.backend.take(slot)?[..images].iter().map(|&v| f64::from(v)).sum();
            }
            Ok(())
        })?;
        let [loss, top1, top5] = sums;
        Ok(Score { images, loss, top1, top5 })
    }

    /// Sets learning rates; written to the device only when they change.
    pub fn set_rates(&mut self, rates: Rates) -> Result<(), SessionError> {
        if self.rates.as_ref() == Some(&rates) {
            return Ok(());
        }
        let optimizer = self.net.model.train.optimizer.kind;
        let of_tensor = |index: usize| {
            let Trained { node, bias, decay, .. } = self.lowered.trained[index];
            let factors = rates.layers.get(self.net.nodes[node].row()).copied().unwrap_or_default();
            (if bias { factors.biases * rates.biases } else { factors.weights * rates.weights }, decay)
        };
        for updated in &self.lowered.updated {
            let rule = updated.rule_of(optimizer, &rates.hyper, of_tensor);
            self.backend.write(updated.rule, Data::F32(&rule))?;
        }
        self.rates = Some(rates);
        Ok(())
    }

    /// Forward with dropout masks and backward on a minibatch, for step `number`: the gradients of its mean loss.
    pub fn gradients(&mut self, batch: &Batch, number: u64) -> Result<(), SessionError> {
        self.gradients_unless(batch, number, &AtomicBool::new(false)).map(drop)
    }

    /// The same as long as `stop` is not raised, for which it looks between kernels: whether there are gradients and a
    /// score. Weights stay as they are either way.
    pub fn gradients_unless(&mut self, batch: &Batch, number: u64, stop: &AtomicBool) -> Result<bool, SessionError> {
        let feed = |session: &mut Self, first| session.feed(batch, Places::whole(batch), first, number);
        self.run(batch.count, feed, TRAINING, |session, pass, _| Ok(session.backend.run_unless(pass, stop)?))
    }

    /// The optimiser's step from the gradients. After a loss that was not finite it changes nothing.
    pub fn update(&mut self) -> Result<(), SessionError> {
        self.phase("submit", |session| Ok(session.backend.run(Pass::Update)?))
    }

    /// Forward without dropout masks on a batch of any size.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<(), SessionError> {
        self.evaluate_unless(batch, &AtomicBool::new(false)).map(drop)
    }

    /// The same as long as `stop` is not raised: whether there is a score.
    pub fn evaluate_unless(&mut self, batch: &Batch, stop: &AtomicBool) -> Result<bool, SessionError> {
        let count = self.meet(batch, 0)?;
        let feed = |session: &mut Self, first| session.feed(batch, Places::whole(batch), first, 0);
        let submit = |session: &mut Self, pass, _| Ok(session.backend.run_unless(pass, stop)?);
        self.run(count, feed, [Pass::Evaluate; 2], submit)
    }

    /// Score of the last [`Session::gradients`] or [`Session::evaluate`].
    pub fn score(&mut self) -> Result<Score, SessionError> {
        // Take it: if reading fails, no half-read score remains.
        let mut score = self.score.take().ok_or(SessionError::Unscored)?;
        score.add(self.read_score()?);
        self.score = Some(score);
        Ok(score)
    }

    /// Score of the minibatch before the last one, whose own may not be there yet; `None` if there was none, or it was
    /// not computed to its end.
    pub fn score_before(&mut self) -> Option<Score> {
        self.before.take()
    }

    /// Class probabilities of each image of a batch of any size.
    pub fn probabilities(&mut self, batch: &Batch) -> Result<Vec<Vec<f32>>, SessionError> {
        let mut all = Vec::with_capacity(batch.count);
        for first in self.firsts(batch.count) {
            let real = self.feed(batch, Places::whole(batch), first, 0)?;
            self.backend.run(Pass::Evaluate)?;
            let values = self.backend.read(self.lowered.probabilities)?;
            all.extend(
                (0..real).map(|n| values[n..].iter().step_by(self.lowered.images).copied().collect::<Vec<f32>>()),
            );
        }
        Ok(all)
    }
}
