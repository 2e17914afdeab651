//! Memory of the tuner: the fastest variant of each run, kept from process to process, and verdicts on variants.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::cache;
use crate::files::{cache_folder, read_file};
use crate::kernel::Elem;

/// Names of the fastest variants, by adapter and run.
type Book = BTreeMap<String, BTreeMap<String, String>>;

/// The fastest variants on one adapter with one driver and one version of this program. Beside them stand checksums of
/// the shaders that agreed with their twins: a variant whose shader is another since then is compared again.
pub struct Choices {
    adapter: String,
    path: Option<PathBuf>,
    /// Name of the variant by run, as read from the file or found by this process.
    known: RefCell<BTreeMap<String, String>>,
    /// Whether runs without an entry are measured.
    measures: Cell<bool>,
}

impl Choices {
    /// The choices for the adapter of this description, kept in the cache folder.
    pub(super) fn of(adapter: &str) -> Self {
        let path = cache_folder().map(|folder| folder.join("variants.json"));
        Self::at(path, format!("{adapter}, alexnet {}", env!("CARGO_PKG_VERSION")))
    }

    /// Choices kept in the file at `path`, or for this process alone.
    pub(super) fn at(path: Option<PathBuf>, adapter: String) -> Self {
        Self { adapter, path, known: RefCell::default(), measures: Cell::new(true) }
    }

    /// Turns measuring off: every kernel runs in its first variant that fits.
    pub fn do_not_measure(&self) {
        self.measures.set(false);
    }

    /// Whether runs without an entry are measured.
    pub fn measures(&self) -> bool {
        self.measures.get()
    }

    /// The variant that was the fastest for `run`, here or in another process.
    pub fn get(&self, run: &str) -> Option<String> {
        if !self.known.borrow().contains_key(run) {
            // Another device of this adapter may have chosen meanwhile: different variants would round differently.
            self.known.borrow_mut().extend(self.read().remove(&self.adapter).unwrap_or_default());
        }
        self.known.borrow().get(run).cloned()
    }

    /// Remembers that `variant` is the fastest for `run`.
    pub fn set(&self, run: &str, variant: &str) {
        self.known.borrow_mut().insert(run.to_owned(), variant.to_owned());
        let Some(path) = &self.path else { return };
        let mut book = self.read();
        book.entry(self.adapter.clone()).or_default().insert(run.to_owned(), variant.to_owned());
        // Maps of text to text are always JSON.
        let text = serde_json::to_vec_pretty(&book).unwrap_or_default();
        if let Err(e) = cache::replace(path, &text) {
            log::warn!("the fastest variants cannot be saved and are measured again next time: {e}");
        }
    }

    /// The contents of the file; empty where it is damaged, since everything can be measured again.
    fn read(&self) -> Book {
        let Some((path, text)) = self.path.as_ref().and_then(|path| Some((path, read_file(path).ok()?))) else {
            return Book::new();
        };
        serde_json::from_slice(&text).unwrap_or_else(|e| {
            cache::drop_file(path, &format!("the fastest variants in it are damaged ({e})"));
            Book::new()
        })
    }
}

/// Results of checks and measurements that hold for a variant whatever the shapes; kept for this process.
#[derive(Default)]
pub(super) struct Verdicts {
    /// Whether a variant agrees with its twin, by kernel, variant and element type of maps.
    pub(super) right: HashMap<(&'static str, &'static str, Elem), bool>,
    /// Names of variants so slow for one kernel that they are not measured for another: variants of one name, and other
    /// tiles of the same sources, compute in the same way.
    pub(super) hopeless: HashSet<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_outlive_the_process_and_stay_with_their_adapter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/variants.json");
        let open = |adapter: &str| Choices::at(Some(path.clone()), adapter.into());
        let (first, second) = (open("a, driver 1"), open("a, driver 1"));
        assert_eq!(first.get("conv"), None);
        first.set("conv", "wide");
        assert_eq!(second.get("conv").as_deref(), Some("wide"), "two devices of one adapter agree");
        assert_eq!(open("a, driver 2").get("conv"), None);
        open("a, driver 2").set("conv", "plain");
        assert_eq!(open("a, driver 1").get("conv").as_deref(), Some("wide"));
        std::fs::write(&path, "{\"a, driver 1\": 3").unwrap();
        assert_eq!(open("a, driver 1").get("conv"), None, "what is damaged is measured again");
        assert_eq!(first.get("conv").as_deref(), Some("wide"));
    }
}
