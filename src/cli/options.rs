//! Options that several commands share.

use anyhow::Result;

use crate::backend::Devices;

/// Opens what `--devices` says; without it the best adapter, else the CPU engine, with a line that says so.
pub(super) fn open_devices(spec: Option<&str>) -> Result<Devices> {
    if let Some(devices) = Devices::open(spec)? {
        return Ok(devices);
    }
    eprintln!("no GPU adapter was found; running on cpu. A software adapter comes with ./setup (Mesa's lavapipe)");
    Ok(Devices::Cpu)
}
pub(super) fn print_json(v: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(v)?);
    Ok(())
}
