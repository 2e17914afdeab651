//! The arrows between modules, and a few habits, checked on the text of the sources. Every failure says where and how
//! to mend it.

use std::path::{Path, PathBuf};

use crate::rooms::{DOORS, ONLY, OPENERS};

const LONGEST: usize = 450;
/// Characters of a line, as `rustfmt.toml` has it.
const WIDTH: usize = 120;

struct Source {
    /// From the root of the repository, with slashes.
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The module of the crate a file belongs to: `src/ops/lrn.rs` to `ops`.
    fn module(&self) -> &str {
        let inside = self.path.trim_start_matches("src/");
        inside.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Those before the unit tests, which may use any module's pieces as examples.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.lines.iter().position(|line| line.starts_with("mod tests {")).unwrap_or(self.lines.len());
        self.code().take(if self.path.ends_with("/testing.rs") { 0 } else { tests })
    }

    /// Line numbers and lines without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(i, line)| (i + 1, line.split("//").next().unwrap()))
    }
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources(folder: &str, extension: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(&root.join(folder), extension, &mut paths);
    paths.sort();
    let source = |path: PathBuf| Source {
        path: path
            .strip_prefix(root)
            .unwrap()
            .components()
            .map(|c| c.as_os_str().to_str().unwrap())
            .collect::<Vec<_>>()
            .join("/"),
        lines: std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect(),
    };
    let sources: Vec<_> = paths.into_iter().map(source).collect();
    assert!(!sources.is_empty(), "{folder} holds no .{extension} file");
    sources
}

fn refuse(failures: &[String]) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Whether `name` stands in `text` as a word of its own that begins a path (not `other::name`).
fn names_crate(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let begins = !before.ends_with(word) && !before.ends_with(':') && !before.ends_with('.');
        let imported = before.trim_end().ends_with("use") && !after.starts_with(word);
        begins && (after.starts_with("::") || imported)
    })
}

/// Modules of this crate that a file names, with the line.
fn uses(source: &Source) -> Vec<(usize, String)> {
    // The macros of `kernel` are exported at the crate's root.
    let macros = |name: String| if name == "params" || name == "twin" { "kernel".into() } else { name };
    // The command line is a module of the program, which uses the library by its name.
    let own = if source.module() == "cli" { "alexnet::" } else { "crate::" };
    names_after(source, own).into_iter().map(|(line, name)| (line, macros(name))).collect()
}

