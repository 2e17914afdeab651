//! Selection of adapters by the names that a user gives, from what drivers report; adapters come best first.

use super::BackendError;
use super::gpu::adapter::Identity;

/// The entry that chooses adapters for every tower.
pub(super) const AUTO: &str = "auto";

/// The adapter that `entry` names: by number, by PCI bus id, by `vendor:device`, or by part of its description. Ids
/// name a GPU: where several APIs reach it, the adapter with the least number is meant.
pub(super) fn choose(entry: &str, adapters: &[Identity]) -> Result<usize, BackendError> {
    if entry == AUTO {
        return Err(BackendError::AutoNotAlone);
    }
    let listed = |i: usize| format!("{i}: {}", adapters[i].description);
    let all = || (0..adapters.len()).map(listed).chain(["cpu".into()]).collect::<Vec<_>>().join("; ");
    let unknown = || BackendError::UnknownDevice { wanted: entry.into(), found: all() };
    if let Ok(number) = entry.parse::<usize>() {
        return if number < adapters.len() { Ok(number) } else { Err(unknown()) };
    }
    let wanted = entry.to_lowercase();
    let by_id = matching(adapters, |adapter| {
        let ids = [&adapter.ids.pci_bus, &adapter.ids.vendor_device];
        ids.into_iter().flatten().any(|id| *id == wanted)
    });
    let mut matches: Vec<usize> = Vec::new();
    for i in by_id {
        if !matches.iter().any(|&taken| same_gpu(&adapters[taken], &adapters[i])) {
            matches.push(i);
        }
    }
    if matches.is_empty() {
        matches = matching(adapters, |adapter| adapter.description.to_lowercase().contains(&wanted));
    }
    match matches[..] {
        [one] if !wanted.is_empty() => Ok(one),
        [] | [_] => Err(unknown()),
        _ => {
            let names: Vec<_> = matches.into_iter().map(listed).collect();
            Err(BackendError::AmbiguousDevice { wanted: entry.into(), found: names.join("; ") })
        }
    }
}

/// The adapters that `auto` stands for: the best and, where there is one, the next best that is another GPU and, like
/// it, hardware or software. Software would only slow hardware down; two software adapters may go together.
pub(super) fn best_two(adapters: &[Identity]) -> Vec<usize> {
    let Some(best) = adapters.first() else { return Vec::new() };
    let fits = |i: &usize| adapters[*i].software == best.software && !same_gpu(&adapters[*i], best);
    [0].into_iter().chain((1..adapters.len()).find(fits)).collect()
}

/// The adapters that are as good as the best: hardware or software like it, and each another GPU.
pub(super) fn alike(adapters: &[Identity]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for (i, adapter) in adapters.iter().enumerate() {
        let taken = found.iter().any(|&other| same_gpu(&adapters[other], adapter));
        if adapter.software == adapters[0].software && !taken {
            found.push(i);
        }
    }
    found
}

/// Whether two adapters are one GPU, reached through two APIs or by two drivers. Without bus ids they count as two.
fn same_gpu(a: &Identity, b: &Identity) -> bool {
    a.ids.pci_bus.is_some() && a.ids.pci_bus == b.ids.pci_bus
}

