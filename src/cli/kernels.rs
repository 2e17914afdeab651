use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Kernels {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Kernels {
    pub(super) fn run(self) -> Result<()> {
        anyhow::bail!("{}", self.json)
    }
}
