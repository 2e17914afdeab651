//! What goes to standard output: text whose reader may leave early, JSON, tables, numbers for people.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Error, Result};
use clap::Args;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, TableStyle};
use serde::Serialize;

use super::progress::{bars, is_quiet, prefix};
use alexnet::files::printable;

/// Writes `text` as one line, whatever characters the names in it hold.
pub(super) fn line(text: impl Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{}", shown(text)).context("standard output")
}

/// Writes several lines of this program's own making, in which names are [shown] or escaped: a folded text, JSON.
pub(super) fn lines(text: impl Display) -> Result<()> {
    text.to_string().split('\n').try_for_each(line)
}

/// Writes an empty line.
pub(super) fn gap() -> Result<()> {
    line("")
}

/// Writes a line of this program's own making, in which colours are kept.
pub(super) fn coloured(line: impl Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("standard output")
}

/// `text` on one line, in which no name steers the terminal.
pub(crate) fn shown(text: impl Display) -> String {
    printable(&text.to_string()).into_owned()
}

/// `path` as a shell takes it: in quotes where it holds blanks or other characters that mean something there.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    // An argument that begins with a dash would be an option.
    let text = if text.starts_with('-') { format!("./{text}").into() } else { text };
    shlex::try_quote(&text).map_or_else(|_| text.to_string(), Into::into)
}

/// Says how work goes that is worth more than its reader: a closed or full standard output does not end it. Bars make
/// room for it.
pub(super) fn say(text: impl Display) {
    if !is_quiet() {
        let _ = bars().suspend(|| line(format_args!("{}{text}", prefix())));
    }
}

/// Says why a command fails. Where nobody listens the exit code says it.
pub(super) fn complain(error: impl Display) {
    let _ = bars().suspend(|| writeln!(io::stderr(), "error: {}", shown(error)));
}

/// Form of a command's results.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print JSON on standard output
    #[arg(long)]
    json: bool,
}

impl Output {
    /// Prints `value` as JSON, or as `print` does.
    pub(super) fn tell<T: Serialize>(&self, value: &T, print: impl FnOnce(&T) -> Result<()>) -> Result<()> {
        if self.json { json(value) } else { print(value) }
    }
}

/// `1 step`, `1,234 steps`.
pub(super) fn counted(count: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Lists images that were skipped, with the reasons.
pub(super) fn skipped(reasons: &[String]) {
    if !reasons.is_empty() {
        let were = if reasons.len() == 1 { "was" } else { "were" };
        say(format_args!("{} {were} skipped:", counted(reasons.len() as u64, "image")));
        for reason in reasons {
            say(format_args!("  {reason}"));
        }
    }
}

/// Columns that everything fits which has no long names in it.
const COLUMNS: usize = 80;

/// `text`, as it is [shown], in lines that fit, all but the first indented.
pub(super) fn folded(text: &str, indent: usize) -> String {
    folded_to(text, indent, COLUMNS)
}

/// The same in lines of at most `columns` letters, where words are not longer.
pub(super) fn folded_to(text: &str, indent: usize, columns: usize) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for word in shown(text).split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > columns {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// Writes `value` as one indented JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    lines(serde_json::to_string_pretty(value)?)
}

/// Whether a command ended because whoever read its output had enough (`| head`), which is no error.
pub(super) fn ended_by_reader(error: &Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// A table of cells that are [shown].
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// An empty table: a line under the header, two spaces between columns, of which those in `right` hold numbers.
    pub(super) fn new(header: &[&str], right: &[usize]) -> Self {
        const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE.header_lines(ContentLineStyle::none())).set_header(header.iter().map(shown));
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            if right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self(table)
    }

    pub(super) fn add_row<T: Display>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.add_row(cells.into_iter().map(shown));
    }

    /// Writes the table as wide as it is.
    pub(super) fn print(&self) -> Result<()> {
        lines(self.0.trim_fmt())
    }

    /// Writes the table in lines that fit, for which the cells of some columns are folded.
    pub(super) fn print_folded(mut self, fold: &[usize]) -> Result<()> {
        self.0.set_content_arrangement(ContentArrangement::Dynamic).set_width(COLUMNS as u16);
        for (index, column) in self.0.column_iter_mut().enumerate() {
            if !fold.contains(&index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self.print()
    }
}

/// Digits in groups of three: 60,965,224.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// 232.6 MiB; whole below one KiB.
pub(super) fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut name = "bytes";
    for unit in units {
        if value < 1024.0 {
            break;
        }
        (value, name) = (value / 1024.0, unit);
    }
    if name == "bytes" || value.fract() == 0.0 { format!("{value} {name}") } else { format!("{value:.1} {name}") }
}

/// A share in percent with two digits: 12.34 %.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// 3.0e-6; a kernel without tolerance gives the numbers of its twin.
pub(super) fn tolerance(number: f64) -> String {
    if number == 0.0 { "exact".into() } else { format!("{number:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let got = [0, 999, 1000, 60_965_224, 100_000].map(thousands);
        assert_eq!(got, ["0", "999", "1,000", "60,965,224", "100,000"]);
        let got = [0, 1023, 1024, 134_217_728, 1_610_612_736].map(bytes);
        assert_eq!(got, ["0 bytes", "1023 bytes", "1 KiB", "128 MiB", "1.5 GiB"]);
    }

    #[test]
    fn text_is_folded_at_blanks() {
        assert_eq!(folded("short", 4), "short");
        let words = ["twelve chars"; 12].join(" ");
        let lines = folded(&words, 4);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("    t") || line.starts_with("    c")), "{lines}");
        assert_eq!(lines.split_whitespace().collect::<Vec<_>>().join(" "), words);
    }

    #[test]
    fn names_are_shown_on_one_line() {
        assert_eq!(shown("a\nb\u{1b}[2J"), r"a\u000ab\u001b[2J");
        assert_eq!(folded("a\nb c", 2), r"a\u000ab c");
        let mut table = Table::new(&["of\nall"], &[]);
        table.add_row(["a\nb"]);
        assert_eq!(table.0.trim_fmt().lines().count(), 3);
    }

    #[test]
    fn paths_are_quoted_where_a_shell_would_split_them() {
        let got = ["runs/mini-1", "my run", "a'b", "-x", "$HOME"].map(|path| quoted(Path::new(path)));
        assert_eq!(got, ["runs/mini-1", "'my run'", "\"a'b\"", "./-x", "'$HOME'"]);
    }

    #[test]
    fn only_a_closed_pipe_is_a_quiet_end() {
        let ended = |kind: io::ErrorKind| ended_by_reader(&Error::from(io::Error::from(kind)).context("output"));
        assert!(ended(io::ErrorKind::BrokenPipe));
        assert!(!ended(io::ErrorKind::StorageFull));
    }
}
