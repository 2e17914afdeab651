//! Minibatches that several ranks share: each computes its own images, and the gradients of all are added up on the way
//! from the backward pass to the update. What one rank sees that must not reach the weights, none of them lets through.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Session, SessionError, TRAINING};
use crate::backend::{Arrival, BackendError, Data};
use crate::data::Batch;
use crate::net::{Cut, Score, WireFormat};
use crate::ops::health;
use crate::program::{Across, Slot};
use crate::ranks::{Exchange, Format, Pending, Ranks, RanksError, Rows};
use crate::tensor::Tensor;

/// The places that a batch has in the minibatch of all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Place of its first image.
    pub first: usize,
    /// Images of the minibatch.
    pub images: usize,
}

impl Places {
    /// A batch that is the whole minibatch.
    pub fn whole(batch: &Batch) -> Self {
        Self { first: 0, images: batch.count }
    }
}

/// A rank's images of a minibatch.
#[derive(Clone, Debug, Default)]
pub(super) struct Images {
    /// Place of the first of them.
    first: usize,
    labels: Vec<u32>,
}

/// Score and health of a rank after its part of a minibatch, as they travel.
type Report = [u64; 6];

impl Session {
    /// Computes minibatches together with these ranks from now on.
    pub fn join(&mut self, ranks: &Arc<Ranks>) {
        self.ranks = Arc::clone(ranks);
        self.connect();
    }

    /// Whether ranks share layers, and have to compute, save and load together.
    pub fn is_hybrid(&self) -> bool {
        self.job.is_hybrid()
    }

    /// Number format between ranks.
    fn format(&self) -> Format {
        match self.job.options.exchange {
            WireFormat::F32 => Format::Floats,
            WireFormat::F16 => Format::Halves,
        }
    }

    /// Connects the devices to the other ranks.
    pub(super) fn connect(&mut self) {
        let (ranks, waited, format) = (Arc::clone(&self.ranks), Rc::clone(&self.waited), self.format());
        let refuse = |error: RanksError| BackendError::Across(error.to_string());
        self.backend.connect(Box::new(move |across, count, values| {
            let rows = |rows: usize| Rows { count: rows, numbers: count / rows };
            let exchange = match across {
                Across::Broadcast { from } => Exchange::Broadcast { from, count },
                Across::Reduce { to } => Exchange::Reduce { to },
                Across::Gather { rows: all } => Exchange::Gather(rows(all)),
                Across::Scatter { rows: all } => Exchange::Scatter(rows(all)),
            };
            let pending = ranks.exchange(exchange, values, format).map_err(refuse)?;
            let waited = Rc::clone(&waited);
            let arrival: Arrival = Box::new(move || {
                let begin = Instant::now();
                let came = pending.wait().map_err(refuse);
                waited.set(waited.get() + begin.elapsed());
                came
            });
            Ok(arrival)
        }));
    }

    /// Tells the other ranks of this one's images of a minibatch, the first of them at place `first`, and learns of
    /// theirs; the most that a rank has. Nothing to do unless ranks share layers.
    pub(super) fn meet(&mut self, batch: &Batch, first: usize) -> Result<usize, SessionError> {
        if !self.is_hybrid() {
            return Ok(batch.count);
        }
        let labels = &batch.labels[..batch.count];
        let own = [&[first as u32], labels].concat();
        let all = self.ranks.gather(bytemuck::cast_slice(&own).to_vec())?;
        let of_rank = |bytes: &Vec<u8>| {
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
            let (first, labels) = words.split_first().ok_or(RanksError::Different)?;
            Ok(Images { first: *first as usize, labels: labels.to_vec() })
        };
        self.images_of_ranks = all.iter().map(of_rank).collect::<Result<_, SessionError>>()?;
        Ok(self.images_of_ranks.iter().map(|images| images.labels.len()).max().unwrap_or_default())
    }

