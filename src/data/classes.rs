//! Names of classes: their order, and how the classes of one list are found in another.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization as _;

use super::format::lines;
use super::{DataError, DataFault};

/// The 1,000 classes of ILSVRC2012 in the order of their numbers: a WordNet id and its words, one a line.
const SYNSETS: &str = include_str!("../../assets/synsets.txt");

/// Synset and names of each class of ILSVRC-2012, in the order of labels.
pub(super) fn synsets() -> impl Iterator<Item = &'static str> {
    SYNSETS.lines()
}

/// `name` with its WordNet id first, if it is one of ILSVRC2012's by itself; else as it is.
pub fn described(name: &str) -> &str {
    static BY_ID: OnceLock<HashMap<&str, &str>> = OnceLock::new();
    let by_id = BY_ID.get_or_init(|| synsets().map(|line| (first_word(line), line)).collect());
    by_id.get(name).copied().unwrap_or(name)
}

/// First of the words for a class of WordNet: `tench` of `n01440764 tench, Tinca tinca`, or of its id; other names as
/// they are.
pub fn called(name: &str) -> &str {
    let is_id = |word: &str| word.len() == 9 && word.starts_with('n') && word[1..].bytes().all(|b| b.is_ascii_digit());
    match described(name).split_once(' ') {
        Some((id, words)) if is_id(id) => words.split(',').next().unwrap_or(words),
        _ => name,
    }
}

/// Names for `classes` from the lines of a file: for each class the line that is its name, or begins with its WordNet
/// id or first word; else a line for each class, in their order.
pub fn named_by(classes: &[String], file: &Path) -> Result<Vec<String>, DataError> {
    let names = lines(file)?;
    if let Some((map, _)) = matched(classes, &names) {
        return Ok(map.into_iter().map(|line| names[line as usize].clone()).collect());
    }
    let known: HashSet<&str> = names.iter().map(|name| first_word(name)).collect();
    match classes.iter().filter(|class| known.contains(first_word(class))).count() {
        0 if names.len() == classes.len() => Ok(names),
        some => {
            let (found, wanted, first) = (names.len(), classes.len(), classes.first().cloned().unwrap_or_default());
            Err(DataError::content(file, DataFault::ClassNames { some, wanted, first, found }))
        }
    }
}

/// A name in one form, whatever the system that it was typed on: é may be one character or two.
pub(super) fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// Whether all names are whole numbers, which then are the order of the classes.
fn are_numbers(names: &[String]) -> bool {
    names.iter().all(|name| name.parse::<u32>().is_ok())
}

/// Sorts the names of folders: by number where all are numbers, else by their bytes.
pub(super) fn sort(names: &mut [String]) {
    names.sort_unstable();
    if are_numbers(names) {
        names.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
    }
}

fn first_word(name: &str) -> &str {
    name.split([' ', '\t', ',']).next().unwrap_or(name)
}

/// WordNet id of a class: its first word, or by the words behind it.
fn synset(name: &str) -> Option<String> {
    static BY_WORDS: OnceLock<HashMap<&str, Option<&str>>> = OnceLock::new();
    let by_words = BY_WORDS.get_or_init(|| {
        let mut ids = HashMap::new();
        for (id, words) in synsets().filter_map(|line| line.split_once(' ')) {
            // Two classes are called crane.
            ids.entry(words).and_modify(|other| *other = None).or_insert(Some(id));
        }
        ids
    });
    let word = first_word(name);
    let is_id = word.strip_prefix('n').is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_digit()));
    if is_id { Some(word.into()) } else { by_words.get(name).copied().flatten().map(str::to_owned) }
}

