//! Words of errors in model files.

/// Place and words of an error in a TOML text, on one line, without the picture of the place.
pub(crate) fn toml_words(error: &toml::de::Error) -> String {
    let (text, message) = (error.to_string(), error.message().replace('\n', ", "));
    match text.lines().next() {
        Some(place) if error.span().is_some() => format!("{place}: {message}"),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_text_is_one_line_with_its_place() {
        let words = |text: &str| toml_words(&toml::from_str::<toml::Table>(text).unwrap_err());
        let found = ["a = 1\nb = [\n", "a = 1\na = 2", "a = { b = 1,\n\n", "a = \"\u{1b}\"", "="].map(words);
        for words in found {
            assert!(words.starts_with("TOML parse error at line ") && words.contains(", column "), "{words}");
            assert!(!words.contains(['\n', '|', '^']), "{words}");
        }
    }
}
