//! Commands that several ranks do together, of which one talks.

use std::sync::Arc;

use anyhow::Result;

use super::output::complain;
use super::progress::{be_quiet, name_rank};
use super::signals::Signals;
use alexnet::ranks::{Network, Ranks, Watch};

/// Does `act` on every rank that an MPI launcher started, or on this process alone. Only the first one talks, unless
/// all are to log; a failure of any of them is said once and ends all of them.
pub(super) fn among_ranks<T>(
    network: Option<Network>,
    all_log: bool,
    signals: &Signals,
    act: impl FnOnce(&Arc<Ranks>) -> Result<T>,
) -> Result<T> {
    let watch = Watch { stopping: Box::new(signals.watch()), tell: Box::new(|text| complain(text)) };
    let ranks = Arc::new(Ranks::launched(network, watch)?);
    match (ranks.is_first(), all_log) {
        (false, false) => be_quiet(),
        (_, true) if ranks.size() > 1 => name_rank(ranks.rank()),
        _ => (),
    }
    let done = act(&ranks);
    if let Err(error) = &done
        && ranks.size() > 1
    {
        ranks.fail(&format!("{error:#}"));
        if ranks.is_first() {
            complain(format_args!("{error:#}"));
        }
        ranks.abort();
    }
    done
}
