//! Names the commit that a release is built from, for the metrics of its runs: that of the repository, or the one that
//! `cargo package` wrote down. A build for development names none, and is not built anew at every commit.

use std::path::Path;
use std::process::Command;

/// File that `cargo package` puts into a package.
const PACKAGED: &str = ".cargo_vcs_info.json";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).is_file()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = packaged().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    if let Some(commit) = commit {
        println!("cargo:rustc-env=ALEXNET_COMMIT={commit}");
    }
}

/// What git says, if there is a git and a repository of this package.
fn git(arguments: &[&str]) -> Option<String> {
    let found = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(found.stdout).ok()?.trim().to_owned())
}

/// The first digits of the commit in [`PACKAGED`].
fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(PACKAGED).ok()?;
    let digits = text.split('"').find(|part| part.len() == 40 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some(digits[..12].to_owned())
}
