//! The commands that list and check, as a user runs them.

use std::io::Write as _;

use serde_json::Value;

use crate::cli::{Place, contains};

fn text(arguments: &[&str]) -> String {
    Place::new().ok(arguments)
}

fn json(arguments: &[&str]) -> Value {
    Place::new().json(arguments)
}

/// What a command that ends with `code` says on stderr.
#[track_caller]
fn complaint(arguments: &[&str], code: i32) -> String {
    let output = Place::new().command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn describe_prints_the_figures_of_the_paper() {
    let output = text(&["describe", "alexnet"]);
    contains(&output, &["60,965,224", "659,272", "724,406,816", "55-27-13-13-13-6", "2 × 48×55×55", "batches of 128"]);
    let output = text(&["describe", "alexnet-one-tower"]);
    contains(&output, &["59,798,312", "391,514,384"]);
}

#[test]
fn describe_gives_the_same_as_json() {
    let document = json(&["describe", "alexnet", "--batch", "60", "--json"]);
    assert_eq!(document["model"], "alexnet");
    assert_eq!(document["parameters"], 60_965_224);
    assert_eq!(document["neurons"], 659_272);
    assert_eq!(document["multiply_adds"], 724_406_816);
    assert_eq!(document["maps"], serde_json::json!([55, 27, 13, 13, 13, 6]));
    assert_eq!(document["layers"][0]["output"], serde_json::json!([48, 55, 55]));
    assert_eq!(document["plan"]["micro_batch"], 64, "padded to whole groups of 8");
}

#[test]
fn describe_says_what_is_wrong_with_a_model() {
    contains(&complaint(&["describe", "vgg"], 1), &["vgg", "alexnet-one-tower", "caffenet", "mini"]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "about = \"broken\"\ninput = {{ channels = 3, size = 32 }}\nlayers = [{{ nam = 1 }}]").unwrap();
    let path = file.path().to_str().unwrap();
    contains(&complaint(&["describe", path], 1), &[path, "line 3", "nam"]);
}

#[test]
fn devices_lists_what_there_is() {
    let listed = text(&["devices"]);
    contains(&listed, &["cpu (", " threads)"]);
    let document = json(&["devices", "--json"]);
    contains(document["cpu"].as_str().unwrap(), &["threads"]);
    for adapter in document["adapters"].as_array().unwrap() {
        assert!(adapter["limits"]["max_storage_buffer_binding_size"].as_u64().unwrap() > 0);
        assert_eq!(adapter["alexnet"]["images"].as_u64().unwrap() % 8, 0);
        if adapter["backend"] == "Vulkan" {
            assert!(adapter["memory"]["bytes"].as_u64().unwrap() > 0);
            assert!(adapter["memory"]["pool"].is_string());
        }
        for id in ["pci_bus", "vendor_device"].into_iter().filter_map(|id| adapter["ids"][id].as_str()) {
            contains(&listed, &[id]);
        }
    }
}

/// Surfaces of window systems make a layer of Mesa look for a display.
#[test]
fn a_start_without_a_display_complains_of_nothing() {
    let place = Place::new();
    let output = place.command(&["devices"]).env_remove("XDG_RUNTIME_DIR").env_remove("DISPLAY").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn kernels_lists_the_registry() {
    contains(&text(&["kernels"]), &["conv.forward", "x: read", "variants", "tolerance"]);
    let document = json(&["kernels", "--json"]);
    let names: Vec<_> = document.as_array().unwrap().iter().map(|kernel| kernel["name"].as_str().unwrap()).collect();
    let registered: Vec<_> = alexnet::ops::KERNELS.iter().map(|kernel| kernel.name).collect();
    assert_eq!(names, registered);
}

#[test]
fn check_trusts_the_cpu() {
    let output = text(&["check", "--devices", "cpu"]);
    let verdict = format!("cases of {} kernels agree on cpu", alexnet::ops::KERNELS.len());
    contains(&output, &["conv.forward", "softmax.loss", &verdict]);
    let document = json(&["check", "--devices", "cpu", "--json"]);
    assert!(document[0]["verdicts"].as_array().unwrap().iter().all(|v| v["failures"].as_array().unwrap().is_empty()));
}

#[test]
fn wrong_use_is_told_from_failure() {
    contains(&complaint(&["check", "--devices", "no such adapter"], 1), &["no such adapter", "cpu"]);
    contains(&complaint(&["check", "--devices", "auto,cpu"], 1), &["--devices", "auto stands alone"]);
    contains(&complaint(&["describe"], 2), &["MODEL"]);
    contains(&complaint(&["describe", "mini", "--batch", "0"], 2), &["--batch"]);
    complaint(&["no-such-command"], 2);
}

/// A reader that has enough, as in `| head -1`, is neither a panic nor an error.
#[test]
fn a_closed_pipe_ends_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let place = Place::new();
    let mut command = place.command(&["kernels"]);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
