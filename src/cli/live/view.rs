//! The live view's drawing, for terminals of any size.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Gauge, Paragraph, Widget};

use super::{Saving, State};
use crate::cli::output::{bytes, thousands};
use crate::cli::terminal::{TextChart, cut, wants_colours};
use alexnet::files::printable;
use alexnet::report::{Curve, Over, chart, short};
use alexnet::train::{Metric, Phase};

/// Columns from which on two charts stand side by side.
const TWO: u16 = 60;

/// Steps whose mean is shown as the loss of now.
const RECENT: usize = 50;

/// Validations that are listed at most.
const VALIDATIONS: usize = 4;

/// Draws `state` on all of `area`.
pub(super) fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    let devices = state.record.as_ref().map_or(0, |record| record.devices.len() as u16 + 1);
    let validations = (state.run.validations.len().min(VALIDATIONS) as u16 + 1).min(area.height / 5);
    let heights = [1, 1, 1].map(Constraint::Length).into_iter().chain([
        Constraint::Min(0),
        Constraint::Length(devices),
        Constraint::Length(validations),
        Constraint::Length(1),
    ]);
    let rows = Layout::vertical(heights).split(area);
    put(&printable(&state.title), Style::new().add_modifier(Modifier::BOLD), rows[0], buffer);
    progress(state, rows[1], buffer);
    put(&now(state), Style::new(), rows[2], buffer);
    if state.shows_log {
        let first = state.log.len().saturating_sub(usize::from(rows[3].height));
        let width = usize::from(rows[3].width);
        let shown = |line: &String| Line::from(cut(&printable(line), width));
        let lines: Vec<Line<'_>> = state.log[first..].iter().map(shown).collect();
        Paragraph::new(lines).render(rows[3], buffer);
    } else {
        charts(state, rows[3], buffer);
    }
    put_lines(&device_lines(state), rows[4], buffer);
    put_lines(&validation_lines(state), rows[5], buffer);
    put(&keys(state), Style::new().add_modifier(Modifier::REVERSED), rows[6], buffer);
}

/// The keys, and what became of the last of them.
fn keys(state: &State) -> String {
    if state.stopping {
        return "stopping after this step; once more to stop at once".into();
    }
    let saving = match state.saving {
        Saving::Not => String::new(),
        Saving::Asked => "   saving after this step".into(),
        Saving::Saved(step) => format!("   saved after step {}", thousands(step)),
    };
    format!("q stop and save   s save now   l log{saving}")
}

fn put(text: &str, style: Style, area: Rect, buffer: &mut Buffer) {
    if area.height > 0 {
        let width = usize::from(area.width);
        buffer.set_stringn(area.x, area.y, cut(text, width), width, style);
    }
}

/// Lines of which the first is a heading.
fn put_lines(lines: &[String], area: Rect, buffer: &mut Buffer) {
    for (index, line) in lines.iter().take(usize::from(area.height)).enumerate() {
        let style = if index == 0 { Style::new().fg(Color::DarkGray) } else { Style::new() };
        put(line, style, Rect { y: area.y + index as u16, height: 1, ..area }, buffer);
    }
}

