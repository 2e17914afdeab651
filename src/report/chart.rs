//! Charts: curves over an axis, with ticks at round numbers.

use super::picture::{Anchor, Ink, LETTER, Mark, Picture, TEXT, fitted, wrapped};

/// Points of a curve at most that say their values when they are pointed at.
const TIPS: usize = 60;

/// Least share of its size that an axis spans: what differs by less is rounding, drawn as one level.
const LEAST_SPAN: f64 = 1e-5;

/// Digits of an axis's labels: as many as tell them apart.
const DIGITS: std::ops::RangeInclusive<i32> = 4..=12;

/// Room for the labels of the axis upwards, at least.
const LEFT: f32 = 58.0;
const RIGHT: f32 = 14.0;
const BELOW: f32 = 34.0;

/// Height of a line of the head.
const LINE: f32 = 18.0;

/// Curves over one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Quantity that is drawn, with its unit.
    pub title: String,
    /// Quantity from left to right.
    pub across: String,
    /// Whether the logarithm is drawn.
    pub log: bool,
    /// Whether values are shares, written in percent; none is above 100 %.
    pub percent: bool,
    /// Whether places are whole numbers.
    pub whole: bool,
    pub series: Vec<Series>,
    /// Places that are marked, with a word about each.
    pub marked: Vec<(f64, String)>,
}

/// A curve of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Places and values, by rising places.
    pub points: Vec<[f64; 2]>,
    /// Number of the colour, that of the series.
    pub colour: usize,
    /// Whether the line has gaps.
    pub dashed: bool,
}

/// Places of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// Least value, of which the logarithm is drawn where `log` is set.
    pub least: f64,
    /// Largest value, above `least`.
    pub most: f64,
    /// Whether the logarithm is drawn.
    pub log: bool,
    /// Whether only whole numbers are labelled.
    pub whole: bool,
}

impl Scale {
    /// A scale on which all finite `values` have their places.
    pub fn of(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let usable = |value: &f64| value.is_finite() && (!log || *value > 0.0);
        let (least, most) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        let (least, most) = if least <= most { (least, most) } else { (0.5, 1.0) };
        if log {
            let (low, high) = (least.log10().floor(), most.log10().ceil());
            // A decade or more is shown whole; less than that by its ends.
            let whole = most / least > 5.0;
            let (least, most) = if whole { (10_f64.powf(low), 10_f64.powf(high)) } else { (0.9 * least, 1.1 * most) };
            return Self { least, most, log, whole: false };
        }
        let room = if most > least { 0.04 * (most - least) } else { 0.1 * most.abs().max(1e-9) };
        let room = room.max(LEAST_SPAN * most.abs());
        // What is near 0 is shown from 0 on.
        let from_zero = least >= 0.0 && least < 0.3 * most;
        Self { least: if from_zero { 0.0 } else { least - room }, most: most + room, log, whole: false }
    }

    /// The scale from the least to the largest of `values` without room at its ends, of whole numbers where `whole`.
    pub fn exact(values: impl Iterator<Item = f64>, whole: bool) -> Self {
        let (least, most) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        // Means of steps lie between them.
        let (least, most) = if whole { (least.floor(), most.ceil()) } else { (least, most) };
        if least < most {
            Self { least, most, log: false, whole }
        } else {
            Self { least: 0.0, most: most.max(1.0), log: false, whole }
        }
    }

    /// Place of `value`, of 0 to 1; beyond where it does not lie on the scale.
    pub fn place(&self, value: f64) -> f64 {
        let at = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        (at(value) - at(self.least)) / (at(self.most) - at(self.least))
    }

