//! Test views of an image, and the average of what a network gives for them (section 4.1 of the paper).

use crate::data::{Batch, View, centre_view, ten_views};
use crate::net::named;

/// Crops of an image whose probabilities are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestViews {
    /// The crop in the centre, alone.
    Centre,
    /// Four corners and the centre, and the mirror image of each.
    Ten,
}

named! { TestViews: Centre "1" "The centre", Ten "10" "The four corners and the centre, and their mirror images" }

impl TestViews {
    /// Count of views of each image.
    pub fn count(self) -> usize {
        match self {
            Self::Centre => 1,
            Self::Ten => 10,
        }
    }

    /// Positions of the crops; `border2` is the stored side less the crop's, in pixels.
    pub(super) fn views(self, border2: u32) -> Vec<View> {
        match self {
            Self::Centre => vec![centre_view(border2)],
            Self::Ten => ten_views(border2).into(),
        }
    }
}

/// Class probabilities of a batch, `[images][classes]`.
pub(super) struct Averaged {
    /// Means over all views.
    pub(super) mean: Vec<f32>,
    /// Probabilities of the central view alone; none where it is no view.
    pub(super) centre: Vec<f32>,
}

/// Averages over `views` what `probabilities` gives for `batch`, whose views it sets.
pub(super) fn average<E>(
    batch: &mut Batch,
    views: &[View],
    border2: u32,
    mut probabilities: impl FnMut(&Batch) -> Result<Vec<f32>, E>,
) -> Result<Averaged, E> {
    let (mut sums, mut centre) = (Vec::new(), Vec::new());
    for &view in views {
        batch.views.fill(view);
        let found = probabilities(batch)?;
        sums.resize(found.len(), 0.0_f64);
        sums.iter_mut().zip(&found).for_each(|(sum, &p)| *sum += f64::from(p));
        if view == centre_view(border2) {
            centre = found;
        }
    }
    Ok(Averaged { mean: sums.into_iter().map(|sum| (sum / views.len() as f64) as f32).collect(), centre })
}