/// A way to recognise a class, and what it is called.
type Rule = (fn(&str) -> Option<String>, &'static str);

/// Rules from the strictest to the most lenient.
const RULES: [Rule; 3] = [
    (|name| Some(composed(name)), "name"),
    (synset, "WordNet id"),
    (|name| Some(composed(first_word(name))), "the first word of their names"),
];

/// For each class of `found` its number in `wanted`, and what they were recognised by; `None` if one is not there, or
/// they cannot be told apart.
pub(super) fn matched(found: &[String], wanted: &[String]) -> Option<(Vec<u32>, &'static str)> {
    let by = |&(key, name): &Rule| {
        let mut numbers: HashMap<String, Option<u32>> = HashMap::new();
        for (number, key) in (0..).zip(wanted.iter().map(|name| key(name))) {
            numbers.entry(key?).and_modify(|other| *other = None).or_insert(Some(number));
        }
        let map: Vec<u32> = found.iter().map(|name| *numbers.get(&key(name)?)?).collect::<Option<_>>()?;
        let mut distinct = map.clone();
        distinct.sort_unstable();
        distinct.dedup();
        (distinct.len() == map.len()).then_some((map, name))
    };
    RULES.iter().find_map(by)
}

/// The same where `found` are the numbers of all of `wanted`, which have names.
pub(super) fn numbered(found: &[String], wanted: &[String]) -> Option<(Vec<u32>, &'static str)> {
    if found.len() != wanted.len() || !are_numbers(found) || are_numbers(wanted) {
        return None;
    }
    let map: Vec<u32> = found.iter().filter_map(|name| name.parse().ok()).collect();
    let whole = (0..wanted.len() as u32).all(|number| map.contains(&number));
    whole.then_some((map, "number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{check, folder};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn classes_of_wordnet_are_called_by_their_first_word() {
        let names = ["n01440764", "n02102040 English springer, English springer spaniel", "cat, tabby", "n1 dog"];
        assert_eq!(names.map(called), ["tench", "English springer", "cat, tabby", "n1 dog"]);
    }

    #[test]
    fn there_are_a_thousand_synsets() {
        assert_eq!(synsets().count(), 1000);
        assert!(synsets().is_sorted_by_key(first_word));
        assert_eq!(described("n03888257"), "n03888257 parachute, chute");
        assert_eq!(described("cat"), "cat");
    }

    #[test]
    fn a_file_names_classes_by_their_words_or_in_order() {
        let folder = folder([("words.txt", b"n2 dog\nn1 cat\nn3 eel\n".to_vec()), ("two.txt", b"cat\ndog\n".to_vec())]);
        let named = |classes: &[&str], file: &str| named_by(&names(classes), &folder.path().join(file));
        assert_eq!(named(&["n1", "n2"], "words.txt").unwrap(), ["n1 cat", "n2 dog"]);
        assert_eq!(named(&["0", "1"], "two.txt").unwrap(), ["cat", "dog"]);
        assert_eq!(named(&["a", "b"], "two.txt").unwrap(), ["cat", "dog"]);
        for (classes, file) in [(["n1", "n4"], "words.txt"), (["a", "b"], "words.txt"), (["dog", "cow"], "two.txt")] {
            check(named(&classes, file).unwrap_err().to_string(), &[file, "of the 2 classes", "expected a line"]);
        }
        assert!(named(&["a"], "none.txt").is_err());
    }

    #[test]
    fn folders_that_are_numbers_are_sorted_as_numbers() {
        let mut sorted = names(&["10", "9", "0", "2"]);
        sort(&mut sorted);
        assert_eq!(sorted, ["0", "2", "9", "10"]);
        let mut sorted = names(&["10", "9", "x"]);
        sort(&mut sorted);
        assert_eq!(sorted, ["10", "9", "x"]);
    }

    #[test]
    fn classes_are_recognised_by_name_id_word_or_number() {
        let network = names(&["n01440764 tench, Tinca tinca", "n03126707 crane", "n03888257", "café"]);
        let recognised = |found: &[&str], wanted: &[String], map: Option<(Vec<u32>, &'static str)>| {
            let found = names(found);
            assert_eq!(matched(&found, wanted).or_else(|| numbered(&found, wanted)), map, "{found:?}");
        };
        recognised(&["cafe\u{301}", "n03888257"], &network, Some((vec![3, 2], "name")));
        recognised(&["n03888257 parachute", "n01440764"], &network[..3], Some((vec![2, 0], "WordNet id")));
        recognised(&["parachute, chute", "tench, Tinca tinca"], &network[..3], Some((vec![2, 0], "WordNet id")));
        recognised(&["crane"], &network[..3], None);
        recognised(&["dog"], &names(&["cat, pet", "dog, pet"]), Some((vec![1], "the first word of their names")));
        recognised(&["spot"], &names(&["spot 0", "spot 1"]), None);
        recognised(&["dog", "dog x"], &names(&["cat, pet", "dog, pet"]), None);
        recognised(&["1", "0"], &names(&["cat", "dog"]), Some((vec![1, 0], "number")));
        recognised(&["1", "2"], &names(&["cat", "dog"]), None);
        recognised(&["cat", "emu"], &names(&["cat", "dog", "eel"]), None);
    }
}
