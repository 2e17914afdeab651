//! The live view of a run: a thread of its own draws and reads keys, so that both go on within a long step.

mod screen;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, Result};

use self::screen::{Screen, watch};
pub(super) use self::screen::{catch, expect_terminal};
use super::signals::Signals;
use alexnet::runs::Run;
use alexnet::tensor::Tensor;
use alexnet::train::{DeviceRecord, Extent, Metric, Movement, Observer, Phase};

/// Most lines of the log that are kept.
const LINES: usize = 1000;

/// What is shown of a run.
pub(super) struct State {
    /// Metrics so far, those of earlier processes too.
    run: Run,
    /// Epochs, and images of the whole run.
    extent: Extent,
    epoch: usize,
    /// Images of the whole run that were seen.
    seen: u64,
    /// Work between steps, with its images that are done and all.
    phase: Option<(Phase, usize, usize)>,
    record: Option<DeviceRecord>,
    /// Model and devices, in a line.
    title: String,
    begun: Instant,
    /// Images seen when this process took up the run.
    before: u64,
    log: Vec<String>,
    shows_log: bool,
    saving: Saving,
    /// Why the run will end: a key or a signal.
    stopping: bool,
    ended: bool,
}

/// What became of the user's wish for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saving {
    Not,
    Asked,
    /// The last checkpoint is that after this step.
    Saved(u64),
}

/// Observer that shows a run live.
pub(super) struct Live {
    state: Arc<Mutex<State>>,
    signals: Signals,
    thread: Option<JoinHandle<()>>,
}

/// The state; a thread that panicked meanwhile leaves it as it was.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// What is known before the run begins; `title` describes it.
    fn empty(title: String) -> Self {
        Self {
            run: Run::empty(),
            extent: Extent { epochs: 0, images: 0, done: 0 },
            epoch: 0,
            seen: 0,
            phase: None,
            record: None,
            title,
            begun: Instant::now(),
            before: 0,
            log: Vec::new(),
            shows_log: false,
            saving: Saving::Not,
            stopping: false,
            ended: false,
        }
    }

    fn note(&mut self, line: &str) {
        if self.log.len() == LINES {
            self.log.remove(0);
        }
        self.log.push(line.to_owned());
    }
}

impl Live {
    /// Takes the terminal for the run in `folder`, which `title` describes.
    pub(super) fn new(folder: &std::path::Path, title: String, signals: &Signals) -> Result<Self> {
        // One that begins has no metrics yet.
        let run = Run::open(folder).unwrap_or_else(|_| Run { path: folder.into(), ..Run::empty() });
        let state = Arc::new(Mutex::new(State { run, ..State::empty(title) }));
        let screen = Screen::take(Arc::clone(&state)).context("--tui")?;
        let signals = signals.live().context("signals cannot be handled")?;
        let (shared, watched) = (Arc::clone(&state), signals.clone());
        let thread = std::thread::spawn(move || watch(screen, &shared, &watched));
        Ok(Self { state, signals, thread: Some(thread) })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }
}

/// Gives the terminal back, and prints what was said meanwhile.
impl Drop for Live {
    fn drop(&mut self) {
        self.change(|state| state.ended = true);
        // A panic of the drawing thread has given the terminal back already.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let log = std::mem::take(&mut lock(&self.state).log);
        log.iter().for_each(super::output::say);
    }
}

impl Observer for Live {
    fn save(&mut self) -> bool {
        self.signals.save()
    }

    fn begin(&mut self, extent: Extent) {
        self.change(|state| {
            (state.extent, state.seen, state.before, state.begun) = (extent, extent.done, extent.done, Instant::now());
        });
    }

    fn phase(&mut self, phase: Phase, images: usize) {
        self.change(|state| state.phase = Some((phase, 0, images)));
    }

    fn seen(&mut self, images: usize) {
        self.change(|state| state.phase.iter_mut().for_each(|(_, done, _)| *done += images));
    }

    fn note(&mut self, text: &str) {
        self.change(|state| state.note(text));
    }

    fn epoch(&mut self, epoch: usize, _epochs: usize, _images: usize, _done: usize) {
        self.change(|state| (state.epoch, state.phase) = (epoch, None));
    }

    fn weights(&mut self, step: u64, _: &BTreeMap<String, Tensor>, _: &BTreeMap<String, Movement>) {
        self.change(|state| state.saving = Saving::Saved(step));
    }

    fn devices(&mut self, record: &DeviceRecord) {
        self.change(|state| state.record = Some(record.clone()));
    }

    fn step(&mut self, metric: &Metric, images: usize) {
        self.change(|state| {
            state.run.steps.push(*metric);
            state.seen += images as u64;
        });
    }

    fn validation(&mut self, metric: &Metric) {
        let Metric { epoch, loss, top1_error, top5_error, .. } = *metric;
        let [top1, top5] = [top1_error, top5_error].map(|share| 100.0 * share);
        self.change(|state| {
            state.run.validations.push(*metric);
            state.phase = None;
            state.note(&format!(
                "epoch {epoch}: validation loss {loss:.3}, top-1 error {top1:.1} %, top-5 error {top5:.1} %"
            ));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use super::*;

    /// What a user sees of a panic: its message, on the terminal as it was.
    #[test]
    #[ignore = "takes the terminal in which it is run, with --nocapture"]
    fn a_panic_gives_the_terminal_back() {
        let signals = Signals::new().unwrap();
        let live = Live::new(std::path::Path::new("no run yet"), "a run that panics".into(), &signals).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _live = live;
            panic!("on purpose");
        }));
        assert!(ended.is_err());
    }
}