    /// About `count` round values on the scale.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log && self.most / self.least >= 10.0 {
            let (low, high) = (self.least.log10().round() as i32, self.most.log10().round() as i32);
            let every = ((high - low) as usize).div_ceil(count.max(1)).max(1);
            return (low..=high).step_by(every).map(|power| 10_f64.powi(power)).collect();
        }
        let step = round_step((self.most - self.least) / count.max(1) as f64).max(if self.whole { 1.0 } else { 0.0 });
        let first = (self.least / step - 1e-9).ceil();
        // Divided where the step is a fraction: 3 / 5 is 0.6, 3 times 0.2 is not.
        let parts = (1.0 / step).round();
        let at = |i: f64| if step < 1.0 { i / parts } else { i * step };
        (0..=2 * count + 2)
            .map(|i| at(first + i as f64))
            .take_while(|value| *value <= self.most * (1.0 + 1e-12) + 1e-9 * step)
            .collect()
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.abs().max(1e-300).log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    rounds.into_iter().find(|round| *round >= step * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// A number with as many digits as it takes: 12k, 2.5, 0.001, 3e-5.
pub fn short(value: f64) -> String {
    with_digits(value, *DIGITS.start())
}

/// A number as [`short`] writes it, with at most so many digits that count.
fn with_digits(value: f64, digits: i32) -> String {
    match value.abs() {
        _ if value == 0.0 => "0".into(),
        1e6.. => format!("{}M", trimmed(value / 1e6, digits)),
        1e4.. => format!("{}k", trimmed(value / 1e3, digits)),
        1e-3.. => trimmed(value, digits),
        _ => {
            let after = (digits - 3).max(1) as usize;
            let text = format!("{value:.after$e}");
            let (number, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{power}", number.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// At most `digits` digits that count.
fn trimmed(value: f64, digits: i32) -> String {
    let digits = (digits - 1 - value.abs().log10().floor() as i32).clamp(0, digits + 2) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Chart {
    /// `value` as the chart writes it.
    pub fn shown(&self, value: f64) -> String {
        self.written(value, *DIGITS.start())
    }

    fn written(&self, value: f64, digits: i32) -> String {
        if self.percent { format!("{} %", with_digits(100.0 * value, digits)) } else { with_digits(value, digits) }
    }

    /// Labels of the `ticks` of the axis upwards, with as many digits as tell them apart.
    pub fn labels(&self, ticks: &[f64]) -> Vec<String> {
        let all = |digits| ticks.iter().map(|&tick| self.written(tick, digits)).collect::<Vec<_>>();
        let differ = |labels: &Vec<String>| labels.windows(2).all(|pair| pair[0] != pair[1]);
        DIGITS.map(all).find(differ).unwrap_or_else(|| all(*DIGITS.end()))
    }

    /// Scales across and upwards.
    pub fn scales(&self) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let mut upwards = Scale::of(points().map(|point| point[1]), self.log);
        if self.percent {
            (upwards.least, upwards.most) = (upwards.least.max(0.0), upwards.most.min(1.0));
        }
        (Scale::exact(points().map(|point| point[0]), self.whole), upwards)
    }

    /// The chart as a picture.
    pub fn draw(&self, width: f32, height: f32) -> Picture {
        let mut picture = Picture::new(width, height, self.about());
        let title = wrapped(&self.title, TEXT + 2.0, width);
        for (line, text) in title.iter().enumerate() {
            picture.marks.push(Mark::Text {
                at: [0.0, 14.0 + LINE * line as f32],
                text: text.clone(),
                ink: Ink::Text,
                size: TEXT + 2.0,
                anchor: Anchor::Start,
            });
        }
        let top = self.legend(&mut picture, (1 + title.len()) as f32 * LINE) + 0.8 * LINE;
        let (across, upwards) = self.scales();
        let [right, bottom] = [width - RIGHT, height - BELOW];
        let ticks = upwards.ticks(((bottom - top) / 36.0) as usize);
        let labels = self.labels(&ticks);
        let widest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let left = LEFT.max(LETTER * TEXT * widest as f32 + 12.0);
        let x = |value: f64| left + (right - left) * across.place(value) as f32;
        let y = |value: f64| bottom - (bottom - top) * upwards.place(value).clamp(-0.02, 1.02) as f32;
        for (tick, label) in ticks.into_iter().zip(labels) {
            picture.line([[left, y(tick)], [right, y(tick)]], Ink::Grid, 1.0);
            picture.text([left - 6.0, y(tick) + 4.0], label, Ink::Faint, Anchor::End);
        }
        picture.line([[left, bottom], [right, bottom]], Ink::Faint, 1.0);
        for tick in across.ticks(((right - left) / 60.0) as usize) {
            picture.line([[x(tick), bottom], [x(tick), bottom + 4.0]], Ink::Faint, 1.0);
            picture.text([x(tick), bottom + 16.0], short(tick), Ink::Faint, Anchor::Middle);
        }
        picture.text([right, height - 4.0], self.across.as_str(), Ink::Faint, Anchor::End);
        for (place, word) in &self.marked {
            let points = vec![[x(*place), top], [x(*place), bottom]];
            picture.marks.push(Mark::Line { points, ink: Ink::Faint, width: 1.0, dashed: true });
            picture.area([x(*place) - 3.0, top, 6.0, bottom - top], Ink::None, 1.0, word.as_str());
        }
        let drawn = |point: &&[f64; 2]| point[1].is_finite() && (!self.log || point[1] > 0.0);
        for series in &self.series {
            let at = |point: &[f64; 2]| [x(point[0]), y(point[1])];
            let (ink, points) = (Ink::Series(series.colour), series.points.iter().filter(drawn));
            let line: Vec<_> = points.clone().map(at).collect();
            if let [only] = line[..] {
                picture.marks.push(Mark::Dot { at: only, radius: 3.0, ink, tip: String::new() });
            }
            picture.marks.push(Mark::Line { points: line, ink, width: 1.6, dashed: series.dashed });
            for point in points.step_by(series.points.len().div_ceil(TIPS).max(1)) {
                let tip = format!("{}: {} at {} {}", series.name, self.shown(point[1]), self.across, short(point[0]));
                picture.marks.push(Mark::Dot { at: at(point), radius: 5.0, ink: Ink::None, tip });
            }
        }
        picture
    }

    /// Names of the curves in lines from `top` on; where they end.
    fn legend(&self, picture: &mut Picture, mut top: f32) -> f32 {
        let mut left = 0.0;
        for series in &self.series {
            let name = fitted(&series.name, picture.width - 40.0);
            let width = 30.0 + LETTER * TEXT * 1.12 * name.chars().count() as f32;
            if left > 0.0 && left + width > picture.width {
                (left, top) = (0.0, top + LINE);
            }
            let (points, ink) = (vec![[left, top - 4.0], [left + 18.0, top - 4.0]], Ink::Series(series.colour));
            picture.marks.push(Mark::Line { points, ink, width: 2.0, dashed: series.dashed });
            picture.text([left + 23.0, top], name, Ink::Faint, Anchor::Start);
            left += width + 14.0;
        }
        top
    }

    /// What the chart shows, in words: where every curve begins, and where it ends.
    fn about(&self) -> String {
        let series = |series: &Series| {
            let (first, last) = (series.points.first()?, series.points.last()?);
            let (from, to) = (self.shown(first[1]), self.shown(last[1]));
            Some(format!("{} from {from} to {to}", series.name))
        };
        let curves: Vec<_> = self.series.iter().filter_map(series).collect();
        format!("{} by {}: {}.", self.title, self.across, curves.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_on_the_scale() {
        let ticks = |values: &[f64], log| Scale::of(values.iter().copied(), log).ticks(5);
        assert_eq!(ticks(&[0.02, 2.3], false), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(&[100.0, 104.0], false), [100.0, 101.0, 102.0, 103.0, 104.0]);
        assert_eq!(ticks(&[1e-5, 0.02], true), [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]);
        assert_eq!(ticks(&[f64::NAN], false), [0.6, 0.8, 1.0], "nothing to show");
        assert!(!ticks(&[3.0, 3.0], false).is_empty() && !ticks(&[3.0, 3.0], true).is_empty());
        assert!(ticks(&[1e300, 1e308], false).len() < 13);
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let got = [0.0, 12_345.0, 2.5, 0.001, 3e-5, 1.0, 90.0, 2_500_000.0, -0.25, 9999.0].map(short);
        assert_eq!(got, ["0", "12.35k", "2.5", "0.001", "3e-5", "1", "90", "2.5M", "-0.25", "9999"]);
    }

    fn chart(points: Vec<[f64; 2]>) -> Chart {
        Chart {
            title: "loss".into(),
            across: "step".into(),
            log: false,
            percent: false,
            whole: true,
            series: vec![Series { name: "a".into(), points, colour: 0, dashed: false }],
            marked: Vec::new(),
        }
    }

    #[test]
    fn labels_of_nearly_equal_values_differ() {
        for (least, most) in
            [(123_456.1, 123_456.9), (100.0, 100.000_001), (0.5, 0.500_02), (3e-5, 3.000_1e-5), (2.0, 2.0)]
        {
            let chart = chart(vec![[0.0, least], [1.0, most]]);
            let labels = chart.labels(&chart.scales().1.ticks(5));
            assert!(labels.len() > 1 && labels.windows(2).all(|pair| pair[0] != pair[1]), "{least}: {labels:?}");
        }
        assert_eq!(chart(Vec::new()).labels(&[0.0, 0.5, 1.0]), ["0", "0.5", "1"]);
    }

    #[test]
    fn errors_end_at_100_percent_and_steps_are_whole() {
        let chart = Chart { percent: true, ..chart(vec![[1.0, 0.9], [4.0, 1.0]]) };
        let (across, upwards) = chart.scales();
        assert_eq!((upwards.most, across.ticks(10)), (1.0, vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(chart.labels(&upwards.ticks(3)).last().unwrap(), "100 %");
    }

    #[test]
    fn a_title_that_is_too_long_takes_two_lines() {
        let chart = Chart { title: "a long title ".repeat(5).trim().into(), ..chart(vec![[0.0, 1.0], [1.0, 2.0]]) };
        let picture = chart.draw(344.0, 260.0);
        let is_title = |mark: &&Mark| matches!(mark, Mark::Text { size, .. } if *size > TEXT);
        assert_eq!(picture.marks.iter().filter(is_title).count(), 2);
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        let chart = Chart { log: true, ..chart(vec![[0.0, f64::NAN]]) };
        assert!(super::super::svg::svg_file(&chart.draw(400.0, 200.0)).contains("loss"));
        assert!(super::super::png::png_file(&chart.draw(400.0, 200.0)).is_some());
    }
}
