//! Sessions and the training loop where no command line reaches: a device that disappears, a stop before the start.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use alexnet::backend::{BackendError, Engine, Placement};
use alexnet::checkpoint::Checkpoint;
use alexnet::data::{DataError, Dataset, ImageError, ImageFault, ImageSet, StoredImage};
use alexnet::files::FolderLock;
use alexnet::net::Position;
use alexnet::session::SessionError;
use alexnet::train::{Config, Launch, Metric, Observer, Phase, TrainError, Trainer};

use crate::devices;
use crate::library::Greys;
use crate::runs::{At, BATCH, STEPS, batch, device, session, tiny, train, train_on};

#[track_caller]
fn is_lost<T>(result: Result<T, SessionError>) {
    let Err(SessionError::Backend(error @ BackendError::Lost { .. })) = result else {
        panic!("not lost, but {:?}", result.err());
    };
    let message = error.to_string();
    assert!(message.contains("was lost") && message.contains("intact"), "{message}");
}

#[test]
fn every_use_of_a_lost_device_is_an_error() {
    let Some(engine) = devices::gpu() else { return };
    let placement = engine.clone().into();
    let mut session = session(&placement).unwrap();
    session.initialise().unwrap();
    let begin = Instant::now();
    device(&engine).raw.destroy();
    // What is only queued may go unnoticed until something is read.
    let batch = batch(&tiny(), BATCH);
    for queued in [session.set_mean(&[0.0; 300]), session.gradients(&batch, 0), session.update()] {
        if queued.is_err() {
            is_lost(queued);
        }
    }
    assert!(session.score().is_err());
    is_lost(session.evaluate(&batch));
    is_lost(session.tensors());
    is_lost(crate::runs::session(&placement));
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_run_whose_device_is_lost_says_when_and_keeps_its_checkpoint() {
    let Some(engine) = devices::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let device = device(&engine);
    let mut thief = At { step: STEPS + 3, act: || device.raw.destroy() };
    let error = train(&engine.into(), folder.path(), &AtomicBool::new(false), &mut thief).unwrap_err();
    let message = error.to_string();
    let TrainError::Stopped { step, error, .. } = error else { panic!("{message}") };
    assert_eq!(step, STEPS + 3);
    is_lost::<()>(Err(*error));
    assert!(message.contains(&format!("after step {step}")), "{message}");
    let kept = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap();
    assert_eq!((kept.state.step, kept.state.epoch), (STEPS, 1));
}

#[test]
fn a_run_that_is_stopped_before_its_first_step_can_be_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = &mut At { step: 0, act: || () };
    let outcome = train(&Engine::Cpu.into(), folder.path(), &AtomicBool::new(true), nobody).unwrap();
    assert!(outcome.interrupted && outcome.steps == 0 && outcome.validation.is_none());
    let saved = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap();
    assert_eq!((saved.state.step, saved.state.position), (0, 0));
}

/// What a step that is stopped leaves behind goes on to the same bits, wherever in the step that was.
#[test]
fn a_step_that_is_stopped_has_changed_nothing() {
    for placement in [Some(Engine::Cpu), devices::gpu()].into_iter().flatten().map(Placement::from) {
        let batch = batch(&tiny(), BATCH);
        let [mut undisturbed, mut stopped] = [(); 2].map(|()| session(&placement).unwrap());
        for session in [&mut undisturbed, &mut stopped] {
            session.initialise().unwrap();
            session.set_mean(&vec![100.0; 3 * tiny().input.stored().pow(2)]).unwrap();
            session.set_rates(Config::new("tiny", tiny(), 0).rates(&Position::default())).unwrap();
        }
        let before = stopped.tensors().unwrap();
        assert!(!stopped.gradients_unless(&batch, 0, &AtomicBool::new(true)).unwrap());
        assert!(matches!(stopped.score(), Err(SessionError::Unscored)));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                stop.store(true, Ordering::Relaxed);
            });
            while stopped.gradients_unless(&batch, 0, &stop).unwrap() {}
        });
        assert!(stopped.tensors().unwrap() == before);
        for session in [&mut undisturbed, &mut stopped] {
            session.gradients(&batch, 0).unwrap();
            session.update().unwrap();
        }
        assert!(stopped.tensors().unwrap() == undisturbed.tensors().unwrap());
    }
}

