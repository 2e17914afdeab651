//! Tests in processes of their own: an ignored test reports a value to the test that runs it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use serde::Serialize;
use serde_json::Value;

/// Where a child process leaves its report; set in children only.
const REPORT: &str = "ALEXNET_TEST_REPORT";

/// Runs the ignored test `name`, written with its module, in a process with more `variables`; gives its report.
#[track_caller]
pub(crate) fn run(name: &str, variables: &[(&str, &OsStr)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(REPORT, &report).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    print!("{}", said(&output.stdout));
    assert!(output.status.success(), "{name} in a process of its own: {}\n{}", output.status, said(&output.stderr));
    // Without it no such test ran.
    let text = fs::read(&report).unwrap_or_else(|e| panic!("{name} left no report: {e}"));
    serde_json::from_slice(&text).unwrap()
}

/// Reports what `work` gives; outside a child process does no work and says so.
pub(crate) fn report<T: Serialize>(work: impl FnOnce() -> T) {
    match env::var_os(REPORT) {
        Some(file) => fs::write(&file, serde_json::to_vec(&work()).unwrap()).unwrap(),
        None => println!("NOT RUN: another test runs this one in a process of its own"),
    }
}
