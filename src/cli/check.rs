use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        anyhow::bail!("{}", self.json)
    }
}
