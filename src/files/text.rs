//! Names from outside (of files, classes, tensors) as a terminal or a log may show them.

use std::borrow::Cow;
use std::fmt::Display;

/// `name` on one line, with an escape like `\u001b`, as JSON has it, for every character that steers a terminal, ends a
/// line or turns the direction of writing.
pub fn printable(name: &str) -> Cow<'_, str> {
    if !name.contains(steers) {
        return Cow::Borrowed(name);
    }
    let escape = |c: char| if steers(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    Cow::Owned(name.chars().map(escape).collect())
}

/// The words of `text` on one line: what libraries say may have several.
pub fn one_line(text: &impl Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether `c` is a control character or one of those that order text from right to left.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_steer_no_terminal() {
        assert!(matches!(printable("tench, Tinca tinca ü 猫"), Cow::Borrowed(_)));
        assert_eq!(one_line(&"refused\n\nbecause:\n  of it\n"), "refused because: of it");
        assert_eq!(printable("a\u{1b}[31mb\nc\u{7f}\u{9b}d\u{202e}e"), r"a\u001b[31mb\u000ac\u007f\u009bd\u202ee");
    }
}