/// The names that follow `prefix` in paths of a file, with the line.
fn names_after(source: &Source, prefix: &str) -> Vec<(usize, String)> {
    let code: Vec<(usize, &str)> = source.shipped().collect();
    let mut found = Vec::new();
    for (index, (number, line)) in code.iter().enumerate() {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let Some(list) = rest.strip_prefix('{') else {
                found.push((*number, identifier(rest)));
                continue;
            };
            // `use prefix::{a, b::{c, d}}`, perhaps over several lines.
            let further = code[index + 1..].iter().map(|(_, line)| *line);
            let text: String = std::iter::once(list).chain(further).collect::<Vec<_>>().join(" ");
            let (mut depth, mut start) = (0, true);
            for (at, c) in text.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && !c.is_whitespace() => {
                        found.push((*number, identifier(&text[at..])));
                        start = false;
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn modules_use_only_what_is_listed_before_them() {
    let all = sources("src", "rs");
    let listed = |path: &str, before: &str| -> Vec<&str> {
        let source = all.iter().find(|source| source.path == path).unwrap();
        source.code().filter_map(|(_, line)| line.trim().strip_prefix(before)?.strip_suffix(';')).collect()
    };
    // The program's own modules come after the library's.
    let order = [listed("src/lib.rs", "pub mod "), listed("src/main.rs", "mod ")].concat();
    assert!(order.len() > 10, "lib.rs lists {order:?}");
    let place = |module: &str| order.iter().position(|other| *other == module);
    let (mut failures, mut arrows) = (Vec::new(), 0);
    for module in &order {
        if !ONLY.iter().any(|(name, ..)| name == module) {
            failures.push(format!("src/lib.rs lists {module}, ONLY does not: say there what it may use, and why"));
        }
    }
    for source in all.iter().filter(|source| !["src/lib.rs", "src/main.rs"].contains(&source.path.as_str())) {
        let module = source.module();
        let Some(own) = place(module) else {
            failures.push(format!("{}: module {module} is not listed in src/lib.rs: add it there", source.path));
            continue;
        };
        for (line, used) in uses(source).into_iter().filter(|(_, used)| used != module) {
            arrows += 1;
            let at = format!("{}:{line}", source.path);
            match place(&used) {
                None => failures.push(format!("{at}: {used} is no module of src/lib.rs")),
                Some(other) if other > own => failures.push(format!(
                    "{at}: {module} uses {used}, which src/lib.rs lists after it: turn the arrow round (pass what is \
                     needed as an argument), or move {module} below {used} in src/lib.rs"
                )),
                Some(_) => {}
            }
            let only = ONLY.iter().find(|(name, ..)| *name == module);
            if let Some((_, allowed, why)) = only.filter(|(_, allowed, _)| !allowed.contains(&used.as_str())) {
                failures.push(format!("{at}: {module} may use {} only, not {used}: {why}", allowed.join(", ")));
            }
            if used == "wgsl" && module == "backend" && !source.path.starts_with("src/backend/gpu/") {
                failures.push(format!("{at}: only backend/gpu needs shaders"));
            }
        }
    }
    assert!(arrows > 50, "only {arrows} arrows found: the search is broken");
    refuse(&failures);
}

/// Folders whose files use each other in one direction.
const ACYCLIC: &[&str] = &["src/backend/gpu/"];

#[test]
fn files_of_a_room_do_not_run_in_circles() {
    let mut failures = Vec::new();
    for room in ACYCLIC {
        let all = sources(room, "rs");
        let file = |source: &Source| source.path.trim_start_matches(room).trim_end_matches(".rs").to_owned();
        let names: Vec<String> = all.iter().map(file).collect();
        let mut arrows: Vec<(String, String)> = Vec::new();
        for (source, from) in all.iter().zip(&names).filter(|(_, from)| *from != "mod") {
            for (line, to) in names_after(source, "super::") {
                if names.contains(&to) {
                    arrows.push((from.clone(), to));
                } else {
                    failures.push(format!(
                        "{}:{line}: {to} of {room}mod.rs, which uses its files, is used by one of them: name the file \
                         that defines it",
                        source.path
                    ));
                }
            }
        }
        assert!(arrows.len() > 10, "{room}: only {} arrows found: the search is broken", arrows.len());
        // Files without arrows left are taken away until none is: what remains lies on a circle or leads to one.
        let mut left = names;
        while let Some(index) = left.iter().position(|name| !arrows.iter().any(|(from, _)| from == name)) {
            let done = left.remove(index);
            arrows.retain(|(_, to)| *to != done);
        }
        if !left.is_empty() {
            let arrows: Vec<String> = arrows.iter().map(|(from, to)| format!("{from} → {to}")).collect();
            failures.push(format!(
                "{room}: files use each other in a circle among {}: move what both need into a file of its own",
                arrows.join(", ")
            ));
        }
    }
    refuse(&failures);
}

#[test]
fn every_foreign_crate_has_one_door() {
    let mut failures = Vec::new();
    for (name, doors) in DOORS {
        let mut inside = 0;
        for source in sources("src", "rs") {
            for (line, _) in source.code().filter(|(_, code)| names_crate(code, name)) {
                if doors.iter().any(|door| source.path.starts_with(door)) {
                    inside += 1;
                } else {
                    let (path, doors) = (&source.path, doors.join(" and "));
                    failures.push(format!("{path}:{line}: {name} is used in {doors} only: wrap what you need there"));
                }
            }
        }
        assert!(inside > 0, "{name} is used nowhere: the search is broken, or the crate can go");
    }
    refuse(&failures);
}

/// The error types of the results that a line of code names.
fn errors_of(code: &str) -> Vec<&str> {
    let after = code.match_indices("Result<").map(|(at, name)| &code[at + name.len()..]);
    let error = |rest: &'_ str| {
        let (mut depth, mut comma) = (0, None);
        for (at, c) in rest.char_indices() {
            match c {
                '<' | '(' | '[' => depth += 1,
                '>' if depth == 0 => return comma.map(|comma| (comma, at)),
                '>' | ')' | ']' => depth -= 1,
                ',' if depth == 0 => comma = Some(at + 1),
                _ => (),
            }
        }
        None
    };
    after.filter_map(|rest| error(rest).map(|(begin, end)| rest[begin..end].trim())).collect()
}

#[test]
fn errors_of_the_library_are_types() {
    assert_eq!(errors_of("fn f() -> Result<Vec<(u32, A)>, Result<B, String>> {"), ["Result<B, String>", "String"]);
    assert_eq!(errors_of("fn f() -> Result<BTreeMap<String, A>, E> {"), ["E"]);
    let mut failures = Vec::new();
    for source in sources("src", "rs").iter().filter(|source| !["cli", "main"].contains(&source.module())) {
        for (line, code) in source.shipped() {
            let words = errors_of(code).contains(&"String") || code.contains("type Err = String");
            if words || names_crate(code, "anyhow") {
                failures.push(format!("{}:{line}: refuse with an enum of this room: {}", source.path, code.trim()));
            }
        }
    }
    refuse(&failures);
}

#[test]
fn files_stay_short() {
    let mut failures = Vec::new();
    for source in sources("src", "rs").iter().chain(&sources("tests", "rs")).chain(&sources("shaders", "wgsl")) {
        if source.path.ends_with("/proto.rs") {
            continue; // generated
        }
        let count = source.lines.len();
        if count > LONGEST {
            let path = &source.path;
            failures.push(format!("{path} has {count} lines: split it (aim at 400, at most {LONGEST})"));
        }
    }
    refuse(&failures);
}

/// `cargo fmt` cuts long lines of code, not of comments.
#[test]
fn comments_are_as_narrow_as_code() {
    let mut failures = Vec::new();
    for source in sources("src", "rs").iter().chain(&sources("tests", "rs")).chain(&sources("shaders", "wgsl")) {
        for (index, line) in source.lines.iter().enumerate() {
            let width = line.chars().count();
            if line.trim_start().starts_with("//") && width > WIDTH {
                failures.push(format!("{}:{}: {width} characters: at most {WIDTH}", source.path, index + 1));
            }
        }
    }
    refuse(&failures);
}

#[test]
fn unsafe_code_is_rare_and_explained() {
    let mut failures = Vec::new();
    let mut found = 0;
    for source in sources("src", "rs") {
        for (line, code) in source.code() {
            let words = || code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if !words().any(|word| word == "unsafe") {
                continue;
            }
            found += 1;
            let at = format!("{}:{line}", source.path);
            if !source.path.starts_with("src/backend/gpu/") {
                failures.push(format!("{at}: unsafe is for src/backend/gpu only: find a safe way"));
            }
            if !source.lines[line.saturating_sub(6)..line].iter().any(|line| line.trim().starts_with("// SAFETY:")) {
                failures.push(format!("{at}: say in a comment `// SAFETY: …` above it why it is sound"));
            }
        }
    }
    assert!(found > 0, "no unsafe code: drop this test, or mend its search");
    refuse(&failures);
}

/// What opens a path by itself would wait for the other end of a pipe, or read a device that has no end.
#[test]
fn files_are_opened_by_the_room_of_files() {
    let mut failures = Vec::new();
    for source in sources("src", "rs").iter().filter(|source| !source.path.starts_with("src/files/")) {
        if OPENERS.iter().any(|(path, _)| *path == source.path) {
            continue;
        }
        for (line, code) in source.shipped() {
            for door in ["File::open(", "fs::read(", "read_to_string(", "OpenOptions::new"] {
                if code.match_indices(door).any(|(at, _)| !code[..at].ends_with(char::is_alphanumeric)) {
                    failures.push(format!(
                        "{}:{line}: {door} …: take files::open_file, read_text or read_at_most",
                        source.path
                    ));
                }
            }
        }
    }
    refuse(&failures);
}

#[test]
fn nothing_is_left_undone() {
    let mut failures = Vec::new();
    for source in sources("src", "rs") {
        for (line, code) in source.code() {
            for unwanted in ["todo!", "unimplemented!", "dbg!"] {
                if code.contains(unwanted) {
                    failures.push(format!(
                        "{}:{line}: {unwanted} must not be committed: do it, or leave it out",
                        source.path
                    ));
                }
            }
        }
    }
    refuse(&failures);
}

/// So that [`Source::shipped`] may leave them out.
#[test]
fn files_for_unit_tests_are_not_shipped() {
    let all = sources("src", "rs");
    for testing in all.iter().filter(|source| source.path.ends_with("/testing.rs")) {
        let folder = testing.path.trim_end_matches("/testing.rs");
        let parents = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
        let parent = all.iter().find(|source| parents.contains(&source.path)).unwrap();
        let declared =
            parent.lines.windows(2).any(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with("mod testing;"));
        assert!(declared, "{}: declare testing behind #[cfg(test)], it serves unit tests alone", parent.path);
    }
}
