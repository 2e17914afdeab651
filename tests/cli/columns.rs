//! Lines on terminals of few columns, and the same in a pipe.

use std::process::{Command, Stdio};

use crate::cli::{Place, contains, tiny};

/// Lines that the program writes to a terminal of so many columns, without colours and bars; `None` without util-linux.
fn on_terminal(place: &Place, columns: usize, arguments: &[&str]) -> Option<Vec<String>> {
    let program = [&[env!("CARGO_BIN_EXE_alexnet")], arguments].concat();
    let command = format!("stty cols {columns}; exec {}", shlex::try_join(program).unwrap());
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(place.path("")).stdin(Stdio::null());
    // No driver: what is said must not depend on the machine's.
    script.env("VK_DRIVER_FILES", "none");
    let Ok(output) = script.output() else {
        println!("NOT RUN: there is no `script`, which makes terminals");
        return None;
    };
    let mut text = String::new();
    for (number, part) in String::from_utf8(output.stdout).unwrap().split("\u{1b}[").enumerate() {
        // Behind digits and semicolons a letter ends what steers the terminal.
        let end = if number > 0 { part.find(char::is_alphabetic).map_or(part.len(), |end| end + 1) } else { 0 };
        text.push_str(&part[end..]);
    }
    let bar = |line: &str| line.starts_with(|sign: char| ('\u{2800}'..='\u{28ff}').contains(&sign));
    let lines = text.split(['\r', '\n']).filter(|line| !line.trim().is_empty() && !bar(line));
    Some(lines.map(str::to_owned).collect())
}

/// Whether `lines` are those of a message that was folded: what follows the first is indented.
fn message<'a>(lines: &'a [String], begin: &str) -> Option<Vec<&'a str>> {
    let first = lines.iter().position(|line| line.starts_with(begin))?;
    let following = lines[first + 1..].iter().take_while(|line| line.starts_with("  "));
    Some(std::iter::once(&lines[first]).chain(following).map(|line| line.trim()).collect())
}

#[track_caller]
fn fits(lines: &[String], columns: usize) {
    for line in lines {
        assert!(line.chars().count() <= columns, "{columns} columns: {line}");
    }
}

#[test]
fn errors_are_folded_on_a_terminal_and_one_line_in_a_pipe() {
    let place = Place::new();
    let wrong = ["describe", "resnet50"];
    let piped = String::from_utf8(place.command(&wrong).output().unwrap().stderr).unwrap();
    assert!(piped.lines().count() == 1 && piped.len() > 200, "{piped}");
    for columns in [40, 80] {
        let Some(lines) = on_terminal(&place, columns, &wrong) else { return };
        fits(&lines, columns);
        assert_eq!(message(&lines, "error: ").unwrap().join(" "), piped.trim());
    }
}

#[test]
fn what_a_run_says_is_folded_on_a_terminal() {
    let place = Place::new();
    let Some(lines) = on_terminal(&place, 80, &tiny("run", "cpu", &["--steps", "2"])) else { return };
    fits(&lines, 80);
    let (begin, end) = ("tiny.toml: ", "checkpoints and metrics are in run");
    assert!(message(&lines, begin).is_some() && message(&lines, end).is_some(), "{lines:?}");
    let text = String::from_utf8(place.read("run/config.toml")).unwrap();
    place.write("run/config.toml", text.replace("devices = \"cpu\"", "devices = \"no such adapter\""));
    let mut lines = on_terminal(&place, 60, &["eval", "run"]).unwrap();
    // What follows are results.
    lines.truncate(lines.iter().position(|line| line.contains("validation images")).unwrap());
    fits(&lines, 60);
    let said = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    contains(&said, &["warning: ", "trained on no such adapter, which is not here"]);
    assert!(lines.iter().any(|line| line.starts_with("  ")), "{lines:?}");
}

/// Results have 80 columns wherever they go, and names of any length in them.
#[test]
fn tables_and_descriptions_fit_eighty_columns() {
    let place = Place::new();
    place.train("a_run_whose_name_is_rather_long_for_a_table", &["--steps", "2"]);
    let run = "a_run_whose_name_is_rather_long_for_a_table";
    let commands = [
        &["describe", "alexnet", "--devices", "cpu,cpu"][..],
        &["describe", "alexnet-2012"],
        &["describe", "cifar-18pct"],
        &["describe", "alexnet", "--ranks", "1024", "--network", "100Mbit/s,20us", "--device-step", "1500ms"],
        &["describe", run],
        &["check", "--devices", "cpu"],
        &["bench", "kernels", "--model", "mini", "--devices", "cpu,cpu", "--repeats", "1"],
        &["bench", "step", "--model", "mini", "--devices", "cpu,cpu", "--repeats", "1"],
        &["bench", "exchange", "--model", "mini", "--devices", "cpu,cpu", "--repeats", "1"],
        &["eval", run, "--devices", "cpu"],
        &["inspect", run, "--devices", "cpu"],
        &["metrics", run],
        &["kernels"],
        &["devices"],
    ];
    for command in commands {
        for line in place.ok(command).lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
    }
}

#[test]
fn help_fits_eighty_columns() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names = commands.lines().map_while(|line| line.strip_prefix("  ")).filter_map(|line| line.split_once(' '));
    let names: Vec<_> = names.map(|(name, _)| name).filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() > 20, "{names:?}");
    let each = names.iter().map(|name| place.ok(&[name, "--help"]));
    for line in each.chain([help.clone()]).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
