//! From what a user says of devices to devices with a network laid out on them.

use super::SessionError;
use super::layout::Layout;
use crate::backend::{Engine, Placement};
use crate::net::{Job, Net};

/// Advice for a machine without an adapter.
pub const INSTALL: &str = "a GPU needs its driver for Vulkan; without a GPU the processor is fastest, and ./setup, or on \
                           Debian `apt-get install mesa-vulkan-drivers`, is for those who want to run the shaders";

/// Speed of the CPU engine over a software driver's: `alexnet`, training and forward, in benches/runs.
pub const CPU_SPEED: &str = "2 to 3 times as fast";

/// Opens the devices in `spec`, as [`Placement::open`] takes it, or the best adapter where absent. A machine without
/// any runs on the CPU engine, one with nothing but software drivers on the first, each with a warning.
pub fn open_devices(spec: Option<&str>) -> Result<Placement, SessionError> {
    open_among(spec, (0, 1))
}

/// The same for the process number `local.0` of `local.1` on this machine, which share its memory and, without a spec,
/// its adapters.
pub fn open_among(spec: Option<&str>, local: (usize, usize)) -> Result<Placement, SessionError> {
    let opened = Placement::open_among(spec, local).map_err(|error| SessionError::Devices(error.into()))?;
    if spec.is_none()
        && let Some(first) = opened.as_ref().and_then(|opened| opened.engines().first())
        && first.is_software()
    {
        log::warn!("no GPU; running on {}: --devices cpu is about {CPU_SPEED}", first.describe());
    }
    Ok(opened.unwrap_or_else(|| {
        log::warn!("no graphics adapter; running on cpu");
        Engine::Cpu.into()
    }))
}

/// Opens devices as [`open_devices`] does and lays `net` out on them, for the process number `local.0` of `local.1` on
/// this machine. Where `spec` is absent and the best adapter is too small, the two best share the network, with a
/// warning.
pub fn place(
    net: &Net,
    job: &Job,
    spec: Option<&str>,
    local: (usize, usize),
) -> Result<(Placement, Layout), SessionError> {
    let towers = net.model.towers;
    let devices = open_among(spec, local)?;
    let given = devices.engines().len();
    if given > towers {
        log::warn!(
            "{given} devices, of which the network's towers take {towers}: ranks use more, each for images of its own \
             (`mpirun -n {given} alexnet train`, in a build with --features mpi)"
        );
    }
    let refused = match Layout::new(net, job, &devices.limits(towers)) {
        Ok(layout) => return Ok((devices, layout)),
        Err(refused) => refused,
    };
    if spec.is_none() && towers > 1 && local.1 == 1 {
        let two = Placement::open(Some("auto"))?.filter(|two| two.engines().len() > 1);
        if let Some(two) = two
            && let Ok(layout) = Layout::new(net, job, &two.limits(towers))
        {
            log::warn!("{refused}: running on the two best adapters");
            return Ok((two, layout));
        }
    }
    Err(refused.into())
}
