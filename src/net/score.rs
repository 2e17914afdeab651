//! Losses and errors of a network on some images.

use serde::{Deserialize, Serialize};

/// Sums over images, of a batch or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Score {
    /// Count of labelled images.
    pub images: usize,
    /// Sum of losses in nats.
    pub loss: f64,
    /// Images whose best class is wrong, with the share lost by ties.
    pub top1: f64,
    /// Images whose five best classes are wrong, likewise.
    pub top5: f64,
}

impl Score {
    /// Adds the sums over other images.
    pub fn add(&mut self, other: Self) {
        self.images += other.images;
        self.loss += other.loss;
        self.top1 += other.top1;
        self.top5 += other.top5;
    }

    /// Means over the images: loss, top-1 error, top-5 error.
    pub fn means(&self) -> (f64, f64, f64) {
        let images = self.images.max(1) as f64;
        (self.loss / images, self.top1 / images, self.top5 / images)
    }

    /// Whether no image was summed yet.
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }
}
