//! Two towers with groups inside each, one device and two: conv2's groups run one by one, conv4's at once.

use alexnet::backend::Engine;
use alexnet::net::{Job, Model, Net, Options, Precision, WireFormat, lower};
use alexnet::program::{Command, Pass};

use crate::devices::{open, spec};
use crate::training::{assert_same, assert_trained, difference, gentle, train_as};

const JOB: Job = Job::training(32);
const STEPS: usize = 3;

fn grouped() -> Model {
    let mut model = gentle();
    for (at, filters) in [(1, 256), (3, 48)] {
        let row = &mut model.layers[at];
        row.set_outputs(filters);
        row.head.own = row.head.own.as_ref().map(|settings| settings.replaced("groups", 2_usize));
    }
    model
}

#[test]
fn groups_are_smaller_and_run_as_they_should() {
    let net = Net::new(grouped()).unwrap();
    let lowered = lower(&net, &JOB);
    let runs = |row: &str, kernel: &str| {
        let is_wanted = |command: &&Command| match command {
            Command::Run { kernel: other, label, .. } => other.name == kernel && *label.layer == *row,
            _ => false,
        };
        lowered.program.commands(Pass::Gradients).iter().filter(is_wanted).count()
    };
    for direction in ["forward", "backward_input", "backward_filter"] {
        assert_eq!(runs("conv2", &format!("conv.{direction}")), 4, "two groups on each of two towers");
        assert_eq!(runs("conv4", &format!("conv.{direction}")), 0);
    }
    let at_once = ["conv.grouped", "conv.grouped_by_input", "conv.grouped_by_filter"];
    assert_eq!(at_once.map(|kernel| runs("conv4", kernel)), [2; 3]);
    let conv = |name: &str| net.parameters_of(net.nodes.iter().find(|node| node.name == name).unwrap());
    assert_eq!(conv("conv2"), 256 * (4 * 25 + 1));
    assert_eq!(conv("conv4"), 48 * (12 * 9 + 1));
    let described = net.nodes.iter().find(|node| node.name == "conv4").unwrap().layer.describe();
    assert_eq!(described, "conv 3×3, 2 groups, relu");
}

#[test]
fn two_devices_give_the_bits_of_one() {
    let mixed = JOB.with(Options { precision: Precision::Mixed, ..Options::DEFAULT });
    for (one, two) in [("cpu", "cpu,cpu"), ("gpu", "gpu,gpu")] {
        let (Some(one), Some(two)) = (spec(one), spec(two)) else { continue };
        for job in [JOB, mixed, JOB.at_once(8)] {
            let (one, two) = (open(&one), open(&two));
            if job.options.precision == Precision::Mixed && !one.engines().iter().all(Engine::halves) {
                println!("NOT RUN: no halves");
                continue;
            }
            let [one, two] = [one, two].map(|placement| train_as(&job, &placement, &grouped(), STEPS));
            assert_trained("groups", &one);
            assert_same("groups on two devices", &two, &one);
        }
    }
}

#[test]
fn engines_and_wire_formats_agree() {
    let halves = JOB.with(Options { exchange: WireFormat::F16, ..Options::DEFAULT });
    let want = train_as(&JOB, &open("cpu"), &grouped(), STEPS);
    for (placement, job, tolerance) in
        [("gpu", JOB, 1e-5), ("cpu,cpu", halves, 1.0 / 1024.0), ("gpu,gpu", halves, 1.0 / 1024.0)]
    {
        let Some(spec) = spec(placement) else { continue };
        let difference = difference(&train_as(&job, &open(&spec), &grouped(), STEPS), &want);
        assert!(difference < tolerance, "{spec}: losses differ by {difference:.1e}");
    }
}
