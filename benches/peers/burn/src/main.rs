//! Times AlexNet in burn: `peer-burn flex|wgpu forward|train BATCH REPEATS` prints one line of JSON. See ../README.md.

use std::error::Error;
use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    Dropout, DropoutConfig, Linear, LinearConfig, LocalResponseNorm, LocalResponseNormConfig, PaddingConfig2d,
};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, DeviceKind, Distribution, Int, Tensor};
use serde_json::json;

/// The release in Cargo.toml.
const VERSION: &str = "0.22.1";
/// As in pytorch.py; a tuner chooses in the first run.
const WARM_UP: usize = 3;

/// The paper's network: towers are groups of a convolution, which meet in conv3 and the full layers.
#[derive(Module, Debug)]
struct AlexNet {
    convs: Vec<Conv2d>,
    norm: LocalResponseNorm,
    pool: MaxPool2d,
    fc6: Vec<Linear>,
    fc7: Linear,
    fc8: Linear,
    dropout: Dropout,
}

impl AlexNet {
    /// `fc6` outputs are computed by so many matrices.
    fn new(pieces: usize, device: &Device) -> Self {
        let conv = |maps, window: usize, stride, groups| {
            let pad = if window == 11 { 0 } else { window / 2 };
            Conv2dConfig::new(maps, [window, window])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
                .with_groups(groups)
                .init(device)
        };
        let full = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self {
            convs: vec![
                conv([3, 96], 11, 4, 1),
                conv([96, 256], 5, 1, 2),
                conv([256, 384], 3, 1, 1),
                conv([384, 384], 3, 1, 2),
                conv([384, 256], 3, 1, 2),
            ],
            // burn divides alpha by the size, the paper does not.
            norm: LocalResponseNormConfig::new(5).with_alpha(5.0 * 1e-4).with_k(2.0).init(),
            pool: MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).init(),
            fc6: (0..pieces).map(|_| full(9216, 4096 / pieces)).collect(),
            fc7: full(4096, 4096),
            fc8: full(4096, 1000),
            dropout: DropoutConfig::new(0.5).init(),
        }
    }

    /// Images `[n][3][227][227]` to `[n][1000]`, before the softmax.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (index, conv) in self.convs.iter().enumerate() {
            x = relu(conv.forward(x));
            if index < 2 {
                x = self.normalise(x);
            }
            if [0, 1, 4].contains(&index) {
                x = self.pool.forward(x);
            }
        }
        let x: Tensor<2> = x.flatten(1, 3);
        let x = Tensor::cat(self.fc6.iter().map(|piece| piece.forward(x.clone())).collect(), 1);
        let x = self.dropout.forward(relu(x));
        let x = self.dropout.forward(relu(self.fc7.forward(x)));
        self.fc8.forward(x)
    }

    /// Across the maps of one tower.
    fn normalise(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        self.norm.forward(x.reshape([2 * n, c / 2, h, w])).reshape([n, c, h, w])
    }
}

/// What a training step needs beside its images.
struct Training {
    model: AlexNet,
    loss: CrossEntropyLoss,
    sgd: ModuleOptimizer,
    labels: Tensor<1, Int>,
}

impl Training {
    fn new(model: AlexNet, batch: usize, device: &Device) -> Self {
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let sgd =
            SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(Some(WeightDecayConfig::new(0.0005)));
        let labels = Tensor::random([batch], Distribution::Uniform(0.0, 1000.0), device);
        Self { model, loss: CrossEntropyLossConfig::new().init(device), sgd: sgd.init(), labels }
    }

    fn step(mut self, images: Tensor<4>) -> Self {
        let gradients = self.loss.forward(self.model.forward(images), self.labels.clone()).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.model);
        self.model = self.sgd.step(0.01, self.model, gradients);
        self
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, pass, batch, repeats] = arguments.as_slice() else {
        return Err("usage: peer-burn flex|wgpu forward|train BATCH REPEATS".into());
    };
    let (batch, repeats) = (batch.parse()?, repeats.parse()?);
    let device = match backend.as_str() {
        "flex" => Device::flex(),
        "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
        other => return Err(format!("no backend {other}").into()),
    };
    let name = device.identity().map_or_else(|| "cpu".into(), |identity| identity.name);
    // Whole, fc6 is 144 MiB in one binding, where WebGPU promises 128.
    let pieces = if backend == "wgpu" { 2 } else { 1 };
    let seconds = if pass == "train" {
        time_training(pieces, batch, repeats, &device.autodiff())?
    } else {
        time_forward(pieces, batch, repeats, &device)?
    };
    let mode = if pieces == 1 { backend.clone() } else { format!("{backend}, fc6 in {pieces} pieces") };
    let rate = batch as f64 / seconds;
    println!(
        "{}",
        json!({"engine": "burn", "version": VERSION, "device": name, "mode": mode, "batch": batch, "pass": pass,
               "images_per_second": rate})
    );
    Ok(())
}

fn time_training(pieces: usize, batch: usize, repeats: usize, device: &Device) -> Result<f64, Box<dyn Error>> {
    let images = random_images(batch, device);
    let training = Training::new(AlexNet::new(pieces, device), batch, device);
    median_seconds(training, repeats, device, |training| training.step(images.clone()))
}

fn time_forward(pieces: usize, batch: usize, repeats: usize, device: &Device) -> Result<f64, Box<dyn Error>> {
    let images = random_images(batch, device);
    let model = AlexNet::new(pieces, device);
    median_seconds(model, repeats, device, |model| {
        // Read: what nobody reads, fusion need not compute.
        let _ = softmax(model.forward(images.clone()), 1).into_data();
        model
    })
}

fn random_images(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 3, 227, 227], Distribution::Normal(0.0, 1.0), device)
}

/// Time of a run, waited for, after some that do not count.
fn median_seconds<S>(
    mut state: S,
    repeats: usize,
    device: &Device,
    run: impl Fn(S) -> S,
) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for number in 0..WARM_UP + repeats {
        let begin = Instant::now();
        state = run(state);
        device.sync()?;
        times.push(begin.elapsed().as_secs_f64());
        // For whoever has to stop it.
        eprintln!("run {number} took {:.1} s", times[number]);
    }
    let mut counted = times.split_off(WARM_UP);
    counted.sort_by(f64::total_cmp);
    Ok(counted[counted.len() / 2])
}
