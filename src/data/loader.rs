//! Decodes ahead of the consumer. Decoder `w` of `n` takes every `n`-th image of the order and has a bounded queue of
//! its own; a collector takes from the queues in turn, which restores the order without sorting, and fills batches.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::batch::{Batch, Item};
use super::{DataError, ImageError, Split, Views};

/// What a [`Loader`] is to load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of images in the order to visit them: [`super::training_order`], or `0..len` to evaluate.
    pub order: Vec<u32>,
    /// How many entries of the order to pass over, for example [`Batch::next`] of the last batch before a break.
    pub start: usize,
    /// Places in a batch; 0 is taken as 1.
    pub capacity: usize,
    /// How the images are viewed.
    pub views: Views,
    /// Decoding threads; 0 is taken as 1. The batches do not depend on it.
    pub threads: usize,
}

/// Where the loader's images come from: a [`Split`], or a stand-in for one in tests.
trait Source: Send + Sync + 'static {
    fn size(&self) -> usize;
    fn label(&self, i: usize) -> u32;
    fn name(&self, i: usize) -> String;
    fn decode(&self, i: usize) -> Result<Vec<u8>, ImageError>;
}

impl Source for Split {
    fn size(&self) -> usize {
        self.size()
    }
    fn label(&self, i: usize) -> u32 {
        self.label(i)
    }
    fn name(&self, i: usize) -> String {
        self.name(i)
    }
    fn decode(&self, i: usize) -> Result<Vec<u8>, ImageError> {
        self.decode(i)
    }
}

/// An iterator over the batches of one pass. About three batches are held in memory at a time. Dropping it early stops
/// and joins its threads.
///
/// Batches are full except the last: an image that cannot be decoded is replaced by the next one of the order, and
/// named in [`Batch::skipped`]. A decoder that panics on an image counts as one that refuses it.
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Batch>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts loading `split` as `plan` says.
    ///
    /// # Errors
    /// [`DataError::Threads`] if a thread cannot be started.
    ///
    /// # Panics
    /// If the order names an image which the split does not have.
    pub fn new(split: Arc<Split>, plan: Plan) -> Result<Self, DataError> {
        assert!(plan.order.iter().all(|&i| (i as usize) < split.len()), "the order leaves the split");
        Self::from_source(split, plan)
    }

    fn from_source(source: Arc<impl Source>, plan: Plan) -> Result<Self, DataError> {
        let (threads, capacity) = (plan.threads.max(1), plan.capacity.max(1));
        let order: Arc<[u32]> = plan.order.into();
        let (to_consumer, batches) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        // From here on an early return drops the loader, which ends the threads started so far.
        let mut loader = Self { batches: Some(batches), stop, threads: Vec::new() };
        let mut queues = Vec::new();
        for worker in 0..threads {
            // Together the queues hold about one batch.
            let (queue, items) = sync_channel(capacity.div_ceil(threads));
            queues.push(items);
            let (source, order, stop) = (source.clone(), order.clone(), loader.stop.clone());
            let mine = move || order.iter().copied().skip(plan.start + worker).step_by(threads).collect::<Vec<u32>>();
            loader.spawn(format!("decode-{worker}"), move || decode(&*source, &mine(), &stop, &queue))?;
        }
        let bytes_per_image = source.size() * source.size() * 3;
        let collect = move || {
            let in_turn = (plan.start..order.len()).zip((0..threads).cycle());
            let mut items = in_turn.map_while(|(_, worker)| queues[worker].recv().ok()).peekable();
            let mut next = plan.start;
            while let Some(batch) = Batch::fill(&mut items, capacity, bytes_per_image, next, plan.views) {
                next = batch.next;
                if to_consumer.send(batch).is_err() {
                    return; // the consumer has gone
                }
            }
        };
        loader.spawn("collect".into(), collect)?;
        Ok(loader)
    }

    fn spawn(&mut self, name: String, body: impl FnOnce() + Send + 'static) -> Result<(), DataError> {
        self.threads.push(Builder::new().name(name).spawn(body).map_err(DataError::Threads)?);
        Ok(())
    }
}

/// A decoding thread: sends the images `mine` one after the other until all are sent or nobody wants them any more.
fn decode(source: &impl Source, mine: &[u32], stop: &AtomicBool, queue: &SyncSender<Item>) {
    for &index in mine {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let i = index as usize;
        let item = match catch_unwind(AssertUnwindSafe(|| source.decode(i))) {
            Ok(decoded) => Item::new(index, source.label(i), decoded),
            Err(panic) => {
                let reason = ImageError::Damaged(source.name(i), format!("the decoder panicked: {}", message(&*panic)));
                Item::new(index, source.label(i), Err(reason))
            }
        };
        if queue.send(item).is_err() {
            return;
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

impl Iterator for Loader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
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
