//! Help beyond what each command says of its own options: groups of options, examples, lists of models.

use clap::{Arg, Command};

use super::fold::{COLUMNS, fold, width};
use super::options::built_in;

/// Headings of `--help`, and the options that stand below each, of any command.
const GROUPS: &[(&str, &[&str])] = &[
    ("Network", &["model", "stages", "init", "freeze"]),
    ("Data", &["data", "classes", "order", "augment", "max_broken"]),
    ("Images", &["views", "mean", "scale", "stored", "size", "image_size", "batch"]),
    (
        "Training",
        &[
            "batch",
            "epochs",
            "steps",
            "until_error",
            "lr",
            "momentum",
            "decay",
            "schedule",
            "validate_every",
            "seed",
            "no_dropout",
        ],
    ),
    ("Run folder", &["out", "resume", "save_every", "keep", "no_verify", "force"]),
    ("Devices and precision", &["devices", "micro_batch", "recompute", "exchange", "precision", "no_tune", "checked"]),
    ("Several machines", &["parallel", "log_ranks", "no_overlap", "slow_network"]),
    ("Watching", &["tensorboard", "tui", "profile", "profile_steps"]),
];

/// Commands whose options are many enough to need headings, and the headings that they have.
const GROUPED: &[(&str, &[&str])] = &[
    ("train", &["Network", "Data", "Training", "Run folder", "Devices and precision", "Several machines", "Watching"]),
    ("eval", &["Network", "Data", "Images", "Devices and precision"]),
    ("step", &["Network", "Training", "Devices and precision"]),
];

/// Commands and how they are used, three lines each.
const EXAMPLES: &[(&str, [&str; 3])] = &[
    (
        "train",
        [
            "alexnet train",
            "alexnet train --model alexnet --data imagenet --devices 0,1 --save-every 10m",
            "alexnet train --resume runs/mini-1 --epochs 40",
        ],
    ),
    (
        "prepare",
        [
            "alexnet prepare photos --out shards",
            "alexnet prepare ILSVRC2012 --out imagenet --quality 90",
            "alexnet prepare photos --out small --size 64 --raw",
        ],
    ),
    (
        "eval",
        [
            "alexnet eval runs/mini-1",
            "alexnet eval runs/mini-1 --views 10 --predictions labels.csv",
            "alexnet eval runs/mini-1 runs/mini-2 --search --confusion matrix.png",
        ],
    ),
    (
        "classify",
        [
            "alexnet classify runs/mini-1 cat.jpg dog.jpg",
            "alexnet classify alexnet.onnx dog.jpg --views 10",
            "alexnet classify alexnet-owt-7be5be79.pth dog.jpg --model torchvision",
        ],
    ),
    (
        "export",
        [
            "alexnet export runs/mini-1 --out mini.safetensors",
            "alexnet export runs/mini-1 --format onnx --out mini.onnx",
            "alexnet export runs/mini-1 --names tower --out towers.safetensors",
        ],
    ),
    (
        "import",
        [
            "alexnet import alexnet-owt-7be5be79.pth --model torchvision --out alexnet.checkpoint",
            "alexnet import bvlc_alexnet.caffemodel --model bvlc-alexnet --mean-file ilsvrc_2012_mean.npy --out bvlc.checkpoint",
            "alexnet import mini.onnx --model mini --out mini.checkpoint",
        ],
    ),
    (
        "step",
        [
            "alexnet step --model mini --weights runs/mini-1 --batch batch.safetensors --out step.safetensors",
            "alexnet step --model mini --weights runs/mini-1 --batch batch.safetensors --no-dropout --steps 3 --out step.safetensors",
            "alexnet step --model mini --weights runs/mini-1 --batch batch.safetensors --features --devices cpu --out step.safetensors",
        ],
    ),
    (
        "run",
        [
            "alexnet run mini.onnx --input images=images.npy --output-dir out",
            "alexnet run mini.onnx --input images=images.npy --output-dir out --devices cpu",
            "alexnet run net.onnx --input a=a.npy --input b=b.npy --output sum --output-dir out",
        ],
    ),
    (
        "metrics",
        [
            "alexnet metrics runs/mini-1",
            "alexnet metrics runs/mini-1 --format csv",
            "alexnet metrics runs/mini-1 runs/mini-2 --format json",
        ],
    ),
    (
        "plot",
        [
            "alexnet plot runs/mini-1",
            "alexnet plot runs/mini-1 runs/mini-2 --curves error --out error.svg",
            "alexnet plot runs/mini-1 --over seconds --log --out loss.png",
        ],
    ),
    (
        "inspect",
        [
            "alexnet inspect runs/mini-1",
            "alexnet inspect alexnet.checkpoint --devices cpu",
            "alexnet inspect runs/mini-1 --json",
        ],
    ),
    (
        "report",
        [
            "alexnet report runs/mini-1",
            "alexnet report runs/mini-1 --out report.html --pictures pictures",
            "alexnet report runs/mini-1 runs/mini-2 --out both.html",
        ],
    ),
    (
        "reproduce",
        [
            "alexnet reproduce ten-views",
            "alexnet reproduce relu-vs-tanh --data cifar-10-batches-bin --devices cpu",
            "alexnet reproduce norm --data cifar-10-batches-bin --scale 0.3 --seeds 5 --out norm",
        ],
    ),
    (
        "filters",
        [
            "alexnet filters runs/mini-1 --out filters.png",
            "alexnet filters alexnet.checkpoint --layer conv2 --out conv2.png",
            "alexnet filters runs/mini-1 --over-training --out moved.png",
        ],
    ),
    (
        "predictions",
        [
            "alexnet predictions runs/mini-1 --out predictions.png",
            "alexnet predictions runs/mini-1 --errors-first --count 12 --out worst.svg",
            "alexnet predictions runs/mini-1 cat.jpg dog.jpg --out pets.png",
        ],
    ),
    (
        "similar",
        [
            "alexnet similar runs/mini-1 --out similar.png",
            "alexnet similar runs/mini-1 dog.jpg --data photos --layer fc7 --top 6 --out dogs.png",
            "alexnet similar runs/mini-1 dog.jpg --json",
        ],
    ),
    (
        "features",
        [
            "alexnet features runs/mini-1 --out features.npy",
            "alexnet features runs/mini-1 --training --layer fc7 --out features.safetensors",
            "alexnet features runs/mini-1 cat.jpg dog.jpg --layer conv5.pool --out features.csv",
        ],
    ),
    ("devices", ["alexnet devices", "alexnet devices --json", "NO_COLOR=1 alexnet devices"]),
    (
        "describe",
        [
            "alexnet describe alexnet",
            "alexnet describe alexnet --batch 128 --devices 0,0",
            "alexnet describe runs/mini-1",
        ],
    ),
    ("kernels", ["alexnet kernels", "alexnet kernels --json", "alexnet kernels --wgsl wgsl"]),
    (
        "bench",
        [
            "alexnet bench kernels --model alexnet --batch 32",
            "alexnet bench step --model alexnet --batch 32 --devices 0,0",
            "alexnet bench loader --data shards --threads 8",
        ],
    ),
    (
        "check",
        [
            "alexnet check",
            "alexnet check --devices 1 --checked",
            "alexnet check --gradients alexnet --images 4 --devices 0,0",
        ],
    ),
];

