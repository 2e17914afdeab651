//! Processes that MPI starts together, against one.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use alexnet::checkpoint::Checkpoint;
use alexnet::runs::Run;

use crate::cli::{Place, contains, refused};
use crate::devices;

/// The program on `ranks` ranks of this machine.
fn mpirun(place: &Place, ranks: usize, arguments: &[&str]) -> Command {
    let program = place.command(&[]);
    let mut command = Command::new("mpirun");
    command.args(["-n", &ranks.to_string()]).arg(program.get_program()).args(arguments);
    command.current_dir(place.path(""));
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Open MPI refuses root, and more ranks than cores, unless told.
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    // As many threads as cores for each rank would be too many.
    command.env("RAYON_NUM_THREADS", "1");
    command
}

/// What they print, where they succeed.
#[track_caller]
fn together(place: &Place, ranks: usize, arguments: &[&str]) -> String {
    let output = mpirun(place, ranks, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Arguments of a run of 20 steps, at a rate at which no unit comes down on the other side of its kink for a last bit:
/// at the network's own one does after some ten, with ranks as with micro-batches of one.
fn mini<'a>(out: &'a str, device: &'a str) -> Vec<&'a str> {
    let rest = ["--model", "mini", "--batch", "32", "--steps", "20", "--lr", "0.001", "--no-tune"];
    [&["train", "--out", out, "--devices", device], &rest[..]].concat()
}

/// Checks that two runs have the same losses within 1e-5, and weights within 1e-4.
#[track_caller]
fn near(place: &Place, one: &str, other: &str) {
    let [losses, others] = [one, other].map(|run| {
        let run = Run::open(&place.path(run)).unwrap();
        run.steps.iter().chain(&run.validations).map(|metric| metric.loss).collect::<Vec<_>>()
    });
    assert_eq!((losses.len(), others.len()), (21, 21));
    for (step, (a, b)) in losses.iter().zip(&others).enumerate() {
        assert!((a - b).abs() < 1e-5, "{other}, step {}: {b} instead of {a}", step + 1);
    }
    let [one, two] = [one, other].map(|run| Checkpoint::read(&place.path(run).join("last.safetensors")).unwrap());
    for (name, tensor) in &one.tensors {
        let pairs = tensor.values().iter().zip(two.tensors[name].values());
        let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{other}: {name} differs by {far}");
    }
}

#[test]
fn ranks_train_as_one_process_does() {
    let place = Place::new();
    let same = |a: &str, b: &str| {
        let bytes = |run: &str| place.read(&format!("{run}/last.safetensors"));
        assert!(bytes(a) == bytes(b), "{a} and {b} differ");
    };
    for pattern in ["cpu", "gpu", "gpu,gpu"] {
        let Some(device) = devices::spec(pattern) else { continue };
        let name = |ranks: &str| format!("{}-{ranks}", pattern.replace(',', ""));
        place.ok(&mini(&name("one"), &device));
        if pattern == "cpu" {
            together(&place, 1, &mini("single", &device));
            same("single", &name("one"));
        }
        for ranks in if pattern == "gpu,gpu" { &[2][..] } else { &[2, 4] } {
            let [first, again] = ["", "-again"].map(|suffix| name(&format!("{ranks}{suffix}")));
            let said = together(&place, *ranks, &mini(&first, &device));
            // Only the first rank talks.
            assert_eq!(said.matches("checkpoints and metrics are in").count(), 1, "{said}");
            contains(&said, &[&format!("minibatch 32 on {ranks} ranks (data), {} images each;", 32 / ranks)]);
            near(&place, &name("one"), &first);
            let said = together(&place, *ranks, &[&mini(&again, &device)[..], &["--log-ranks"]].concat());
            contains(&said, &["rank 0: ", "rank 1: "]);
            same(&first, &again);
            if pattern != "gpu,gpu" {
                let hybrid = name(&format!("{ranks}-hybrid"));
                let said = together(&place, *ranks, &[&mini(&hybrid, &device)[..], &["--parallel", "hybrid"]].concat());
                contains(&said, &[&format!("on {ranks} ranks (hybrid), ")]);
                near(&place, &first, &hybrid);
            }
        }
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let place = Place::new();
    place.ok(&mini("one", "cpu"));
    let mut arguments = mini("run", "cpu");
    let steps = arguments.iter().position(|argument| *argument == "20").unwrap();
    arguments[steps] = "6";
    together(&place, 4, &arguments);
    place.ok(&["train", "--resume", "run", "--steps", "13"]);
    together(&place, 4, &["train", "--resume", "run", "--steps", "20"]);
    let metrics = Run::open(&place.path("run")).unwrap();
    assert_eq!((metrics.steps.len(), metrics.validations.len()), (20, 3));
    let [one, run] = ["one", "run"].map(|run| Run::open(&place.path(run)).unwrap().steps);
    assert!(one.iter().zip(run).all(|(a, b)| (a.step, a.epoch) == (b.step, b.epoch) && (a.loss - b.loss).abs() < 1e-5));
}

#[test]
fn ranks_score_what_one_process_scores() {
    let place = Place::new();
    place.train("run", &["--steps", "5"]);
    let arguments = ["eval", "run", "--devices", "cpu", "--views", "10", "--batch", "48", "--json"];
    let one = place.json(&arguments);
    for ranks in [2, 3] {
        let many: serde_json::Value = serde_json::from_str(&together(&place, ranks, &arguments)).unwrap();
        for key in ["images", "loss", "top1_error", "top5_error", "rows", "confusions"] {
            assert_eq!(many[key], one[key], "{key} of {ranks} ranks");
        }
    }
}

#[test]
fn a_killed_rank_ends_the_job_with_one_message_and_a_whole_checkpoint() {
    let place = Place::new();
    for (victim, parallel) in [(1, "data"), (0, "data"), (1, "hybrid")] {
        let run = format!("{parallel}-{victim}");
        let rest = ["--devices", "cpu", "--steps", "100000", "--epochs", "100000", "--save-every", "5"];
        let arguments = [&["train", "--model", "tiny.toml", "--out", &run, "--parallel", parallel], &rest[..]].concat();
        let mut command = mpirun(&place, 3, &arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let saved = place.path(&run).join("last.safetensors");
        until("no checkpoint", || saved.exists());
        send("KILL", &of_rank(victim, &run));
        let begin = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        assert!(!output.status.success());
        says_once(&output, victim, &run);
        let step = Checkpoint::read(&saved).unwrap().state.step;
        let more = (step + 5).to_string();
        together(&place, 2, &["train", "--resume", &run, "--steps", &more, "--epochs", "100000"]);
        assert_eq!(Checkpoint::read(&saved).unwrap().state.step, step + 5);
    }
}

#[test]
fn a_stopped_job_is_saved_and_goes_on() {
    let place = Place::new();
    // Of a signal to mpirun itself Open MPI makes an exit code of its own.
    for (signal, to, code) in [("USR2", None, Some(140)), ("INT", Some(1), Some(130)), ("TERM", None, None)] {
        let run = format!("{signal}-{to:?}");
        let long = ["--steps", "1000000", "--epochs", "1000000", "--devices", "cpu"];
        let mut command = mpirun(&place, 2, &[&["train", "--model", "tiny.toml", "--out", &run], &long[..]].concat());
        // The time for which it waits before a signal and between SIGTERM and SIGKILL.
        command.env("OMPI_MCA_odls_base_sigkill_timeout", "4");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let [saved, metrics] = ["last.safetensors", "metrics.jsonl"].map(|file| place.path(&format!("{run}/{file}")));
        until("no step", || std::fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
        if signal == "USR2" {
            send("USR1", &child.id().to_string());
            until("no checkpoint", || saved.exists());
            assert!(child.try_wait().unwrap().is_none(), "the run has ended");
        }
        let begin = Instant::now();
        send(signal, &to.map_or_else(|| child.id().to_string(), |rank| of_rank(rank, &run)));
        let output = child.wait_with_output().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60), "{signal}: {:?}", begin.elapsed());
        assert!(!output.status.success() && code.is_none_or(|code| output.status.code() == Some(code)), "{output:?}");
        let step = Checkpoint::read(&saved).unwrap().state.step;
        contains(&String::from_utf8(output.stdout).unwrap(), &[&format!("interrupted after step {step} and saved")]);
        let more = (step + 1).to_string();
        together(&place, 2, &["train", "--resume", &run, "--steps", &more]);
        assert_eq!(Checkpoint::read(&saved).unwrap().state.step, step + 1);
    }
}

/// Sends a signal to the process of this number.
#[track_caller]
fn send(signal: &str, process: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), process]).status().unwrap().success());
}