/// The next step is being computed by then, but nothing of it is kept.
#[test]
fn a_run_that_is_stopped_when_a_step_is_done_ends_with_that_step() {
    for placement in [Some(Engine::Cpu), devices::gpu()].into_iter().flatten().map(Placement::from) {
        let [long, short] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let stop = AtomicBool::new(false);
        let mut observer = At { step: 3, act: || stop.store(true, Ordering::Relaxed) };
        let outcome = train(&placement, long.path(), &stop, &mut observer).unwrap();
        assert_eq!((outcome.steps, outcome.interrupted), (3, true));
        let dataset = Dataset::open(None, tiny().input.stored()).unwrap();
        let (config, mut session) =
            (Config { steps: Some(3), ..Config::new("tiny", tiny(), 0) }, session(&placement).unwrap());
        session.initialise().unwrap();
        let (statistics, lock) = (dataset.statistics().unwrap(), FolderLock::acquire(short.path()).unwrap());
        let never = AtomicBool::new(false);
        Trainer::new(config, session, dataset, statistics, lock, &never).unwrap().run(&mut ()).unwrap();
        let [stopped, whole] = [&long, &short].map(|folder| {
            let steps = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
            assert_eq!(steps.lines().filter(|line| line.contains(r#""kind":"step""#)).count(), 3, "{steps}");
            Checkpoint::read(&folder.path().join("last.safetensors")).unwrap()
        });
        assert!(stopped.state.step == 3 && stopped.tensors == whole.tensors);
    }
}

#[test]
fn a_score_that_is_read_while_the_next_step_is_computed_is_the_same() {
    for placement in [Some(Engine::Cpu), devices::gpu()].into_iter().flatten().map(Placement::from) {
        let batches = [BATCH, 5, BATCH - 3, BATCH].map(|images| batch(&tiny(), images));
        let [mut at_once, mut later] = [(); 2].map(|()| session(&placement).unwrap());
        for session in [&mut at_once, &mut later] {
            session.initialise().unwrap();
            session.set_rates(Config::new("tiny", tiny(), 0).rates(&Position::default())).unwrap();
        }
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        for (number, batch) in (0..).zip(&batches) {
            at_once.gradients(batch, number).unwrap();
            at_once.update().unwrap();
            wanted.push(at_once.score().unwrap());
            later.gradients(batch, number).unwrap();
            found.extend(later.score_before());
            later.update().unwrap();
        }
        found.push(later.score().unwrap());
        assert!(wanted == found && wanted[1].images == 5, "{wanted:?}, a step later {found:?}");
        assert!(at_once.tensors().unwrap() == later.tensors().unwrap());
    }
}

/// Raises a flag when an epoch begins.
struct StopBefore<'a>(usize, &'a AtomicBool);

impl Observer for StopBefore<'_> {
    fn epoch(&mut self, epoch: usize, _: usize, _: usize, _: usize) {
        self.1.fetch_or(epoch == self.0, Ordering::Relaxed);
    }
    fn step(&mut self, _: &Metric, _: usize) {}
    fn validation(&mut self, _: &Metric) {}
}

#[test]
fn a_run_that_is_stopped_before_the_first_step_of_an_epoch_is_not_validated_again() {
    let folder = tempfile::tempdir().unwrap();
    let (go, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let outcome = train(&Engine::Cpu.into(), folder.path(), &stop, &mut StopBefore(2, &stop)).unwrap();
    assert!(outcome.interrupted && outcome.steps == STEPS);
    let saved = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap().state;
    assert_eq!((saved.step, saved.position, saved.unvalidated), (STEPS, 0, false));
    resumed(folder.path(), &go).run(&mut ()).unwrap();
    let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.matches(r#""kind":"validation""#).count(), 2, "{metrics}");
}

/// Raises a flag when a phase begins.
struct StopIn<'a>(Phase, &'a AtomicBool);

impl Observer for StopIn<'_> {
    fn phase(&mut self, phase: Phase, _: usize) {
        if phase == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    fn epoch(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn step(&mut self, _: &Metric, _: usize) {}
    fn validation(&mut self, _: &Metric) {}
}

/// A trainer of the bundled sample that goes on from the last checkpoint in `folder`.
fn resumed<'a>(folder: &Path, stop: &'a AtomicBool) -> Trainer<'a> {
    let last = Checkpoint::read(&folder.join("last.safetensors")).unwrap();
    let dataset = Dataset::open(None, tiny().input.stored()).unwrap();
    let session = session(&Engine::Cpu.into()).unwrap();
    let lock = FolderLock::acquire(folder).unwrap();
    Trainer::resume(Config::new("tiny", tiny(), 0), session, dataset, &last, lock, stop).unwrap()
}

/// The epoch is saved before its validation, which a resumed run begins with.
#[test]
fn a_run_that_is_stopped_in_its_validation_loses_no_step() {
    let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (go, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    train(&Engine::Cpu.into(), whole.path(), &go, &mut ()).unwrap();
    let outcome = train(&Engine::Cpu.into(), parts.path(), &stop, &mut StopIn(Phase::Validation, &stop)).unwrap();
    assert!(outcome.interrupted && outcome.steps == STEPS && outcome.validation.is_none());
    let saved = Checkpoint::read(&parts.path().join("last.safetensors")).unwrap().state;
    assert_eq!((saved.step, saved.epoch, saved.unvalidated), (STEPS, 1, true));
    assert_eq!(resumed(parts.path(), &go).run(&mut ()).unwrap().steps, 2 * STEPS);
    for name in ["last.safetensors", "best.safetensors"] {
        let [whole, parts] = [&whole, &parts].map(|folder| std::fs::read(folder.path().join(name)).unwrap());
        assert!(whole == parts, "{name} differs");
    }
    let files = std::fs::read_dir(parts.path()).unwrap().count();
    assert_eq!(files, 4, "config.toml, metrics.jsonl and two checkpoints");
}

#[test]
fn a_run_that_is_stopped_while_images_are_measured_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut session = session(&Engine::Cpu.into()).unwrap();
    session.initialise().unwrap();
    let dataset = Dataset::open(None, tiny().input.stored()).unwrap();
    let lock = FolderLock::acquire(folder.path()).unwrap();
    let trainer = Trainer::unmeasured(Config::new("tiny", tiny(), 0), session, dataset, lock, &stop).unwrap();
    let outcome = trainer.run(&mut StopIn(Phase::MeanImage, &stop)).unwrap();
    assert!(outcome.interrupted && outcome.steps == 0);
    let mut launch = Launch::resume(folder.path()).unwrap();
    launch.config.devices = Some("cpu".into());
    let go = AtomicBool::new(false);
    let outcome = launch.prepare(|devices| devices).unwrap().trainer(&go).unwrap().run(&mut ()).unwrap();
    assert_eq!((outcome.steps, outcome.interrupted), (2 * STEPS, false));
}

/// Validation images that are gone.
struct Gone(Greys);

impl ImageSet for Gone {
    fn labels(&self) -> &[u32] {
        self.0.labels()
    }

    fn name(&self, i: usize) -> String {
        self.0.name(i)
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        Err(ImageError::Damaged(self.name(i), ImageFault::Codec("all of them".into())))
    }
}

#[test]
fn a_validation_that_fails_loses_no_step() {
    let dataset = Greys::dataset(10 * BATCH as u32, Gone(Greys::new(50)), tiny().input.stored());
    let folder = tempfile::tempdir().unwrap();
    let failed = train_on(dataset, &Engine::Cpu.into(), folder.path(), &AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(failed.to_string().contains("all of them"), "{failed}");
    let saved = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap().state;
    assert_eq!((saved.step, saved.epoch, saved.unvalidated), (10, 1, true));
}

#[test]
fn a_program_trains_on_a_data_set_of_its_own() {
    let size = tiny().input.stored();
    let greys = Greys::new;
    let dataset = Greys::dataset(10 * BATCH as u32, greys(50), size);
    let classes = dataset.classes.clone();
    assert_eq!(dataset.train.decode(3).unwrap(), vec![75; size * size * 3]);
    let folder = tempfile::tempdir().unwrap();
    let mut watch = At { step: 1, act: || () };
    let outcome = train_on(dataset, &Placement::from(Engine::Cpu), folder.path(), &AtomicBool::new(false), &mut watch);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.steps, outcome.interrupted, outcome.skipped.len()), (20, false, 0));
    assert!(outcome.validation.unwrap().loss.is_finite());
    assert_eq!(Checkpoint::read(&folder.path().join("last.safetensors")).unwrap().state.classes, classes);
    let refused = Dataset::new(classes[..9].to_vec(), greys(10), greys(10), size).unwrap_err();
    assert!(matches!(refused, DataError::Label { label: 9, classes: 9, .. }), "{refused}");
    assert!(matches!(Dataset::new(classes, greys(10), greys(0), size), Err(DataError::Count { count: 0, .. })));
}
