//! Dependencies are from the registry and under the licences of `deny.toml`, as far as that can be known without a
//! network; advisories are for `cargo deny check`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The registry that `[sources]` of `deny.toml` allows by naming no other.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn table(name: &str) -> toml::Table {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(value: &toml::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Standard output of a tool that builds this test.
fn said(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether an SPDX expression can be satisfied by `allowed` licences.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = text.split_whitespace().rev().collect();
    let satisfied = any(&mut words, allowed);
    assert!(words.is_empty(), "{expression}: what begins with {words:?} is not understood");
    satisfied
}

/// One of some terms with OR between them.
fn any(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut satisfied = all(words, allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        satisfied |= all(words, allowed);
    }
    satisfied
}

/// All of some terms with AND between them.
fn all(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut satisfied = one(words, allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        satisfied &= one(words, allowed);
    }
    satisfied
}

/// A licence, with its exception where it has one, or an expression in brackets.
fn one(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let word = words.pop().unwrap_or_default();
    if word == "(" {
        let satisfied = any(words, allowed);
        assert_eq!(words.pop(), Some(")"), "a bracket is not closed");
        return satisfied;
    }
    let licence = match words.pop_if(|word| *word == "WITH") {
        Some(with) => format!("{word} {with} {}", words.pop().unwrap_or_default()),
        None => word.to_owned(),
    };
    allowed.contains(&licence)
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = ["MIT", "ISC"].map(str::to_owned);
    for expression in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "GPL-3.0 OR MIT AND ISC"] {
        assert!(satisfied(expression, &allowed), "{expression}");
    }
    for expression in ["GPL-3.0", "MIT AND GPL-3.0", "MIT WITH LLVM-exception", "(MIT OR GPL-3.0) AND GPL-2.0", ""] {
        assert!(!satisfied(expression, &allowed), "{expression}");
    }
}

/// Those that this machine builds: others are not here.
#[test]
fn licences_are_those_of_the_list() {
    let deny = table("deny.toml");
    let allowed = names(&deny["licenses"]["allow"]);
    let exceptions = deny["licenses"]["exceptions"].as_array().unwrap();
    let version = said("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&said(env!("CARGO"), &metadata)).unwrap();
    let mut failures = Vec::new();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let of_its_own = exceptions.iter().filter(|exception| exception["crate"].as_str() == Some(name));
        let allowed: Vec<_> =
            allowed.iter().cloned().chain(of_its_own.flat_map(|exception| names(&exception["allow"]))).collect();
        let licence = package["license"].as_str().unwrap_or("no licence");
        if !satisfied(licence, &allowed) {
            failures.push(format!("{name}: {licence}; deny.toml allows {}", allowed.join(", ")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(packages.len() > 100, "found {} packages", packages.len());
}

#[test]
fn everything_comes_from_the_registry() {
    let lock = table("Cargo.lock");
    for package in lock["package"].as_array().unwrap() {
        let (name, source) = (package["name"].as_str().unwrap(), package.get("source"));
        let own = name == env!("CARGO_PKG_NAME");
        assert!(own || source.and_then(toml::Value::as_str) == Some(REGISTRY), "{name} comes from {source:?}");
    }
}
