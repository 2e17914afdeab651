//! Which variants were the fastest on an adapter, remembered from run to run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cache;

/// By adapter, by run: the name of a variant.
type Book = BTreeMap<String, BTreeMap<String, String>>;

/// What is known of one adapter with one driver and one version of this program.
pub struct Choices {
    adapter: String,
    path: Option<PathBuf>,
    /// What was read or found in this process.
    known: RefCell<BTreeMap<String, String>>,
    /// Whether what is not known is measured.
    measures: Cell<bool>,
}

impl Choices {
    pub(super) fn of(info: &wgpu::AdapterInfo) -> Self {
        let path = cache::folder().map(|folder| folder.join("variants.json"));
        Self::at(path, format!("{}, alexnet {}", super::device::describe(info), env!("CARGO_PKG_VERSION")))
    }

    /// Kept in the file at `path`, or for this process.
    pub(super) fn at(path: Option<PathBuf>, adapter: String) -> Self {
        Self { adapter, path, known: RefCell::default(), measures: Cell::new(true) }
    }

    /// Has every kernel run in its first variant that fits, whatever is faster.
    pub fn do_not_measure(&self) {
        self.measures.set(false);
    }

    /// Whether the fastest variant is looked for.
    #[must_use]
    pub fn measures(&self) -> bool {
        self.measures.get()
    }

    /// The variant that was the fastest for `run`, here or in another process.
    #[must_use]
    pub fn get(&self, run: &str) -> Option<String> {
        if !self.known.borrow().contains_key(run) {
            // Perhaps another device of this adapter has found it meanwhile: two that differ would round differently.
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
            log::warn!("the fastest variants are not kept and measured again next time: {e}");
        }
    }

    /// What is on disk; nothing where it is damaged, since it can be measured again.
    fn read(&self) -> Book {
        let text = self.path.as_ref().and_then(|path| std::fs::read(path).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
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