/// Process number of the rank `rank` that trains in `run`.
#[track_caller]
fn of_rank(rank: usize, run: &str) -> String {
    for process in std::fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path();
        let has = |name: &str, wanted: &str| {
            let text = std::fs::read(path.join(name)).unwrap_or_default();
            text.split(|&byte| byte == 0).any(|part| part == wanted.as_bytes())
        };
        if has("cmdline", run) && has("environ", &format!("OMPI_COMM_WORLD_RANK={rank}")) {
            return path.file_name().unwrap().to_str().unwrap().to_owned();
        }
    }
    panic!("no rank {rank}");
}

#[track_caller]
fn says_once(output: &Output, victim: usize, run: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    contains(&text, &[&format!("rank {victim} on "), "after step ", &format!("train --resume {run}")]);
}

#[track_caller]
fn until(what: &str, ready: impl Fn() -> bool) {
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} in a minute");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_one_rank_cannot_do_is_said_once_for_all() {
    let place = Place::new();
    let output =
        mpirun(&place, 2, &["train", "--model", "tiny.toml", "--batch", "1", "--devices", "cpu"]).output().unwrap();
    refused(&output, 1, &["2 ranks are more than the 1 images of a minibatch", "--batch"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("error: ").count(), 1, "{output:?}");
    // A program built for one process is not started several times.
    let other = Path::new("runs/tiny-2");
    assert!(!place.path(other.to_str().unwrap()).exists());
}