fn matching(adapters: &[Identity], holds: impl Fn(&Identity) -> bool) -> Vec<usize> {
    (0..adapters.len()).filter(|&i| holds(&adapters[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gpu::adapter::Ids;
    use super::*;

    /// A hardware adapter of NVIDIA's with this bus id, where it is not empty.
    fn card(description: &str, bus: &str) -> Identity {
        let pci_bus = (!bus.is_empty()).then(|| bus.to_owned());
        let ids = Ids { pci_bus, vendor_device: Some("10de:2330".into()) };
        Identity { description: description.into(), ids, software: false }
    }

    fn software(description: &str) -> Identity {
        Identity { description: description.into(), ids: Ids::default(), software: true }
    }

    fn ambiguous(entry: &str, adapters: &[Identity]) -> bool {
        matches!(choose(entry, adapters), Err(BackendError::AmbiguousDevice { .. }))
    }

    #[test]
    fn devices_are_named_by_number_or_part_of_their_name() {
        let found = [card("NVIDIA H100", ""), software("llvmpipe (LLVM 15)"), software("llvmpipe (LLVM 19)")];
        assert_eq!(choose("0", &found).unwrap(), 0);
        assert_eq!(choose("nvidia", &found).unwrap(), 0);
        assert_eq!(choose("llvm 19", &found).unwrap(), 2);
        assert!(ambiguous("llvmpipe", &found));
        for wrong in ["3", "radeon", "", "-1", "10de:2331", "0000:01:00.0"] {
            let message = choose(wrong, &found).unwrap_err().to_string();
            assert!(message.contains("1: llvmpipe (LLVM 15)"), "{message}");
        }
    }

    #[test]
    fn processes_of_a_machine_share_the_adapters_that_are_as_good_as_the_best() {
        let found = [card("H100", "0000:01:00.0"), card("H100, too", "0000:01:00.0"), card("H100", "0000:c1:00.0")];
        let with_software = [&found[..], &[software("llvmpipe")]].concat();
        assert_eq!(alike(&with_software), [0, 2]);
        assert_eq!(alike(&[software("llvmpipe"), software("lavapipe")]), [0, 1]);
        assert!(alike(&[]).is_empty());
    }

    #[test]
    fn ids_name_a_gpu() {
        let twins = [card("H100 (Vulkan)", "0000:01:00.0"), card("H100 (Vulkan)", "0000:c1:00.0")];
        assert_eq!(choose("0000:01:00.0", &twins).unwrap(), 0);
        assert_eq!(choose("0000:C1:00.0", &twins).unwrap(), 1);
        assert!(ambiguous("10de:2330", &twins));
        assert!(ambiguous("10de:2330", &[card("H100", ""), card("H100", "")]));
        assert!(choose("01:00.0", &twins).is_err(), "part of an id is none");
        let one = [card("H100 (Vulkan)", "0000:01:00.0"), card("H100 (Dx12)", "0000:01:00.0")];
        assert_eq!(choose("0000:01:00.0", &one).unwrap(), 0);
        assert_eq!(choose("10DE:2330", &one).unwrap(), 0);
        assert_eq!(choose("dx12", &one).unwrap(), 1);
    }

    #[test]
    fn auto_takes_the_two_best() {
        let three = [card("a", "0000:01:00.0"), card("b", "0000:02:00.0"), card("c", "0000:03:00.0")];
        assert_eq!(best_two(&three), [0, 1]);
        assert_eq!(best_two(&[card("a", ""), card("a", "")]), [0, 1], "no bus ids, perhaps twins");
        assert_eq!(best_two(&three[..1]), [0]);
        assert!(best_two(&[]).is_empty());
    }

    #[test]
    fn auto_counts_one_gpu_through_two_apis_once() {
        let [vulkan, dx12] = ["H100 (Vulkan)", "H100 (Dx12)"].map(|name| card(name, "0000:01:00.0"));
        let other = card("H100 (Vulkan)", "0000:02:00.0");
        assert_eq!(best_two(&[vulkan, dx12, other]), [0, 2]);
        let both = ["H100 (Vulkan)", "H100 (Dx12)"].map(|name| card(name, "0000:01:00.0"));
        assert_eq!(best_two(&both), [0]);
    }

    #[test]
    fn auto_pairs_software_with_software_only() {
        assert_eq!(best_two(&[card("H100", "0000:01:00.0"), software("llvmpipe")]), [0]);
        assert_eq!(best_two(&[software("llvmpipe"), software("WARP")]), [0, 1]);
        assert_eq!(best_two(&[software("llvmpipe")]), [0]);
    }

    #[test]
    fn auto_stands_alone() {
        let message = choose("auto", &[card("auto", "")]).unwrap_err().to_string();
        assert!(message.contains("stands alone"), "{message}");
    }
}
