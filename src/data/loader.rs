//! Decodes ahead of the consumer. Decoder `w` of `n` takes every `n`-th image of the order and has a bounded queue of
//! its own; a collector takes from the queues in turn, which restores the order without sorting, and fills batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::batch::{Batch, DecodedImage};
use super::{DataError, Split, Views};

/// Images in each decoder's queue: enough to bridge a slow one, few enough that freed memory is still in the cache when
/// the next image is decoded into it.
const QUEUED: usize = 16;

/// Longest wait for a batch without a look at whether the consumer is to stop.
const NAP: Duration = Duration::from_millis(50);

/// Order, views and threads of a [`Loader`].
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Numbers of the images in the order of visits: [`Split::training_order`], or `0..len` for evaluation.
    pub order: Vec<u32>,
    /// Entries of the order to skip, for example [`Batch::next`] of the last batch before a break.
    pub start: usize,
    /// Number of places in a batch; 0 means 1.
    pub capacity: usize,
    /// Views of the images.
    pub views: Views,
    /// Number of decoding threads, without influence on the batches; 0 means 1.
    pub threads: usize,
}

/// An iterator over the batches of one pass, or up to an error, with at most three batches and some images in memory.
/// Dropping it stops and joins its threads.
///
/// Batches are full except the last: an image that cannot be decoded is replaced by the next one of the order, and
/// named in [`Batch::skipped`]. A decoder that panics on an image counts as one that refuses it. An image that cannot
/// be read is read again for about a minute, then the pass ends with an error.
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Result<Batch, DataError>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts loading `split` with `options`.
    ///
    /// # Panics
    /// If the order names an image that the split does not have.
    pub fn new(split: &Arc<Split>, options: LoaderOptions) -> Result<Self, DataError> {
        assert!(options.order.iter().all(|&i| (i as usize) < split.len()), "the order leaves the split");
        let order: Arc<[u32]> = options.order.into();
        // A batch larger than the order is no larger than what it holds.
        let (threads, capacity) = (options.threads.max(1), options.capacity.min(order.len()).max(1));
        let (to_consumer, batches) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        // From here on an early return drops the loader, which ends the threads started so far.
        let mut loader = Self { batches: Some(batches), stop, threads: Vec::new() };
        let mut queues = Vec::new();
        for worker in 0..threads {
            let (queue, items) = sync_channel(capacity.div_ceil(threads).min(QUEUED));
            queues.push(items);
            let (split, order, stop) = (split.clone(), order.clone(), loader.stop.clone());
            loader.spawn(format!("decode-{worker}"), move || {
                let share = order.iter().skip(options.start + worker).step_by(threads);
                decode(&split, share, &stop, &queue);
            })?;
        }
        let bytes_per_image = split.size() * split.size() * 3;
        let collect = move || {
            let in_turn = (options.start..order.len()).zip((0..threads).cycle());
            let mut items = in_turn.map_while(|(_, worker)| queues[worker].recv().ok()).peekable();
            let mut next = options.start;
            while let Some(batch) = Batch::fill(&mut items, capacity, bytes_per_image, next, options.views) {
                let go_on = batch.as_ref().ok().map(|batch| batch.next);
                if to_consumer.send(batch).is_err() {
                    return; // the consumer has gone
                }
                let Some(position) = go_on else { return };
                next = position;
            }
        };
        loader.spawn("collect".into(), collect)?;
        Ok(loader)
    }

    /// The next batch, or `None` at the end of the pass or as soon as `stop` is set.
    pub fn next_unless(&mut self, stop: &AtomicBool) -> Option<Result<Batch, DataError>> {
        while !stop.load(Ordering::Relaxed) {
            match self.batches.as_ref()?.recv_timeout(NAP) {
                Err(RecvTimeoutError::Timeout) => {}
                batch => return batch.ok(),
            }
        }
        None
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), DataError> {
        self.threads.push(Builder::new().name(name).spawn(body).map_err(DataError::Threads)?);
        Ok(())
    }
}

