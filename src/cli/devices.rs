use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Devices {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(self) -> Result<()> {
        anyhow::bail!("{}", self.json)
    }
}
