//! Whole runs by a program that uses the library: on images of its own, with layers of its own.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use alexnet::backend::Engine;
use alexnet::checkpoint::Checkpoint;
use alexnet::data::{Dataset, ImageError, ImageSet, StoredImage};
use alexnet::eval::{Evaluator, TestViews};
use alexnet::net::{LAYERS, Model};
use alexnet::ops::activation::{Activation, ActivationLayer};
use alexnet::ops::kind::{Caffe, LayerKind, Place, Scaling, caffe_words};
use alexnet::ops::onnx::{Form, Subgraph};
use alexnet::train::{Changes, Config, Launch, Resume, RunSummary, TrainError};

use crate::runs::tiny;
use crate::tiny::TINY;

/// Plain grey images in memory, the brighter the higher the class.
pub(crate) struct Greys(Vec<u32>);

impl Greys {
    /// Images of ten classes in turn.
    pub(crate) fn new(count: u32) -> Self {
        Self((0..count).map(|i| i % 10).collect())
    }

    /// A data set of them, brought to `size` pixels a side.
    pub(crate) fn dataset(training: u32, validation: impl ImageSet + 'static, size: usize) -> Dataset {
        let classes = (0..10).map(|class| format!("grey {class}")).collect();
        Dataset::new(classes, Self::new(training), validation, size).unwrap()
    }
}

impl ImageSet for Greys {
    fn labels(&self) -> &[u32] {
        &self.0
    }

    fn name(&self, i: usize) -> String {
        format!("grey {i}")
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        Ok(StoredImage::Pixels { width: 12, height: 16, rgb: vec![25 * self.0[i] as u8; 12 * 16 * 3].into() })
    }
}

/// Trains to the end on 200 grey images that are brought to `size` pixels a side.
fn train(mut launch: Launch, size: usize) -> Result<RunSummary, TrainError> {
    launch.dataset = Some(Greys::dataset(200, Greys::new(50), size));
    launch.prepare(|devices| devices)?.trainer(&AtomicBool::new(false))?.run(&mut ())
}

/// A new run of `network` in `folder`, of two epochs of two steps.
fn begin(network: Model, folder: &Path) -> Launch {
    let mut launch = Launch::from(Config::new("own", network, 3));
    launch.folder = Some(folder.into());
    launch.config.devices = Some("cpu".into());
    launch
}

#[test]
fn a_launch_trains_on_images_of_the_caller_s_own_and_goes_on_with_them() {
    let (folder, size) = (tempfile::tempdir().unwrap(), tiny().input.stored());
    let run = folder.path().join("run");
    let message = train(begin(tiny(), &run), size + 2).unwrap_err().to_string();
    assert!(message.contains("12 pixels a side") && message.contains("stores 10"), "{message}");
    let outcome = train(begin(tiny(), &run), size).unwrap();
    assert_eq!((outcome.steps, outcome.interrupted), (4, false));
    let mut launch = Launch::resume(&run).unwrap();
    launch.config.change(Changes { epochs: Some(3), ..Changes::default() }).unwrap();
    assert_eq!(train(launch, size).unwrap().steps, 6);
    let last = Checkpoint::read(&run.join("last.safetensors")).unwrap().state;
    assert_eq!((last.step, last.classes[9].as_str()), (6, "grey 9"));
    // Without them the run's images are those of its configuration, whose classes are others.
    let refused = Launch::resume(&run).unwrap().prepare(|devices| devices).unwrap();
    let refused = refused.trainer(&AtomicBool::new(false)).err().unwrap().to_string();
    assert!(refused.contains("grey 0") && refused.contains("trained on"), "{refused}");
}

/// A layer that the program does not know.
static RECTIFY: LayerKind = LayerKind {
    name: "rectify",
    settings: &[],
    shared: None,
    place: Place::Stage { build: |_| Ok(Box::new(ActivationLayer(Activation::Relu))), epilogue: Activation::Linear },
    scaling: Scaling::Homogeneous,
    onnx: |_, _| Subgraph::one(Form::Any, "Relu", Vec::new()),
    caffe: Caffe::Words(caffe_words),
    kernels: &[],
    examples: &["\"rectify\""],
};

#[test]
fn a_run_with_a_layer_of_the_caller_s_own_is_resumed_and_evaluated() {
    let layers: Vec<_> = LAYERS.iter().copied().chain([&RECTIFY]).collect();
    let (folder, size) = (tempfile::tempdir().unwrap(), tiny().input.stored());
    let run = folder.path().join("run");
    let text = TINY.replace("then = [\"relu\", \"pool\"]", "then = [\"rectify\", \"pool\"]");
    let network = Model::parse_with("own.toml", &text, &layers).unwrap();
    train(begin(network, &run), size).unwrap();
    let message = Launch::resume(&run).unwrap_err().to_string();
    assert!(message.contains("config.toml") && message.contains("rectify"), "{message}");
    let mut launch = Launch::resume_with(&run, &Resume { layers: &layers, ..Resume::default() }).unwrap();
    launch.config.change(Changes { epochs: Some(3), ..Changes::default() }).unwrap();
    assert!(train(launch, size).unwrap().steps > 26, "thirteen steps an epoch");

    let checkpoint = Checkpoint::open(&run).unwrap();
    assert!(checkpoint.state.model(LAYERS).unwrap_err().to_string().contains("rectify"));
    assert!(Evaluator::new(&checkpoint, 8, &Engine::Cpu.into()).is_err());
    let mut evaluator = Evaluator::with_layers(&checkpoint, &layers, 8, &Engine::Cpu.into()).unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/rgb.jpg");
    let answers = evaluator.classify(&[&image], TestViews::Centre).unwrap();
    let labels = &answers[0].as_ref().unwrap().labels;
    assert!(labels[0].0.starts_with("grey"), "{labels:?}");
}
