use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Describe {
    pub(super) fn run(self) -> Result<()> {
        anyhow::bail!("{}", self.json)
    }
}
