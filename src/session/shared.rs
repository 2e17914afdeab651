//! Minibatches that several ranks share: each computes its own images, and the gradients of all are added up on the way
//! from the backward pass to the update. What one rank sees that must not reach the weights, none of them lets through.

use std::time::{Duration, Instant};

use super::{Session, SessionError, TRAINING};
use crate::backend::Data;
use crate::data::Batch;
use crate::net::{Score, WireFormat};
use crate::ops::health;
use crate::program::Slot;
use crate::ranks::{Format, Ranks, RanksError, Sum};

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

/// Score and health of a rank after its part of a minibatch, as they travel.
type Report = [u64; 6];

impl Session {
    /// Forward with dropout masks and backward on a rank's own images of a minibatch, for step `number`: the gradients
    /// and the score of the whole minibatch, the same on all ranks. A row's gradients leave as soon as they are there,
    /// where `overlap` allows it. Gives the time for which nothing was left to do but wait for other ranks.
    pub fn gradients_with(
        &mut self,
        ranks: &Ranks,
        batch: &Batch,
        places: Places,
        number: u64,
        overlap: bool,
    ) -> Result<Duration, SessionError> {
        let format = match self.job.options.exchange {
            WireFormat::F32 => Format::Floats,
            WireFormat::F16 => Format::Halves,
        };
        let groups = self.gradient_groups();
        let mut sums: Vec<Sum> = Vec::with_capacity(groups.len());
        let feed = |session: &mut Self, first| session.feed(batch, places, first, number);
        self.run(batch.count, feed, TRAINING, |session, pass, last| {
            if !(overlap && last) {
                return Ok(session.backend.run(pass).map(|()| true)?);
            }
            let mut failed = None;
            session.backend.run_collecting(
                pass,
                &groups,
                &mut |_, contents| match ranks.sum(contents.concat(), format) {
                    Ok(sum) => sums.push(sum),
                    Err(error) => failed = Some(error),
                },
            )?;
            failed.map_or(Ok(true), |error| Err(error.into()))
        })?;
        let own = self.score()?;
        let begin = Instant::now();
        if !overlap {
            for group in &groups {
                let contents: Result<Vec<_>, _> = group.iter().map(|&slot| self.backend.read(slot)).collect();
                sums.push(ranks.sum(contents?.concat(), format)?);
            }
        }
        self.phase("other ranks", |session| {
            for (group, sum) in groups.iter().zip(sums) {
                session.write_gradients(group, &sum.wait()?)?;
            }
            Ok(())
        })?;
        self.score = Some(self.agree(ranks, own)?);
        Ok(begin.elapsed())
    }

    /// Slots of gradients by row, the last row of the network first, as the backward pass completes them.
    pub(super) fn gradient_groups(&self) -> Vec<Vec<Slot>> {
        let mut groups: Vec<(&str, Vec<Slot>)> = Vec::new();
        for trained in self.lowered.trained.iter().rev() {
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

    /// Takes over the weights of the first rank.
    pub fn adopt_weights(&mut self, ranks: &Ranks) -> Result<(), SessionError> {
        for slot in self.lowered.trained.iter().map(|trained| trained.value).collect::<Vec<_>>() {
            let own = if ranks.is_first() { self.backend.read(slot)? } else { Vec::new() };
            let bytes = ranks.broadcast(bytemuck::cast_slice(&own).to_vec())?;
            if !ranks.is_first() {
                self.backend.write(slot, Data::F32(&bytemuck::pod_collect_to_vec::<u8, f32>(&bytes)))?;
            }
        }
        Ok(())
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