    /// Uploads the labels and places of other ranks' images from number `first` on, in a minibatch of `count`.
    pub(super) fn feed_ranks(&mut self, first: usize, count: usize, number: u64) -> Result<(), SessionError> {
        if !self.is_hybrid() {
            return Ok(());
        }
        let images = std::mem::take(&mut self.images_of_ranks);
        let own = self.job.rank;
        for (rank, of_rank) in images.iter().enumerate().filter(|(rank, _)| *rank != own) {
            let labels = of_rank.labels.iter().skip(first).take(self.lowered.images).copied().collect::<Vec<_>>();
            let slots = self.lowered.ranks[rank];
            self.feed_labels_of(slots, &labels, number, [count, of_rank.first + first])?;
        }
        self.images_of_ranks = images;
        Ok(())
    }

    /// Forward with dropout masks and backward on a rank's own images of a minibatch, for step `number`: the gradients
    /// and the score of the whole minibatch, the same on all ranks. A row's gradients leave as soon as they are there,
    /// where `overlap` allows it. Gives the time for which nothing was left to do but wait for other ranks.
    pub fn gradients_among(
        &mut self,
        batch: &Batch,
        places: Places,
        number: u64,
        overlap: bool,
    ) -> Result<Duration, SessionError> {
        let (ranks, format) = (Arc::clone(&self.ranks), self.format());
        self.waited.set(Duration::ZERO);
        let count = self.meet(batch, places.first)?;
        let groups = self.gradient_groups();
        let mut memory = std::mem::take(&mut self.memory);
        memory.resize_with(groups.len(), Vec::new);
        let mut sums: Vec<Pending> = Vec::with_capacity(groups.len());
        let feed = |session: &mut Self, first| session.feed(batch, places, first, number);
        self.run(count, feed, TRAINING, |session, pass, last| {
            if !(overlap && last) {
                return Ok(session.backend.run(pass).map(|()| true)?);
            }
            let mut failed = None;
            session.backend.run_collecting(pass, &groups, &mut memory, &mut |contents| match ranks.exchange(
                Exchange::Sum,
                contents,
                format,
            ) {
                Ok(sum) => sums.push(sum),
                Err(error) => failed = Some(error),
            })?;
            failed.map_or(Ok(true), |error| Err(error.into()))
        })?;
        let own = self.score()?;
        let begin = Instant::now();
        if !overlap {
            for group in &groups {
                let contents: Result<Vec<_>, _> = group.iter().map(|&slot| self.backend.read(slot)).collect();
                sums.push(ranks.exchange(Exchange::Sum, contents?.concat(), format)?);
            }
        }
        self.phase("other ranks", |session| {
            for ((group, sum), memory) in groups.iter().zip(sums).zip(&mut memory) {
                *memory = sum.wait()?;
                session.write_gradients(group, memory)?;
            }
            Ok(())
        })?;
        self.memory = memory;
        self.score = Some(self.agree(&ranks, own)?);
        Ok(begin.elapsed() + self.waited.get())
    }

    /// Slots of gradients that are exchanged, by row, the last row of the network first, as the backward pass completes
    /// them.
    pub(super) fn gradient_groups(&self) -> Vec<Vec<Slot>> {
        let mut groups: Vec<(&str, Vec<Slot>)> = Vec::new();
        for trained in self.lowered.trained.iter().rev().filter(|trained| trained.cut.is_none()) {
            let Some(gradient) = trained.gradient else { continue };
            let row = self.net.nodes[trained.node].row();
            match groups.last_mut() {
                Some((last, slots)) if *last == row => slots.push(gradient),
                _ => groups.push((row, vec![gradient])),
            }
        }
        groups.into_iter().map(|(_, slots)| slots).collect()
    }

    fn write_gradients(&mut self, group: &[Slot], mut values: &[f32]) -> Result<(), SessionError> {
        for &slot in group {
            let (own, rest) = values.split_at(self.lowered.program.slot(slot).count());
            self.backend.write(slot, Data::F32(own))?;
            values = rest;
        }
        Ok(())
    }

