//! What training changes at random in an image, from the draw on the host to the numbers that the network sees.

use alexnet::backend::{Data, Engine};
use alexnet::checkpoint::Checkpoint;
use alexnet::data::{Colours, Dataset, Draw, Noise, View};
use alexnet::kernel::Holds;
use alexnet::ops::input::{CROP, Shape};
use alexnet::program::{Home, Pass, Program, Recorder, Role, Slot, SlotInfo};
use alexnet::tensor::Tensor;

use crate::cli::{Place, tiny};
use crate::devices;
use crate::tiny::TINY;

/// Images of a measurement.
const IMAGES: usize = 8192;

/// Stored images of 4 by 4 pixels, crops of 2 by 2.
const SHAPE: Shape =
    Shape { images: IMAGES, size: 4, crop: 2, mean_centred: false, scale_r: 0.5, scale_g: 1.0, scale_b: 2.0 };

/// Three directions at right angles that are not those of the colours, and how far colours vary along them.
const COLOURS: Colours = Colours {
    eigenvectors: [[0.6, 0.48, 0.64], [-0.8, 0.36, 0.48], [0.0, -0.8, 0.6]],
    deviations: [120.0, 40.0, 20.0],
};

/// The covariance of the colours that [`COLOURS`] are the principal components of, each length changed by `length`.
fn covariance(length: impl Fn(f64) -> f64) -> [[f64; 3]; 3] {
    let along = COLOURS.eigenvectors.into_iter().zip(COLOURS.deviations);
    let parts: Vec<_> = along.map(|(v, deviation)| (v.map(f64::from), length(f64::from(deviation)).powi(2))).collect();
    let entry = |a: usize, b: usize| parts.iter().map(|(v, variance)| variance * v[a] * v[b]).sum();
    [0, 1, 2].map(|a| [0, 1, 2].map(|b| entry(a, b)))
}

/// The input kernel alone: its program and its slots in the order of its bindings.
fn program() -> (Program, Vec<Slot>) {
    let mut r = Recorder::new();
    r.begin(Pass::Evaluate);
    let shapes = [vec![SHAPE.words()], vec![IMAGES, 4], vec![IMAGES, 4], vec![4, 4, 3], vec![3, 2, 2, IMAGES]];
    let slots: Vec<Slot> = CROP
        .bindings
        .iter()
        .zip(shapes)
        .map(|(binding, shape)| {
            let role = if binding.name == "y" { Role::Output } else { Role::Input };
            r.slot(SlotInfo {
                name: binding.name.into(),
                shape,
                elem: binding.elem(&SHAPE.params()),
                home: Home::Tower(0),
                role,
            })
        })
        .collect();
    assert_eq!(CROP.bindings[0].holds, Holds::Words);
    r.run(&CROP, SHAPE.params(), &slots);
    (r.finish(), slots)
}

/// What `engine` makes of plain images of (100, 110, 120) less a mean of (90, 110, 125): [image][colour], in units of
/// 0 to 255 before scale and gain.
fn seen(engine: Engine, views: &[View]) -> Vec<[f64; 3]> {
    let (program, slots) = program();
    let placement = alexnet::backend::Placement::from(engine);
    let mut cluster = placement.set_up(&program).unwrap();
    let pixels: Vec<u32> = bytemuck::pod_collect_to_vec(&[100_u8, 110, 120].repeat(IMAGES * 16));
    let places: Vec<u32> = views.iter().flat_map(|v| [v.y, v.x, u32::from(v.mirror), 0]).collect();
    let colours: Vec<f32> = views.iter().flat_map(|v| [v.shift[0], v.shift[1], v.shift[2], v.gain]).collect();
    cluster.write(slots[0], Data::U32(&pixels)).unwrap();
    cluster.write(slots[1], Data::U32(&places)).unwrap();
    cluster.write(slots[2], Data::F32(&colours)).unwrap();
    cluster.write(slots[3], Data::F32(&[90.0, 110.0, 125.0].repeat(16))).unwrap();
    cluster.run(Pass::Evaluate).unwrap();
    let y = cluster.read(slots[4]).unwrap();
    let at = |c: usize, pixel: usize, n: usize| f64::from(y[(c * 4 + pixel) * IMAGES + n]);
    let colour = |n: usize, pixel: usize| {
        let gain = f64::from(views[n].gain);
        [at(0, pixel, n) / 0.5 / gain, at(1, pixel, n) / gain, at(2, pixel, n) / 2.0 / gain]
    };
    for n in 0..IMAGES {
        assert!((1..4).all(|pixel| colour(n, pixel) == colour(n, 0)), "noise is that of the image, not of a pixel");
    }
    (0..IMAGES).map(|n| colour(n, 0)).collect()
}

