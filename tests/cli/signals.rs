//! Signals to a command at work: what it exits with, and what is on disk then.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use alexnet::checkpoint::Checkpoint;

use crate::cli::{Place, contains, tiny};

/// Waits until `ready`, a minute at most; `what` names the wait when it fails.
#[track_caller]
fn await_that(what: &str, mut ready: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not in a minute");
        sleep(Duration::from_millis(1));
    }
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
}

/// A run that goes on for long, in its first steps.
fn training(place: &Place, out: &str) -> Child {
    let child = start(place, &tiny(out, "cpu", &["--epochs", "1000", "--batch", "4"]));
    let metrics = place.path(&format!("{out}/metrics.jsonl"));
    await_that("no step", || fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
    child
}

fn saved_step(place: &Place, run: &str) -> u64 {
    Checkpoint::read(&place.path(&format!("{run}/last.safetensors"))).unwrap().state.step
}

#[track_caller]
fn exits(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn training_saves_and_says_by_its_code_which_signal_stopped_it() {
    let place = Place::new();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("USR2", 140)] {
        let child = training(&place, signal);
        send(&child, signal);
        let said = exits(&child.wait_with_output().unwrap(), code);
        let step = saved_step(&place, signal);
        contains(&said, &[&format!("interrupted after step {step} and saved; go on with: alexnet train --resume")]);
        place.ok(&["train", "--resume", signal, "--steps", &(step + 1).to_string()]);
    }
}

#[test]
fn a_warning_of_the_end_saves_and_the_run_goes_on() {
    let place = Place::new();
    let mut child = training(&place, "run");
    let last = place.path("run/last.safetensors");
    let written = || fs::metadata(&last).and_then(|file| file.modified()).ok();
    let before = written();
    send(&child, "USR1");
    await_that("no checkpoint", || written().is_some() && written() != before);
    assert!(child.try_wait().unwrap().is_none(), "the run has ended");
    send(&child, "INT");
    exits(&child.wait_with_output().unwrap(), 130);
}

#[test]
fn a_second_signal_ends_training_at_once() {
    let place = Place::new();
    let child = training(&place, "run");
    // The second may come before or after the run has saved.
    send(&child, "INT");
    send(&child, "TERM");
    let code = child.wait_with_output().unwrap().status.code();
    assert!(code == Some(143) || code == Some(130), "{code:?}");
}

/// Whether a process handles Ctrl-C, bit 1 of the mask of its handled signals.
#[cfg(target_os = "linux")]
fn handles_interrupts(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
    u64::from_str_radix(&mask, 16).unwrap() & 2 != 0
}

#[cfg(target_os = "linux")]
#[test]
fn every_other_command_ends_at_once() {
    let place = Place::new();
    let long = ["bench", "step", "--model", "mini", "--devices", "cpu", "--repeats", "100000"];
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let child = start(&place, &long);
        await_that("no handler", || handles_interrupts(&child));
        send(&child, signal);
        let said = exits(&child.wait_with_output().unwrap(), code);
        assert!(said.is_empty(), "{said}");
    }
}

/// `nohup` has a run outlive its terminal.
#[cfg(target_os = "linux")]
#[test]
fn an_ignored_hangup_stays_ignored() {
    let place = Place::new();
    let program = place.command(&[]);
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(program.get_program());
    command.args(["bench", "step", "--model", "mini", "--devices", "cpu", "--repeats", "100000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    await_that("no handler", || handles_interrupts(&child));
    send(&child, "HUP");
    assert!(child.try_wait().unwrap().is_none(), "the hangup was heard");
    send(&child, "INT");
    exits(&child.wait_with_output().unwrap(), 130);
}