    /// Adds up the scores of all ranks, and takes over the first bad loss that one of them has seen.
    fn agree(&mut self, ranks: &Ranks, own: Score) -> Result<Score, SessionError> {
        let mut health = self.lowered.health.map(|slot| self.backend.read(slot)).transpose()?.unwrap_or_default();
        let flag = |index: usize| health.get(index).copied().unwrap_or_default();
        let (total, ill) = sum_reports(ranks, own, [flag(health::ILL), flag(health::STEP)])?;
        if let (Some(slot), Some(flags)) = (self.lowered.health, ill) {
            [health[health::ILL], health[health::STEP]] = flags;
            self.backend.write(slot, Data::F32(&health))?;
        }
        Ok(total)
    }

    /// Takes over the weights of the first rank, which has loaded some; of a tensor that ranks have parts of what was
    /// loaded.
    pub fn adopt_weights(&mut self, loaded: &BTreeMap<String, Tensor>) -> Result<(), SessionError> {
        let ranks = Arc::clone(&self.ranks);
        for trained in &self.lowered.trained {
            let own = match (&trained.cut, loaded.get(&trained.name)) {
                _ if !ranks.is_first() => Vec::new(),
                (Some(_), loaded) => loaded.map_or_else(Vec::new, |tensor| tensor.values().to_vec()),
                (None, _) => self.backend.read(trained.value)?,
            };
            let bytes = ranks.broadcast(bytemuck::cast_slice(&own).to_vec())?;
            if !ranks.is_first() && !bytes.is_empty() {
                let whole = bytemuck::pod_collect_to_vec::<u8, f32>(&bytes);
                let own = trained.cut.as_ref().map_or_else(|| whole.clone(), |cut| cut.part(&whole));
                self.backend.write(trained.value, Data::F32(&own))?;
            }
        }
        Ok(())
    }

    /// All values of a tensor, of which ranks may have parts: each asks for it at the same time.
    pub(super) fn whole(&self, cut: Option<&Cut>, values: Vec<f32>) -> Result<Vec<f32>, SessionError> {
        let Some(cut) = cut else { return Ok(values) };
        let rows = Rows { count: cut.outputs, numbers: values.len() / cut.own.len() };
        let parts = self.ranks.exchange(Exchange::Gather(rows), values, Format::Floats)?.wait()?;
        Ok(cut.whole(&parts, self.ranks.size()))
    }
}

/// Sum of the scores of all ranks.
pub fn total_score(ranks: &Ranks, own: Score) -> Result<Score, SessionError> {
    Ok(sum_reports(ranks, own, [0.0; 2])?.0)
}

/// Sum of the scores of all ranks, in their order, and the flag and step of the first that saw a bad loss.
fn sum_reports(ranks: &Ranks, own: Score, ill: [f32; 2]) -> Result<(Score, Option<[f32; 2]>), SessionError> {
    let [loss, top1, top5] = [own.loss, own.top1, own.top5].map(f64::to_bits);
    let [flag, step] = ill.map(|flag| u64::from(flag.to_bits()));
    let report: Report = [own.images as u64, loss, top1, top5, flag, step];
    let (mut total, mut first) = (Score::default(), None);
    for bytes in ranks.gather(bytemuck::cast_slice(&report).to_vec())? {
        let report: Result<Report, _> = bytemuck::pod_collect_to_vec(&bytes).try_into();
        let [images, loss, top1, top5, flag, step] = report.map_err(|_| RanksError::Different)?;
        let [loss, top1, top5] = [loss, top1, top5].map(f64::from_bits);
        total.add(Score { images: images as usize, loss, top1, top5 });
        let flags = [flag, step].map(|bits| f32::from_bits(bits as u32));
        first = first.or((flags[0] != 0.0).then_some(flags));
    }
    Ok((total, first))
}
