//! The first page and the guide: every command in them runs, or at least parses; every file, page and message that they
//! name is there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{Place, save_image};

/// The root folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and the pages of the guide, in the order of the guide's contents.
fn pages() -> Vec<(String, String)> {
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed = contents
        .lines()
        .filter_map(|line| line.split_once("]("))
        .map(|(_, rest)| format!("docs/{}", rest.trim_end_matches(')')));
    let names: Vec<_> = std::iter::once("README.md".to_owned()).chain(listed).collect();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("docs/{}", path.file_name().unwrap().to_string_lossy());
        let page = path.extension().is_some_and(|extension| extension == "md") && name != "docs/SUMMARY.md";
        assert!(!page || names.contains(&name), "{name} is not in SUMMARY.md");
    }
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, text)
    };
    names.into_iter().map(read).collect()
}

/// A command of a page, and whether it runs here or is only parsed: what needs files of hundreds of megabytes does not
/// run.
struct Line {
    words: Vec<String>,
    runs: bool,
    at: String,
}

/// The commands in the blocks of a page that are marked `sh`; those of blocks marked `sh parse` are only parsed.
fn commands(page: &str, text: &str) -> Vec<Line> {
    let (mut found, mut block, mut joined) = (Vec::new(), None, String::new());
    for (number, line) in text.lines().enumerate() {
        match (block, line.strip_prefix("```")) {
            (None, Some(info)) => block = Some(info),
            (Some(_), Some(_)) => block = None,
            (Some(info @ ("sh" | "sh parse")), None) => {
                joined += line.trim_end_matches('\\');
                if !line.ends_with('\\') {
                    let words = shlex::split(&std::mem::take(&mut joined)).unwrap_or_else(|| panic!("{page}: {line}"));
                    if !words.is_empty() {
                        found.push(Line { words, runs: info == "sh", at: format!("{page}:{}", number + 1) });
                    }
                }
            }
            _ => (),
        }
    }
    found
}

/// The arguments of the program, where `words` start it.
fn arguments(words: &[String]) -> Option<Vec<&str>> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    words
        .strip_prefix(&["alexnet"])
        .or_else(|| words.strip_prefix(&["cargo", "run", "--release", "--"]))
        .map(<[&str]>::to_vec)
}

/// What the pages' commands find: photographs in class folders, an image, arrays.
fn scene() -> Place {
    let place = Place::new();
    for (class, colour) in [("cat", [200, 90, 40]), ("dog", [40, 90, 200])] {
        for (split, count) in [("train", 6), ("val", 2)] {
            for index in 0..count {
                save_image(&place.path(&format!("photos/{split}/{class}/{index}.png")), 40, 36 + index, colour);
            }
        }
    }
    for name in ["photo.jpg", "frog.png", "dog.jpg", "cat.jpg"] {
        save_image(&place.path(name), 48, 40, [30, 160, 60]);
    }
    place.write("images.npy", zeros("(2, 3, 28, 28)", 2 * 3 * 28 * 28));
    place
}

/// A file of numpy with zeros.
fn zeros(shape: &str, count: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(vec![0; 4 * count]);
    file
}

#[test]
fn every_command_of_the_guide_runs() {
    let place = scene();
    for (page, text) in pages() {
        for line in commands(&page, &text).iter().filter(|line| line.runs) {
            let Some(mut words) = arguments(&line.words) else { continue };
            // A run as long as the page promises is for the reader; its last option here is one of fewer steps.
            if words[0] == "train" {
                words.extend(["--steps", if words.contains(&"--resume") { "8" } else { "4" }]);
            }
            let output = place.command(&words).output().unwrap();
            assert!(output.status.success(), "{}: {words:?}: {output:?}", line.at);
        }
    }
}

#[test]
fn every_command_that_is_too_large_to_run_parses() {
    let place = Place::new();
    for (page, text) in pages() {
        for line in commands(&page, &text).iter().filter(|line| !line.runs) {
            let Some(mut words) = arguments(&line.words) else { continue };
            // The first option that is not known is what is complained of, and it is the last.
            words.push("--this-is-not-an-option");
            let output = place.command(&words).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("unexpected argument '--this-is-not-an-option'"), "{}: {words:?}: {error}", line.at);
        }
    }
}

#[test]
fn other_commands_of_the_guide_name_files_that_are_there() {
    for (page, text) in pages() {
        for line in commands(&page, &text).iter().filter(|line| arguments(&line.words).is_none()) {
            let program = line.words[0].as_str();
            let known =
                ["cargo", "mpirun", "sudo", "docker", "podman", "kubectl", "sbatch", "mdbook", "node", "python3"];
            assert!(
                known.contains(&program) || root().join(program).is_file(),
                "{}: unknown program {program}",
                line.at
            );
            if let Some(at) = line.words.iter().position(|word| word == "--example") {
                let example = root().join("examples").join(format!("{}.rs", line.words[at + 1]));
                assert!(example.is_file(), "{}: no {}", line.at, example.display());
            }
        }
    }
}

#[test]
fn files_that_the_guide_names_are_there() {
    let folders = ["src/", "shaders/", "tests/", "benches/", "assets/", "examples/", "docs/"];
    for (page, text) in pages() {
        let base: PathBuf = root().join(&page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            assert!(link.contains("://") || target.is_empty() || base.join(target).exists(), "{page}: no {link}");
            let leaves = page.starts_with("docs/") && target.contains('/') && !link.contains("://");
            assert!(!leaves, "{page}: {link} is no page of the book");
        }
        for name in text.split('`').skip(1).step_by(2) {
            let path = name.split_whitespace().next().unwrap_or_default();
            let file =
                folders.iter().any(|folder| path.starts_with(folder)) && !path.contains('*') && !path.contains("/x.");
            assert!(!file || root().join(path).exists(), "{page}: no {path}");
        }
    }
}

/// All of the source, its texts joined where they go over several lines.
fn source() -> String {
    fn read(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut all = String::new();
    read(&root().join("src"), &mut all);
    let lines = all.split("\\\n").map(str::trim_start);
    lines.collect::<String>()
}

#[test]
fn messages_of_the_troubleshooting_page_are_those_of_the_program() {
    let source = source();
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let mut messages = 0;
    for message in text.split("\n**").skip(1).filter_map(|rest| rest.split("**").next()) {
        messages += 1;
        for part in
            message.replace('\n', " ").trim_end_matches('.').split('…').map(str::trim).filter(|part| part.len() > 3)
        {
            assert!(source.contains(part), "troubleshooting: no message has {part:?}");
        }
    }
    assert!(messages > 10, "found {messages} messages");
}
