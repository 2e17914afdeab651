//! `alexnet completions` and `alexnet man`: files for shells and manuals, for those who package the program.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use clap_complete::Shell;

use super::output::say;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell whose script is printed
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut command: clap::Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "alexnet", &mut script);
        io::stdout().lock().write_all(&script).context("standard output")
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Folder of the pages, alexnet.1 and one for each command; made where it is not there
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self, command: clap::Command) -> Result<()> {
        std::fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        clap_mangen::generate_to(command, &self.folder).with_context(|| self.folder.display().to_string())?;
        say(format!("manual pages are in {}", self.folder.display()));
        Ok(())
    }
}