/// `command` with headings over the options of its commands, and examples below their help.
pub(super) fn complete(command: Command) -> Command {
    let command = GROUPED.iter().fold(command, |command, (name, headings)| {
        command.mut_subcommand(name, |sub| sub.mut_args(|arg| under_heading(arg, headings)))
    });
    EXAMPLES.iter().fold(command, |command, (name, lines)| {
        command.mut_subcommand(name, |sub| {
            // What is folded can be copied still.
            let lines = lines.map(|line| fold(&format!("  {line}"), 6, COLUMNS - 2).replace('\n', " \\\n"));
            let mut text = format!("Examples:\n{}", lines.join("\n"));
            if *name == "train" {
                text = format!("Built-in networks: {}\n\n{text}", built_in());
            }
            let text = sub.get_after_long_help().map_or(text.clone(), |more| format!("{text}\n\n{more}"));
            sub.after_long_help(text).defer(fold_usage) // once the command is asked for
        })
    })
}

/// `command` with its usage in lines that fit, which the parser leaves as long as it is.
fn fold_usage(command: Command) -> Command {
    const BEGIN: &str = "Usage: ";
    let usage = command.clone().render_usage().to_string();
    if width(&usage) <= COLUMNS {
        return command;
    }
    let folded = fold(&usage, BEGIN.len(), COLUMNS);
    command.override_usage(folded.replacen(BEGIN, "", 1))
}

/// `arg` below the first of `headings` that lists it.
fn under_heading(arg: Arg, headings: &[&'static str]) -> Arg {
    let lists = |heading: &&&'static str| {
        GROUPS.iter().any(|(name, ids)| name == *heading && ids.contains(&arg.get_id().as_str()))
    };
    match headings.iter().find(lists) {
        Some(heading) => arg.help_heading(*heading),
        None => arg,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_has_examples_that_parse() {
        let mut cli = complete(Cli::command());
        for sub in Cli::command().get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = sub.get_name();
            let (_, lines) =
                EXAMPLES.iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("examples of {name}"));
            for line in lines {
                let words = line.split(' ').skip_while(|word| word.contains("NO_COLOR"));
                let parsed = cli.try_get_matches_from_mut(words).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(parsed.subcommand_name(), Some(name), "{line}");
            }
        }
    }

    #[test]
    fn every_option_of_a_grouped_command_has_a_heading() {
        let cli = complete(Cli::command());
        for (name, headings) in GROUPED {
            let sub = cli.find_subcommand(name).expect("a command");
            if *name == "train" {
                for arg in sub.get_arguments() {
                    let heading = arg.get_help_heading();
                    assert!(
                        heading.is_some_and(|heading| headings.contains(&heading)),
                        "train: {} has no heading",
                        arg.get_id()
                    );
                }
            }
            for heading in *headings {
                let used = sub.get_arguments().any(|arg| arg.get_help_heading() == Some(heading));
                assert!(used, "{name}: nothing stands below {heading}");
            }
        }
    }
}
