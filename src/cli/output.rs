//! What goes to standard output: text whose reader may leave early, JSON, tables, numbers for people.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Error, Result};
use clap::Args;
use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, Row, TableStyle, Width,
};
use serde::Serialize;

use super::fold::{COLUMNS, fitted, folded, width};
use super::progress::{bars, is_quiet, prefix};
use alexnet::files::printable;

/// Writes `text` as one line, whatever characters the names in it hold; a terminal shows it folded.
pub(super) fn line(text: impl Display) -> Result<()> {
    raw(fitted(&shown(text), &io::stdout()))
}

/// Writes a description: `text` in lines that fit, all but the first indented.
pub(super) fn paragraph(text: &str, indent: usize) -> Result<()> {
    raw(folded(text, indent))
}

/// Writes an empty line.
pub(super) fn gap() -> Result<()> {
    line("")
}

/// Writes lines of this program's own making as they are, colours too; names in them are [shown] or escaped.
pub(super) fn raw(lines: impl Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{lines}").context("standard output")
}

/// `text` on one line, in which no name steers the terminal.
pub(super) fn shown(text: impl Display) -> String {
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
pub(crate) fn complain(error: impl Display) {
    warn(format_args!("error: {error}"));
}

/// Writes a line to standard error, where bars make room for it.
pub(super) fn warn(text: impl Display) {
    let _ = bars().suspend(|| writeln!(io::stderr(), "{}", fitted(&shown(text), &io::stderr())));
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

/// Writes `value` as one indented JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    raw(text.lines().map(shown).collect::<Vec<_>>().join("\n"))
}

/// Whether a command ended because whoever read its output had enough (`| head`), which is no error.
pub(super) fn ended_by_reader(error: &Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// A table of cells that are [shown].
pub(super) struct Table {
    table: comfy_table::Table,
    /// Columns of numbers.
    right: Vec<usize>,
}

/// Letters of a word that may be broken where there is no room.
const LONG: usize = 12;

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
        Self { table, right: right.to_vec() }
    }

    pub(super) fn add_row<T: Display>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(shown));
    }

    /// Writes the table in lines that fit: where they would not, cells of words and the header are folded.
    pub(super) fn print(self) -> Result<()> {
        raw(self.text())
    }

    fn text(mut self) -> String {
        let least: Vec<_> = (0..self.table.column_count()).map(|index| self.least(index)).collect();
        self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(COLUMNS as u16);
        if let Some(last) = self.table.column_iter_mut().next_back() {
            last.set_padding((0, 0));
        }
        for (column, least) in self.table.column_iter_mut().zip(least) {
            let least = least as u16 + column.padding_width();
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        self.table.trim_fmt()
    }

    /// Columns below which a column is not narrowed: those of its numbers, or of its words.
    fn least(&self, index: usize) -> usize {
        let words = |text: &str| text.split(' ').map(width).max().unwrap_or(0).min(LONG);
        let header =
            self.table.header().and_then(|header| header.cell_iter().nth(index)).map(|cell| words(&cell.content()));
        let cell = |row: &Row| {
            let content = row.cell_iter().nth(index)?.content();
            Some(if self.right.contains(&index) { width(&content) } else { words(&content) })
        };
        self.table.row_iter().filter_map(cell).chain(header).max().unwrap_or(0)
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
    fn names_are_shown_on_one_line() {
        assert_eq!(shown("a\nb\u{1b}[2J"), r"a\u000ab\u001b[2J");
        let mut table = Table::new(&["of\nall"], &[]);
        table.add_row(["a\nb"]);
        assert_eq!(table.text().lines().count(), 3);
    }

    #[test]
    fn tables_fit_whatever_is_in_them() {
        let times = ["465.1 MiB", "999.99 ms", "999.99 ms", "999.99 ms"];
        let header = ["ranks", "images each", "sent by all", "exchange", "exposed", "step", "images/s", "efficiency"];
        let mut numbers = Table::new(&header, &[0, 1, 2, 3, 4, 5, 6, 7]);
        numbers.add_row(["65,536", "128"].iter().chain(&times).chain(&["12,345", "100.00 %"]));
        let header = ["kernel", "variant", "layer", "runs", "ms", "GFLOP/s", "GB/s", "ceiling"];
        let mut words = Table::new(&header, &[3, 4, 5, 6, 7]);
        let names = ["conv.by_input_and_bias", "sliced_matrix16_lanes64", "conv2.a conv2.b conv3.a conv3.b"];
        words.add_row(names.iter().chain(&["12", "123.456", "123.4", "11.1", "100.0 % copy"]));
        let mut path = Table::new(&["network", "loss"], &[1]);
        path.add_row(["a_run_of_a_long_name/".repeat(6).as_str(), "1.2345"]);
        for (table, whole) in [(numbers, "465.1 MiB"), (words, "100.0 % copy"), (path, "1.2345")] {
            let text = table.text();
            assert!(text.lines().all(|line| width(line) <= COLUMNS), "{text}");
            assert!(text.contains(whole), "{text}");
        }
        let mut narrow = Table::new(&["layer", "weights"], &[1]);
        narrow.add_row(["conv1", "34,848"]);
        assert_eq!(narrow.text(), "layer  weights\n──────────────\nconv1   34,848");
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