fn spreads_as(engine: &Engine, noise: Noise, want: [[f64; 3]; 3]) {
    let draw = Draw { seed: 5, epoch: 3, border2: 2, crop: true, mirror: true, together: 1, noise: Some(noise) };
    let views: Vec<View> = (0..IMAGES as u32).map(|i| draw.view(i, i as usize)).collect();
    let seen = seen(engine.clone(), &views);
    let count = IMAGES as f64;
    let mean = [0, 1, 2].map(|c| seen.iter().map(|colour| colour[c]).sum::<f64>() / count);
    for (c, (mean, plain)) in mean.into_iter().zip([10.0, 0.0, -5.0]).enumerate() {
        // Five standard errors.
        assert!((mean - plain).abs() < 5.0 * (want[c][c] / count).sqrt(), "{c}: mean {mean}, {plain} without noise");
    }
    for (a, b) in (0..3).flat_map(|a| (a..3).map(move |b| (a, b))) {
        let found = seen.iter().map(|colour| (colour[a] - mean[a]) * (colour[b] - mean[b])).sum::<f64>() / count;
        // The variance of a product of two normal numbers is that of each times the other's, and their covariance's.
        let error = ((want[a][a] * want[b][b] + want[a][b].powi(2)) / count).sqrt();
        assert!((found - want[a][b]).abs() < 5.0 * error, "{a} {b}: covariance {found}, not {}", want[a][b]);
    }
}

/// The colours that reach the network vary as those of the training set do, a tenth as far in the released code, by the
/// squares of that in the paper.
#[test]
fn noise_has_the_covariance_that_it_came_from() {
    for engine in devices::gpus().into_iter().chain([Engine::Cpu]) {
        spreads_as(&engine, Noise::released(&COLOURS, 0.1), covariance(|deviation| 0.1 * deviation));
        spreads_as(&engine, Noise::paper(&COLOURS, 0.1), covariance(|deviation| 0.1 * deviation * deviation / 255.0));
    }
}

fn weights(place: &Place, run: &str) -> Vec<u8> {
    let checkpoint = Checkpoint::read(&place.path(&format!("{run}/last.safetensors"))).unwrap();
    checkpoint.tensors.values().flat_map(Tensor::values).flat_map(|v| v.to_le_bytes()).collect()
}

fn trains_as_told(device: &str) {
    let place = Place::new();
    place.blobs();
    let train = |out: &str, more: &[&str]| {
        let more = [&["--data", "blobs", "--steps", "12"], more].concat();
        place.ok(&tiny(out, device, &more));
        weights(&place, out)
    };
    let names = ["none", "crops", "paper", "2012"];
    let all = names.map(|name| train(name, &["--augment", name]));
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "{} is as one before it", names[i]);
    }
    assert!(train("model", &[]) == all[1], "the model file asks for crops and mirrors");
    // A phase without noise is one of crops alone.
    let phases = "schedule = { phases = [{ until = 9, colour = 0.0 }] }";
    place.write("tiny.toml", format!("{TINY}{phases}\n"));
    assert!(train("quiet", &["--augment", "paper"]) == all[1]);
    assert!(train("quiet2012", &["--augment", "2012"]) != all[3]);
    // In two parts within an epoch.
    place.write("tiny.toml", TINY);
    place.ok(&tiny("parts", device, &["--data", "blobs", "--steps", "5", "--augment", "2012"]));
    place.ok(&["train", "--resume", "parts", "--steps", "12"]);
    assert!(weights(&place, "parts") == all[3]);

    let checkpoint = Checkpoint::read(&place.path("paper/last.safetensors")).unwrap();
    let colours = Dataset::open(Some(&place.path("blobs")), 10).unwrap().statistics().unwrap().colours;
    assert_eq!(checkpoint.tensors["deviations"].values(), colours.deviations);
    assert_eq!(checkpoint.tensors["eigenvectors"].values(), colours.eigenvectors.as_flattened());
    assert!(colours.deviations[0] > 1.0, "{colours:?}");
}

#[test]
fn training_images_are_changed_as_the_command_line_says() {
    trains_as_told("cpu");
    if let Some(gpu) = devices::spec("gpu") {
        trains_as_told(&gpu);
    }
}