/// Images of the run, or of what is done between steps.
fn progress(state: &State, area: Rect, buffer: &mut Buffer) {
    let (label, done, all) = match state.phase {
        Some((Phase::MeanImage, done, all)) => {
            ("mean image of the training images".to_owned(), done as u64, all as u64)
        }
        Some((Phase::Validation, done, all)) => ("validation".to_owned(), done as u64, all as u64),
        None => {
            let (seen, all) = (state.seen, state.extent.images);
            let new = seen.saturating_sub(state.before);
            let left = state.begun.elapsed().as_secs_f64() * all.saturating_sub(seen) as f64 / new.max(1) as f64;
            let left = if new > 0 { format!(", {} left", duration(left)) } else { String::new() };
            (format!("epoch {}/{}{left}", state.epoch, state.extent.epochs), seen, all)
        }
    };
    let share = if all > 0 { (done as f64 / all as f64).clamp(0.0, 1.0) } else { 0.0 };
    let label = cut(&format!("{label}, {:.0} %", 100.0 * share), usize::from(area.width));
    let gauge = Gauge::default().ratio(share).label(label);
    gauge.gauge_style(Style::new().fg(Color::Blue).bg(Color::Reset)).render(area, buffer);
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The last steps in a line.
fn now(state: &State) -> String {
    let last = &state.run.steps[state.run.steps.len().saturating_sub(RECENT)..];
    let Some(newest) = last.last() else { return "no step yet".into() };
    let mean = |of: fn(&Metric) -> f64| last.iter().map(of).sum::<f64>() / last.len() as f64;
    let took = newest.seconds - last[0].seconds;
    let waits = if took > 0.0 { 100.0 * mean(|metric| metric.wait) * last.len() as f64 / took } else { 0.0 };
    format!(
        "step {}  loss {:.3}  error {:.1} %  rate {}  {:.0} images/s  waits {:.0} %",
        thousands(newest.step),
        mean(|metric| metric.loss),
        100.0 * mean(|metric| metric.top1_error),
        short(f64::from(newest.rate)),
        newest.images_per_second,
        waits.min(100.0)
    )
}

fn charts(state: &State, area: Rect, buffer: &mut Buffer) {
    let curves: &[Curve] = if area.width < TWO { &[Curve::Loss] } else { &[Curve::Loss, Curve::Error] };
    let places = Layout::horizontal(vec![Constraint::Fill(1); curves.len()]).spacing(2).split(area);
    for (curve, place) in curves.iter().zip(places.iter()) {
        if let Some(chart) = chart(std::slice::from_ref(&state.run), *curve, Over::Step, false) {
            TextChart { chart: &chart, colours: wants_colours() }.render_to(*place, buffer);
        }
    }
}

/// What the devices did in the last step that was measured.
fn device_lines(state: &State) -> Vec<String> {
    let Some(record) = &state.record else { return Vec::new() };
    let ms = |seconds: f64| format!("{:.1}", 1e3 * seconds);
    let head = format!(
        "{:8}{:>10}{:>10}{:>10}{:>13}   ms of {}, exchange {}",
        "towers",
        "compute",
        "waiting",
        "other",
        "memory",
        ms(record.seconds),
        ms(record.exchange)
    );
    let line = |device: &alexnet::session::DeviceTimes| {
        let times = device.parts.map_or_else(
            || format!("{:>30}", "no clock"),
            |parts| format!("{:>10}{:>10}{:>10}", ms(parts.compute), ms(parts.waiting), ms(parts.other)),
        );
        let memory = bytes(device.allocated.unwrap_or(device.planned));
        format!("{:8}{times}{memory:>13}   {}", device.towers, printable(&device.device))
    };
    std::iter::once(head).chain(record.devices.iter().map(line)).collect()
}

/// The last validations, the newest first.
fn validation_lines(state: &State) -> Vec<String> {
    let best = state.run.validations.iter().map(|metric| metric.top1_error).fold(f64::INFINITY, f64::min);
    let line = |metric: &Metric| {
        let [top1, top5] = [metric.top1_error, metric.top5_error].map(|share| 100.0 * share);
        let mark = if metric.top1_error == best { "  best" } else { "" };
        format!(
            "epoch {:3}   loss {:.3}   top-1 error {top1:.1} %   top-5 error {top5:.1} %{mark}",
            metric.epoch, metric.loss
        )
    };
    let last = state.run.validations.iter().rev().take(VALIDATIONS).map(line);
    let head = if best.is_finite() { "validations" } else { "no validation yet" };
    std::iter::once(head.to_owned()).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use alexnet::runs::Run;
    use alexnet::train::Extent;

    use super::*;

    fn state() -> State {
        let step = |i: u32| {
            format!(
                r#"{{"kind":"step","step":{i},"epoch":1,"loss":{},"top1_error":0.5,"top5_error":0.1,"images_per_second":90.0,"rate":0.01,"seconds":{i}}}"#,
                2.0 / f64::from(i)
            )
        };
        let validation = r#"{"kind":"validation","step":100,"epoch":1,"loss":1.5,"top1_error":0.4,"top5_error":0.1,"images_per_second":90.0}"#;
        let lines: Vec<String> = (1..=100).map(step).chain([validation.into(), String::new()]).collect();
        State {
            run: Run::parse(lines.join("\n").as_bytes()),
            extent: Extent { epochs: 2, images: 200, done: 0 },
            epoch: 1,
            seen: 100,
            log: vec!["a line".into()],
            ..State::empty("mini\u{1b}[31m on cpu".into())
        }
    }

    fn text(state: &State, width: u16, height: u16) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(state, buffer.area, &mut buffer);
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn everything_is_seen_on_a_small_terminal_and_nothing_breaks_on_a_smaller_one() {
        let mut state = state();
        let shown = text(&state, 80, 24);
        for part in [
            "mini\\u001b[31m on cpu",
            "epoch 1/2",
            "50 %",
            "step 100",
            "rate 0.01",
            "loss, nats",
            "top-1 error 40.0 %",
            "q stop",
        ] {
            assert!(shown.contains(part), "no {part} in\n{shown}");
        }
        assert!(text(&state, 30, 24).contains("step 100  loss 0.028  error 5…"), "what is cut is marked");
        state.saving = Saving::Asked;
        assert!(text(&state, 80, 24).contains("l log   saving after this step"));
        state.saving = Saving::Saved(1234);
        assert!(text(&state, 80, 24).contains("l log   saved after step 1,234"));
        state.shows_log = true;
        assert!(text(&state, 80, 24).contains("a line"));
        for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 10), (200, 50), (500, 3)] {
            for shows_log in [false, true] {
                state.shows_log = shows_log;
                text(&state, width, height);
            }
        }
    }
}
