//! Charts in the terminal, of braille dots.

use std::io::{self, IsTerminal as _};

use crossterm::style::{Color as Ansi, Stylize as _};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Dataset, GraphType, Widget};

use alexnet::files::printable;
use alexnet::report::{Chart, Scale, short};

/// Colours that tell curves apart, on dark and on light terminals.
const COLOURS: [Color; 8] = [
    Color::Blue,
    Color::Red,
    Color::Green,
    Color::Magenta,
    Color::Cyan,
    Color::Yellow,
    Color::DarkGray,
    Color::LightRed,
];

/// Signs that tell curves apart where there are no colours: the first is a line of braille dots.
const SIGNS: [char; 8] = ['⠿', 'o', '+', 'x', '*', '#', '@', '%'];

/// Ticks that are tried beyond those wanted, until there are two.
const MORE: usize = 8;

/// Points of the line that marks a place.
const MARKED: usize = 40;

/// Chart in the columns and lines of a terminal.
pub(super) struct TextChart<'a> {
    pub(super) chart: &'a Chart,
    /// Whether colours tell curves apart.
    pub(super) colours: bool,
}

/// Whether the user wants colours (<https://no-color.org>).
pub(super) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard output shows colours, and its reader wants them.
pub(super) fn has_colours() -> bool {
    io::stdout().is_terminal() && wants_colours()
}

/// `text`, cut with a mark where it does not fit into `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

impl TextChart<'_> {
    /// The chart as lines of text.
    pub(super) fn lines(&self, width: u16, height: u16) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.render_to(buffer.area, &mut buffer);
        let row = |y: u16| {
            let cells = (0..width).map(|x| &buffer[(x, y)]);
            let text = cells.map(|cell| match ansi(cell.fg).filter(|_| self.colours) {
                Some(colour) => cell.symbol().with(colour).to_string(),
                None => cell.symbol().to_owned(),
            });
            text.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(row).collect()
    }

    /// Draws the chart: its title and curves' names, then the curves over their axes.
    pub(super) fn render_to(&self, area: Rect, buffer: &mut Buffer) {
        let head = self.head(area, buffer);
        let rest = Rect { y: area.y + head, height: area.height.saturating_sub(head), ..area };
        if rest.height < 4 || rest.width < 20 {
            return;
        }
        let (mut across, upwards) = self.chart.scales();
        if across.whole && (across.most - across.least) % 2.0 != 0.0 {
            across.most += 1.0; // the middle is labelled too
        }
        let log = |value: f64| if self.chart.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let ticks = even_ticks(&upwards, usize::from(rest.height / 4).max(1));
        let bounds = [ticks[0], ticks[ticks.len() - 1]].map(log);
        let visible = |value: f64| value.is_finite() && (!self.chart.log || value > 0.0);
        let place = |point: &[f64; 2]| (point[0], log(point[1]).clamp(bounds[0], bounds[1]));
        let curves: Vec<Vec<(f64, f64)>> = self
            .chart
            .series
            .iter()
            .map(|series| series.points.iter().filter(|point| visible(point[1])).map(place).collect())
            .collect();
        let upright = |(x, _): &(f64, String)| {
            let at = |i: usize| bounds[0] + (bounds[1] - bounds[0]) * i as f64 / MARKED as f64;
            (0..=MARKED).map(|i| (*x, at(i))).collect::<Vec<_>>()
        };
        let marked: Vec<Vec<(f64, f64)>> = self.chart.marked.iter().map(upright).collect();
        let mark = |points| {
            Dataset::default().data(points).marker(Marker::Custom('┆')).style(Style::new().fg(Color::DarkGray))
        };
        let mut all: Vec<Dataset<'_>> = marked.iter().map(|points| mark(points)).collect();
        for (index, points) in curves.iter().enumerate() {
            let dataset = Dataset::default().data(points).style(style(index));
            all.push(match self.sign(index) {
                Some(sign) => dataset.marker(Marker::Custom(sign)).graph_type(GraphType::Scatter),
                None => dataset.marker(Marker::Braille).graph_type(GraphType::Line),
            });
        }
        let faint = Style::new().fg(Color::DarkGray);
        let x_axis = Axis::default().bounds([across.least, across.most]).style(faint);
        let ends = [short(across.least), short(across.least.midpoint(across.most)), short(across.most)];
        let y_axis = Axis::default().bounds(bounds).style(faint).labels(self.chart.labels(&ticks));
        let widget = ratatui::widgets::Chart::new(all).x_axis(x_axis.labels(ends)).y_axis(y_axis);
        widget.legend_position(None).render(rest, buffer);
    }

    /// The title and the names of the curves, in as many lines as they take.
    fn head(&self, area: Rect, buffer: &mut Buffer) -> u16 {
        let (mut x, mut y) = (area.x, area.y);
        let mut put = |text: &str, style: Style| {
            let width = text.chars().count() as u16;
            if x > area.x && x + width > area.right() {
                (x, y) = (area.x, y + 1);
            }
            if y < area.bottom() {
                let room = usize::from(area.right() - x);
                buffer.set_stringn(x, y, cut(text, room), room, style);
            }
            x += width + 3;
        };
        put(&format!("{} by {}", self.chart.title, self.chart.across), Style::new());
        for (index, series) in self.chart.series.iter().enumerate() {
            let sign = self.sign(index).map_or_else(|| "━━".to_owned(), |sign| sign.to_string());
            put(&format!("{sign} {}", printable(&series.name)), style(index));
        }
        y + 1 - area.y
    }

    /// The sign that stands for a curve where no colour does and no line can.
    fn sign(&self, index: usize) -> Option<char> {
        (!self.colours && index > 0).then(|| SIGNS[index % SIGNS.len()])
    }
}

