//! Runs whose buffers are too large for one binding become several, each on pieces of its slots.
//!
//! The slots stay whole: checkpoints, gradients and memory do not know of it. What the parts of a run compute, and in
//! which order they add up, depends on the limit and on nothing else.

use super::{Command, Program, Slot, View};
use crate::kernel::Part;

/// Pieces begin at multiples of this many elements: 256 bytes, WebGPU's largest `min_storage_buffer_offset_alignment`.
const ALIGNMENT: usize = 64;

/// A run that no cut makes fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The slot that is too large for one binding.
    pub slot: Slot,
    /// Bytes that would have to be bound at once.
    pub needed: u64,
}

impl Program {
    /// The same program with no view of more than `limit` bytes.
    ///
    /// # Errors
    /// The first run that cannot be cut so far.
    pub fn split(&self, limit: u64) -> Result<Self, TooLarge> {
        let mut passes = Vec::with_capacity(self.passes.len());
        for (pass, commands) in self.passes() {
            let mut out = Vec::with_capacity(commands.len());
            for command in commands {
                match command {
                    Command::Run { views, .. } if views.iter().any(|view| view.bytes() > limit) => {
                        out.extend(cut(command, limit)?);
                    }
                    other => out.push(other.clone()),
                }
            }
            passes.push((pass, out));
        }
        Ok(self.part(passes))
    }
}

fn cut(command: &Command, limit: u64) -> Result<Vec<Command>, TooLarge> {
    let Command::Run { kernel, params, views, home } = command else { return Ok(vec![command.clone()]) };
    let over = |view: &&View| view.bytes() > limit;
    let Some(split) = &kernel.split else {
        return views
            .iter()
            .filter(over)
            .max_by_key(|view| view.bytes())
            .map_or_else(|| Ok(vec![command.clone()]), refuse);
    };
    let extent: usize = params.get(split.along);
    let whole = views.iter().zip(split.outermost).filter(|(_, outermost)| !**outermost);
    if let Some((view, _)) = whole.into_iter().find(|(view, _)| over(view)) {
        return refuse(view);
    }
    let pieces = || views.iter().zip(split.outermost).filter(|(_, outermost)| **outermost).map(|(view, _)| view);
    // Powers of two, so the largest is a multiple of all.
    let step = pieces().map(|view| ALIGNMENT / gcd(view.count / extent, ALIGNMENT)).max().unwrap_or(1);
    let most = |view: &View| (limit * extent as u64 / view.bytes()) as usize / step * step;
    if let Some(view) = pieces().find(|view| most(view) == 0) {
        return Err(TooLarge { slot: view.slot, needed: view.bytes() / extent as u64 * step as u64 });
    }
    let parts = extent.div_ceil(pieces().map(most).min().unwrap_or(extent));
    let size = extent.div_ceil(parts).next_multiple_of(step);
    let run = |start: usize| {
        let end = (start + size).min(extent);
        let part = Part { first: start == 0, last: end == extent };
        let params = (split.part)(params.replaced(split.along, end - start), part);
        let piece = |(view, &outermost): (&View, &bool)| match view.count / extent {
            unit if outermost => View { start: view.start + start * unit, count: (end - start) * unit, ..*view },
            _ => *view,
        };
        Command::Run { kernel, params, views: views.iter().zip(split.outermost).map(piece).collect(), home: *home }
    };
    Ok((0..extent).step_by(size).map(run).collect())
}

fn refuse<T>(view: &View) -> Result<T, TooLarge> {
    Err(TooLarge { slot: view.slot, needed: view.bytes() })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