/// Decodes and sends the images of `share` in turn, until `stop` is set or the receiver is gone.
fn decode<'o>(
    split: &Split,
    share: impl Iterator<Item = &'o u32>,
    stop: &AtomicBool,
    queue: &SyncSender<DecodedImage>,
) {
    for &index in share {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let i = index as usize;
        let item = DecodedImage { index, label: split.label(i), pixels: split.decode_patiently(i, stop) };
        if queue.send(item).is_err() {
            return;
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.as_ref()?.recv().ok()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.batches = None; // a collector waiting to deliver a batch gives up
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to clean up.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::data::{Dataset, Draw, ImageError, ImageSet, NO_LABEL, Noise, StoredImage, View, training_order};

    /// Images of one pixel whose red is their number; some fail, some panic, each takes `delay`.
    #[derive(Clone, Default)]
    struct Fake {
        labels: Vec<u32>,
        broken: HashSet<usize>,
        panicking: HashSet<usize>,
        /// Images that cannot be read, and how many times.
        lost: HashSet<usize>,
        failures: usize,
        delay: Duration,
        decoded: Arc<AtomicUsize>,
        failed: Arc<AtomicUsize>,
    }

    impl ImageSet for Fake {
        fn labels(&self) -> &[u32] {
            &self.labels
        }
        fn name(&self, i: usize) -> String {
            format!("fake {i}")
        }
        fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
            std::thread::sleep(self.delay);
            self.decoded.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panicking.contains(&i), "no pixels in {i}");
            if self.lost.contains(&i) && self.failed.fetch_add(1, Ordering::Relaxed) < self.failures {
                return Err(ImageError::Read(self.name(i), std::io::Error::other("the disk is away")));
            }
            if self.broken.contains(&i) {
                return Err(ImageError::Empty(self.name(i)));
            }
            Ok(StoredImage::Pixels { width: 1, height: 1, rgb: vec![i as u8, 1, 2].into() })
        }
    }

    /// A thousand images of one pixel, of three classes.
    fn split(fake: Fake) -> Arc<Split> {
        let labels = (0..1000).map(|i| i % 3).collect();
        Arc::new(
            Split::new("training", Box::new(Fake { labels, ..fake }), 3, 1).unwrap().waiting(Duration::from_micros(1)),
        )
    }

    fn options(order: impl IntoIterator<Item = u32>, capacity: usize, threads: usize) -> LoaderOptions {
        let noise = Some(Noise { steps: [[1.0, 2.0, 3.0]; 3], gain: 0.5 });
        let draw = Draw { seed: 9, epoch: 1, border2: 8, crop: true, mirror: true, together: 4, noise };
        let views = Views::Random(draw);
        LoaderOptions { order: order.into_iter().collect(), start: 0, capacity, views, threads }
    }

    fn load(fake: Fake, options: LoaderOptions) -> Vec<Batch> {
        Loader::new(&split(fake), options).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_sample_arrives_the_same_from_any_number_of_threads() {
        let train = Dataset::open(None, 32).unwrap().train;
        let batches = |threads| -> Vec<Batch> {
            let options = options(training_order(3, 1, train.len()), 96, threads);
            Loader::new(&train, options).unwrap().map(Result::unwrap).collect()
        };
        let one = batches(1);
        assert!(one == batches(4));
        assert_eq!(one.iter().map(|batch| batch.count).sum::<usize>(), 2500);
        let mut indices: Vec<u32> = one.iter().flat_map(|batch| batch.indices[..batch.count].to_vec()).collect();
        assert_eq!(indices, training_order(3, 1, 2500));
        indices.sort_unstable();
        assert!(indices.into_iter().eq(0..2500));
        for (place, &index) in one[7].indices.iter().enumerate() {
            assert_eq!(one[7].labels[place], train.label(index as usize));
            assert_eq!(one[7].images[place * 3072..][..3072], train.decode(index as usize).unwrap());
        }
    }

    #[test]
    fn the_last_batch_may_be_short_and_is_padded() {
        let batches = load(Fake::default(), options(0..5, 3, 2));
        assert_eq!(batches.len(), 2);
        let last = &batches[1];
        assert_eq!((last.count, last.next), (2, 5));
        assert_eq!(last.labels, [0, 1, NO_LABEL]);
        assert_eq!(last.indices, [3, 4, NO_LABEL]);
        assert_eq!(last.images, [3, 1, 2, 4, 1, 2, 0, 0, 0]);
        assert_eq!(last.views[2], View::default());
    }

    #[test]
    fn a_batch_larger_than_the_order_has_places_for_the_order() {
        let batches = load(Fake::default(), options(0..5, usize::MAX / 4, 2));
        let [only] = &batches[..] else { panic!("{} batches", batches.len()) };
        assert_eq!((only.count, only.labels.len(), only.images.len()), (5, 5, 15));
    }

    #[test]
    fn the_next_image_takes_the_place_of_a_broken_one() {
        let fake = Fake { broken: [1, 4, 9].into(), ..Fake::default() };
        let batches = load(fake, options(0..10, 3, 4));
        let found: Vec<(Vec<u32>, usize)> =
            batches.iter().map(|batch| (batch.indices[..batch.count].to_vec(), batch.next)).collect();
        assert_eq!(found, [(vec![0, 2, 3], 5), (vec![5, 6, 7], 8), (vec![8], 10)]);
        let skipped: Vec<&str> = batches.iter().flat_map(|batch| &batch.skipped).map(String::as_str).collect();
        let empty = |i| format!("fake {i}: is empty; fetch it again");
        assert_eq!(skipped, [empty(1), empty(4), empty(9)]);
    }

    #[test]
    fn with_every_image_broken_one_empty_batch_says_so() {
        let batches = load(Fake { broken: (0..7).collect(), ..Fake::default() }, options(0..7, 3, 2));
        assert_eq!((batches.len(), batches[0].count, batches[0].skipped.len()), (1, 0, 7));
        assert!(load(Fake::default(), options([], 3, 2)).is_empty());
    }

    #[test]
    fn an_outage_loses_no_image() {
        // As many failures in all as one image is waited for: any of the three may meet every one of them.
        let fake = Fake { lost: [3, 4, 5].into(), failures: crate::data::outage::WAITS as usize, ..Fake::default() };
        assert_eq!(load(fake, options(0..9, 4, 3)), load(Fake::default(), options(0..9, 4, 1)));
    }

    #[test]
    fn an_image_that_cannot_be_read_ends_the_pass_after_the_batches_before_it() {
        let fake = Fake { broken: [4].into(), lost: [5].into(), failures: usize::MAX, ..Fake::default() };
        let loader = Loader::new(&split(fake), options(0..9, 4, 3)).unwrap();
        let (whole, lost): (Vec<_>, Vec<_>) = loader.partition(Result::is_ok);
        let whole: Vec<Batch> = whole.into_iter().flatten().collect();
        assert_eq!((whole.len(), whole[0].next, whole[0].skipped.len()), (1, 5, 1));
        let message = lost.into_iter().map(|error| error.unwrap_err().to_string()).collect::<Vec<_>>().join("; ");
        assert_eq!(message, "fake 5: cannot be read (the disk is away); check the path and its permissions");
    }

    #[test]
    fn whoever_waits_for_a_batch_can_be_stopped() {
        let fake = split(Fake { delay: Duration::from_secs(3), ..Fake::default() });
        let mut loader = Loader::new(&fake, options(0..9, 9, 1)).unwrap();
        let stop = AtomicBool::new(false);
        let batch = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| loader.next_unless(&stop));
            stop.store(true, Ordering::Relaxed);
            waiting.join().unwrap()
        });
        assert!(batch.is_none());
    }

    #[test]
    fn a_panic_counts_as_a_broken_image() {
        let batches = load(Fake { panicking: [2].into(), ..Fake::default() }, options(0..4, 2, 2));
        assert_eq!(batches[1].indices, [3, NO_LABEL]);
        let reason = &batches[0].skipped[0];
        assert!(reason.contains("fake 2") && reason.contains("the decoder panicked: no pixels in 2"), "{reason}");
    }

    #[test]
    fn the_decoders_stay_a_bounded_way_ahead() {
        let fake = Fake::default();
        let mut loader = Loader::new(&split(fake.clone()), options(0..1000, 10, 3)).unwrap();
        assert!(loader.next().is_some());
        std::thread::sleep(Duration::from_millis(100));
        // Delivered, queued, being delivered, about one in the decoders' queues, one image in each hand.
        let decoded = fake.decoded.load(Ordering::Relaxed);
        assert!(decoded <= 50, "{decoded}");
    }

    #[test]
    fn dropping_early_ends_the_threads_at_once() {
        let fake = split(Fake { delay: Duration::from_millis(20), ..Fake::default() });
        let loader = Loader::new(&fake, options((0..200).cycle().take(10_000), 1000, 2)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let begin = Instant::now();
        drop(loader);
        // A batch would take ten seconds.
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert_eq!(Arc::strong_count(&fake), 1);
    }

    proptest! {
        #[test]
        fn threads_and_restarts_change_nothing(
            count in 0_u32..60, capacity in 0_usize..9, broken: HashSet<u8>, threads in 2_usize..6,
        ) {
            let fake = || Fake { broken: broken.iter().map(|&i| i as usize % 80).collect(), ..Fake::default() };
            let order = training_order(5, 0, count as usize);
            let whole = load(fake(), options(order.clone(), capacity, 1));
            prop_assert_eq!(&load(fake(), options(order.clone(), capacity, threads)), &whole);
            let full = whole.len().saturating_sub(1);
            prop_assert!(whole[..full].iter().all(|batch| batch.count == capacity.max(1)));
            for (done, batch) in whole.iter().enumerate() {
                let rest = load(fake(), LoaderOptions { start: batch.next, ..options(order.clone(), capacity, threads) });
                prop_assert_eq!(&rest[..], &whole[done + 1..]);
            }
        }
    }
}
