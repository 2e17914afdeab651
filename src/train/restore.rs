//! A session as it was when a checkpoint was saved.

use std::collections::BTreeSet;

use crate::checkpoint::{Checkpoint, State};
use crate::session::{Session, SessionError};

/// Loads weights, the optimiser's states and the scale of the loss, and says so where the bits will not be those of a
/// run that was never stopped.
pub(super) fn restore(session: &mut Session, checkpoint: &Checkpoint) -> Result<(), SessionError> {
    session.load(&checkpoint.tensors)?;
    match (checkpoint.state.loss_scale, session.loss_scale()?) {
        (Some(saved), Some(_)) => session.set_loss_scale(saved)?,
        (None, None) => (),
        _ => log::warn!("the run goes on with another --precision than before"),
    }
    warn_of_other_variants(&checkpoint.state, session);
    Ok(())
}

/// Says so where kernels run in other variants than when `state` was saved: on another device, with another driver, or
/// with `--no-tune`.
fn warn_of_other_variants(state: &State, session: &Session) {
    let now = session.cluster().variants();
    let changed =
        state.variants.iter().filter_map(|(run, was)| now.get(run).filter(|is| *is != was).map(|is| (run, was, is)));
    if let Some((run, was, is)) = changed.clone().next() {
        let names = |variants: &BTreeSet<String>| variants.iter().cloned().collect::<Vec<_>>().join(", ");
        log::warn!(
            "{} kernels run in other variants than before ({run}: {} instead of {}): the last bits are not those of a \
             run that was never stopped",
            changed.count(),
            names(is),
            names(was)
        );
    }
}