fn style(index: usize) -> Style {
    Style::new().fg(COLOURS[index % COLOURS.len()])
}

/// Round values at equal distances, from below the scale's least to above its most.
fn even_ticks(scale: &Scale, count: usize) -> Vec<f64> {
    if scale.log {
        let ticks = scale.ticks(count);
        return if ticks.len() < 2 { vec![scale.least, scale.most] } else { ticks };
    }
    // Two at least, with the step between them.
    let step = (count..count + MORE).find_map(|count| match scale.ticks(count)[..] {
        [first, second, ..] => Some(second - first),
        _ => None,
    });
    let Some(step) = step else { return vec![scale.least, scale.most] };
    let (first, last) = ((scale.least / step + 1e-9).floor(), (scale.most / step - 1e-9).ceil());
    (first as i64..=last as i64).map(|i| i as f64 * step).collect()
}

fn ansi(colour: Color) -> Option<Ansi> {
    Some(match colour {
        Color::Blue => Ansi::Blue,
        Color::Red => Ansi::Red,
        Color::Green => Ansi::Green,
        Color::Magenta => Ansi::Magenta,
        Color::Cyan => Ansi::Cyan,
        Color::Yellow => Ansi::Yellow,
        Color::DarkGray => Ansi::DarkGrey,
        Color::LightRed => Ansi::DarkRed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alexnet::report::Series;

    fn chart(log: bool) -> Chart {
        let series = |name: &str, scale: f64, colour| Series {
            name: name.into(),
            points: (1..=100).map(|step| [f64::from(step), scale / f64::from(step)]).collect(),
            colour,
            dashed: false,
        };
        let marked = vec![(50.0, "learning rate".to_owned())];
        let series = vec![series("training", 2.0, 0), series("validation", 2.5, 1)];
        Chart { title: "loss".into(), across: "step".into(), log, percent: false, whole: true, series, marked }
    }

    #[test]
    fn charts_fit_their_lines_and_show_every_curve() {
        for (log, colours, width, height) in [
            (false, false, 80, 20),
            (true, false, 80, 20),
            (false, true, 40, 10),
            (true, true, 20, 5),
            (false, true, 1, 1),
        ] {
            let chart = chart(log);
            let lines = TextChart { chart: &chart, colours }.lines(width, height);
            assert_eq!(lines.len(), usize::from(height));
            let text = lines.join("\n");
            if !colours {
                assert!(lines.iter().all(|line| line.chars().count() <= usize::from(width)), "{text}");
                assert!(!text.contains('\u{1b}') && text.contains("o validation") && text.contains('┆'), "{text}");
                assert!(text.contains(['⠁', '⠈', '⠐', '⠢', '⡀', '⠄', '⣀', '⠉', '⠒', '⠤']), "{text}");
            }
        }
        let coloured = chart(false);
        assert!(TextChart { chart: &coloured, colours: true }.lines(80, 20).join("\n").contains("\u{1b}["));
    }

    #[test]
    fn steps_are_whole_and_errors_end_at_100_percent() {
        let mut chart = chart(false);
        chart.percent = true;
        chart.series.truncate(1);
        chart.series[0].points = vec![[1.0, 0.93], [4.0, 1.0]];
        let text = TextChart { chart: &chart, colours: false }.lines(60, 12).join("\n");
        assert!(
            text.contains("100 %") && text.contains('5') && !text.contains("10.") && !text.contains("2.5"),
            "{text}"
        );
        chart.series[0].points = vec![[1.0, 0.6], [4.0, 1.0]];
        let text = TextChart { chart: &chart, colours: false }.lines(60, 6).join("\n");
        assert!(text.contains("100 %") && !text.contains("104"), "{text}");
    }

    #[test]
    fn what_is_cut_is_marked() {
        assert_eq!([cut("abc", 3), cut("abcd", 3)], ["abc", "ab…"]);
        let narrow = TextChart { chart: &chart(false), colours: false }.lines(9, 10).join("\n");
        assert!(narrow.contains("loss by …") && narrow.contains("━━ train…"), "{narrow}");
    }

    #[test]
    fn ticks_lie_at_equal_distances_around_the_scale() {
        let scale = Scale::of([0.03, 2.31].into_iter(), false);
        assert_eq!(even_ticks(&scale, 5), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(even_ticks(&Scale::of([1e-3, 0.5].into_iter(), true), 5), [1e-3, 1e-2, 1e-1, 1.0]);
    }
}
