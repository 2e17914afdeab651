//! A rank's part of every minibatch: of a minibatch in R parts each rank decodes its own images alone. An image has the
//! place, and with it the view and the dropout masks, that it has where one rank loads them all.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Batch, DataError, Loader, LoaderOptions, Split};
use crate::tensor::share_of;

/// The images of a minibatch that one rank computes.
#[derive(Debug)]
pub struct Part {
    /// The images, none where a short minibatch leaves none to this rank.
    pub batch: Batch,
    /// Place of the first of them in the minibatch.
    pub first: usize,
    /// Number of images in the minibatch of all ranks.
    pub minibatch: usize,
}

/// What a loader finds next, as [`PartLoader::next_unless`] gives it.
#[derive(Debug)]
pub enum Delivery {
    /// The images of this rank.
    Part(Part),
    /// Images of this rank that cannot be decoded: each number in its split, and why. The other ranks have to know of
    /// them before any of them goes on ([`PartLoader::leave_out`]).
    Broken(Vec<(u32, String)>),
    /// The pass is at its end.
    End,
    /// The flag to stop was raised.
    Stopped,
}

/// The images of one minibatch.
#[derive(Clone, Debug)]
struct Window {
    /// Positions in the order of this rank's images.
    own: Vec<usize>,
    /// Place of the first of them.
    first: usize,
    /// Number of images in the minibatch.
    minibatch: usize,
    /// Position in the order at which the minibatch begins, and that at which the next one does.
    begin: usize,
    next: usize,
}

/// Loads one rank's part of every minibatch.
///
/// Images that are known to be broken are left out beforehand. If another turns up, nothing is delivered until all
/// ranks leave it out: the images behind it move up, to other ranks' parts too.
#[derive(Debug)]
pub struct PartLoader {
    split: Arc<Split>,
    options: LoaderOptions,
    rank: usize,
    ranks: usize,
    broken: BTreeSet<u32>,
    /// Minibatches that are left, the one that was delivered last among them until the next is asked for.
    windows: VecDeque<Window>,
    delivered: bool,
    loader: Loader,
}

impl PartLoader {
    /// Starts loading the part of `rank` of `ranks` with `options`, without the images in `broken`.
    pub fn new(
        split: &Arc<Split>,
        options: LoaderOptions,
        [rank, ranks]: [usize; 2],
        broken: BTreeSet<u32>,
    ) -> Result<Self, DataError> {
        let windows = windows(&options, [rank, ranks], &broken);
        let loader = load(split, &options, &windows)?;
        Ok(Self { split: Arc::clone(split), options, rank, ranks, broken, windows, delivered: false, loader })
    }

    /// The images of the next minibatch, or what stands in their way.
    pub fn next_unless(&mut self, stop: &AtomicBool) -> Result<Delivery, DataError> {
        if std::mem::take(&mut self.delivered) {
            self.windows.pop_front();
        }
        let Some(window) = self.windows.front() else { return Ok(Delivery::End) };
        if stop.load(Ordering::Relaxed) {
            return Ok(Delivery::Stopped);
        }
        let mut batch = Batch::empty(0, 0, window.next);
        if !window.own.is_empty() {
            match self.loader.next_unless(stop) {
                None => return Ok(Delivery::Stopped),
                Some(loaded) => batch = loaded?,
            }
        }
        let wanted: Vec<u32> = window.own.iter().map(|&position| self.options.order[position]).collect();
        if !batch.skipped.is_empty() {
            // Those that were to be visited up to there and are not in the batch.
            let visits = self.windows.iter().flat_map(|window| &window.own).map(|&at| self.options.order[at]);
            let delivered = &batch.indices[..batch.count];
            let broken = visits.filter(|index| !delivered.contains(index)).zip(batch.skipped);
            return Ok(Delivery::Broken(broken.collect()));
        }
        debug_assert_eq!(batch.indices[..batch.count], wanted);
        for (place, (&index, &position)) in wanted.iter().zip(&window.own).enumerate() {
            batch.views[place] = self.options.views.of(index, position);
        }
        let (first, minibatch) = (window.first, window.minibatch);
        batch.next = window.next;
        self.delivered = true;
        Ok(Delivery::Part(Part { batch, first, minibatch }))
    }

    /// Begins the minibatch in question once more without these images, whether this rank's part of it was delivered or
    /// not.
    pub fn leave_out(&mut self, broken: impl IntoIterator<Item = u32>) -> Result<(), DataError> {
        self.broken.extend(broken);
        self.delivered = false;
        self.options.start = self.windows.front().map_or(self.options.order.len(), |window| window.begin);
        self.windows = windows(&self.options, [self.rank, self.ranks], &self.broken);
        self.loader = load(&self.split, &self.options, &self.windows)?;
        Ok(())
    }

    /// Numbers of the images that are known to be broken.
    pub fn into_broken(self) -> BTreeSet<u32> {
        self.broken
    }
}

/// The part of a rank in every minibatch that is left: as many images as go to each rank in whole groups, the last ones
/// getting what is left over.
fn windows(options: &LoaderOptions, [rank, ranks]: [usize; 2], broken: &BTreeSet<u32>) -> VecDeque<Window> {
    let capacity = options.capacity.max(1);
    let share = share_of(capacity, ranks);
    let whole = |position: &usize| !broken.contains(&options.order[*position]);
    let good: Vec<usize> = (options.start..options.order.len()).filter(whole).collect();
    let mut begin = options.start;
    let mut windows = VecDeque::new();
    for (index, minibatch) in good.chunks(capacity).enumerate() {
        let next = good.get((index + 1) * capacity).copied().unwrap_or(options.order.len());
        let first = (rank * share).min(minibatch.len());
        let own = minibatch[first..minibatch.len().min(first + share)].to_vec();
        windows.push_back(Window { own, first, minibatch: minibatch.len(), begin, next });
        begin = next;
    }
    windows
}

