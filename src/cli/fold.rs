//! Lines that fit. Tables and descriptions have 80 columns wherever they go; any other line is one line in a file or a
//! pipe, and is folded at blanks on a terminal that is narrower.

use std::io::IsTerminal;

use ratatui::text::Span;

use super::output::shown;

/// Columns that everything fits which has no long names in it.
pub(super) const COLUMNS: usize = 80;

/// Further indentation of what follows the first line.
const HANG: usize = 2;

/// Columns of the terminal that `stream` is; `None` of a file or a pipe, and of a terminal that does not know its size,
/// as that which `mpirun` gives to every rank, whose lines end in a file.
pub(super) fn columns(stream: &impl IsTerminal) -> Option<usize> {
    let size = || crossterm::terminal::size().map(|(columns, _)| usize::from(columns));
    stream.is_terminal().then(size).and_then(Result::ok).filter(|&columns| columns > 0)
}

/// `line` as it goes to `stream`: folded where that is a terminal.
pub(super) fn fitted(line: &str, stream: &impl IsTerminal) -> String {
    columns(stream).map_or_else(|| line.to_owned(), |columns| fold(line, indent(line) + HANG, columns))
}

/// `text`, as it is [shown], in lines that fit, all but the first indented.
pub(super) fn folded(text: &str, indent: usize) -> String {
    fold(&shown(text), indent, COLUMNS)
}

/// What stands before a command to copy, which ends its line.
const COMMAND: &str = ": alexnet ";

/// `line` in lines of at most `columns`, where words are not longer, all but the first indented. Colours have no width.
/// A command to copy stays in one piece where it fits.
pub(super) fn fold(line: &str, indent: usize, columns: usize) -> String {
    let begin = self::indent(line);
    let mut folded = line[..begin].to_owned();
    let mut column = begin;
    // Whether the line that is being filled has a word.
    let mut filled = false;
    let command = line.rfind(COMMAND).map(|colon| colon + 2).filter(|&at| indent + width(&line[at..]) <= columns);
    let words = line[begin..command.map_or(line.len(), |at| at - 1)].split(' ');
    for word in words.chain(command.map(|at| &line[at..])) {
        let length = width(word);
        if filled && column + 1 + length > columns {
            folded.truncate(folded.trim_end_matches(' ').len());
            folded.push('\n');
            folded.push_str(&" ".repeat(indent));
            (column, filled) = (indent, false);
        } else if filled {
            folded.push(' ');
            column += 1;
        }
        folded.push_str(word);
        column += length;
        filled |= length > 0;
    }
    folded
}

/// Columns that a terminal takes for `text`, in which colours have none.
pub(super) fn width(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let plain = parts.next().unwrap_or_default();
    let behind = parts.map(|part| part.split_once('m').map_or(part, |(_, behind)| behind));
    std::iter::once(plain).chain(behind).map(|part| Span::raw(part).width()).sum()
}

/// Blanks before the first word.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_folded_at_blanks() {
        assert_eq!(folded("short", 4), "short");
        let words = ["twelve chars"; 12].join(" ");
        let lines = folded(&words, 4);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("    t") || line.starts_with("    c")), "{lines}");
        assert_eq!(lines.split_whitespace().collect::<Vec<_>>().join(" "), words);
        assert_eq!(folded("a\nb c", 2), r"a\u000ab c");
    }

    #[test]
    fn blanks_stay_but_for_those_where_a_line_ends() {
        assert_eq!(fold("  key   a word", 8, 12), "  key   a\n        word");
        assert_eq!(fold("one   two", 2, 5), "one\n  two");
        assert_eq!(fold("a_name_of_many_letters is long", 2, 10), "a_name_of_many_letters\n  is long");
    }

    #[test]
    fn a_command_to_copy_stays_in_one_piece() {
        let said = "go on with: alexnet train --resume run";
        assert_eq!(fold(said, 2, 37), "go on with:\n  alexnet train --resume run");
        assert_eq!(fold(said, 2, 38), said);
        assert_eq!(fold(said, 2, 27), "go on with: alexnet train\n  --resume run");
    }

    /// Letters of East Asia take two columns, colours none.
    #[test]
    fn a_column_is_what_a_terminal_makes_of_it() {
        assert_eq!(["plain", "\u{1b}[33mred\u{1b}[0m", "日本", ""].map(width), [5, 3, 4, 0]);
        assert_eq!(fold("\u{1b}[1mab\u{1b}[0m cd", 0, 5), "\u{1b}[1mab\u{1b}[0m cd");
        assert_eq!(fold("日本 日本", 0, 8), "日本\n日本");
    }

    #[test]
    fn a_file_gets_one_line() {
        let line = ["word"; 60].join(" ");
        assert_eq!(fitted(&line, &tempfile::tempfile().unwrap()), line);
    }
}