/// A loader of the images in `windows`, a batch for each that has any: all have as many, save the last.
fn load(split: &Arc<Split>, options: &LoaderOptions, windows: &VecDeque<Window>) -> Result<Loader, DataError> {
    let capacity = windows.front().map_or(1, |window| window.own.len().max(1));
    let order = windows.iter().flat_map(|window| &window.own).map(|&position| options.order[position]).collect();
    Loader::new(split, LoaderOptions { order, start: 0, capacity, ..options.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Draw, ImageError, ImageSet, StoredImage, View, Views, training_order};

    /// Images of one pixel whose red is their number; some are broken.
    struct Fake(Vec<u32>, BTreeSet<usize>);

    impl ImageSet for Fake {
        fn labels(&self) -> &[u32] {
            &self.0
        }
        fn name(&self, i: usize) -> String {
            format!("fake {i}")
        }
        fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
            if self.1.contains(&i) {
                return Err(ImageError::Empty(self.name(i)));
            }
            Ok(StoredImage::Pixels { width: 1, height: 1, rgb: vec![i as u8, 1, 2].into() })
        }
    }

    fn split(count: usize, broken: &[usize]) -> Arc<Split> {
        let labels = (0..count).map(|i| i as u32 % 3).collect();
        let images = Box::new(Fake(labels, broken.iter().copied().collect()));
        Arc::new(Split::new("training", images, 3, 1).unwrap())
    }

    fn options(count: usize, capacity: usize) -> LoaderOptions {
        let draw = Draw { seed: 9, epoch: 1, border2: 8, crop: true, mirror: true, together: 4, noise: None };
        let order = training_order(5, 0, count);
        LoaderOptions { order, start: 0, capacity, views: Views::Random(draw), threads: 2 }
    }

    type Image = (u32, u32, View, Vec<u8>);

    fn images(batch: &Batch) -> Vec<Image> {
        let image = |i: usize| (batch.indices[i], batch.labels[i], batch.views[i], batch.images[3 * i..][..3].to_vec());
        (0..batch.count).map(image).collect()
    }

    /// Minibatches put together from the parts of `ranks`, with their positions, and the images that were found broken.
    fn together(split: &Arc<Split>, options: &LoaderOptions, ranks: usize) -> (Vec<(Vec<Image>, usize)>, Vec<String>) {
        let stop = AtomicBool::new(false);
        let part = |rank| PartLoader::new(split, options.clone(), [rank, ranks], BTreeSet::new()).unwrap();
        let mut loaders: Vec<PartLoader> = (0..ranks).map(part).collect();
        let (mut whole, mut reasons) = (Vec::new(), Vec::new());
        loop {
            let (mut parts, mut broken) = (Vec::new(), Vec::new());
            for loader in &mut loaders {
                match loader.next_unless(&stop).unwrap() {
                    Delivery::Part(part) => parts.push(part),
                    Delivery::Broken(images) => broken.extend(images),
                    Delivery::End => return (whole, reasons),
                    Delivery::Stopped => panic!("nobody stopped it"),
                }
            }
            if broken.is_empty() {
                let mut minibatch = Vec::new();
                for part in &parts {
                    assert_eq!(part.first, minibatch.len(), "parts lie side by side");
                    minibatch.extend(images(&part.batch));
                }
                assert!(parts.iter().all(|part| part.minibatch == minibatch.len()));
                whole.push((minibatch, parts[0].batch.next));
            } else {
                let leave_out = |loader: &mut PartLoader| loader.leave_out(broken.iter().map(|(index, _)| *index));
                loaders.iter_mut().try_for_each(leave_out).unwrap();
                reasons.extend(broken.into_iter().map(|(_, reason)| reason));
            }
        }
    }

    #[test]
    fn parts_of_all_ranks_are_the_minibatches_of_one() {
        for broken in [&[][..], &[3], &[0, 1, 2, 3, 4, 5, 6], &[10, 20, 30, 36, 35, 34, 33]] {
            for capacity in [1, 4, 5, 8, 64] {
                let (split, options) = (split(37, broken), options(37, capacity));
                let loaded: Vec<Batch> = Loader::new(&split, options.clone()).unwrap().map(Result::unwrap).collect();
                let whole: Vec<_> = loaded.iter().map(|batch| (images(batch), batch.next)).collect();
                let mut skipped: Vec<_> = loaded.into_iter().flat_map(|batch| batch.skipped).collect();
                skipped.sort();
                for ranks in [1, 2, 3, 4, 7] {
                    let (found, mut reasons) = together(&split, &options, ranks);
                    assert_eq!(found, whole, "{ranks} ranks, {capacity} images, {broken:?}");
                    reasons.sort();
                    assert_eq!(reasons, skipped);
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_where_every_image_is_broken() {
        let (found, reasons) = together(&split(5, &[0, 1, 2, 3, 4]), &options(5, 2), 2);
        assert_eq!((found.len(), reasons.len()), (0, 5));
    }

    #[test]
    fn a_pass_goes_on_in_its_middle_with_another_number_of_ranks() {
        let (split, all) = (split(40, &[7]), options(40, 8));
        let whole = together(&split, &all, 4).0;
        let rest = LoaderOptions { start: whole[1].1, ..all };
        assert_eq!(together(&split, &rest, 3).0, whole[2..]);
    }
}
