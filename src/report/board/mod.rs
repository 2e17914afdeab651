//! A run as TensorBoard shows it: scalars of every step, histograms and movements of the weights, filters, images and
//! the configuration.

mod events;
#[rustfmt::skip]
#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::enum_variant_names,
    clippy::pedantic,
    reason = "generated; the text in assets/proto has the comments"
)]
mod proto;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use self::events::EventFile;
use self::proto::summary::{Image, Value, value};
use self::proto::{
    DataType, HistogramProto, SummaryMetadata, TensorProto, TensorShapeProto, summary_metadata, tensor_shape_proto,
};
use super::filters::images;
use super::picture::Pixels;
use super::png::encoded;
use crate::data::{Batch, View};
use crate::tensor::Tensor;
use crate::train::{Config, Metric, Movement, Observer};

/// Images in a row and in a column of a batch that is shown.
const GRID: usize = 4;

/// Buckets of a histogram on either side of 0; each is by this factor as wide as the one before.
const BUCKETS: i32 = 24;
const FACTOR: f64 = 1.4;

/// Observer of a run that writes event files into its folder. That it cannot is no reason to end a run.
pub struct Board {
    folder: PathBuf,
    /// Configuration of the run, as text.
    configuration: String,
    /// Side of the network's input in pixels.
    size: usize,
    state: Events,
    /// Learning rates of weights and biases, told when they change.
    rates: Option<[f32; 2]>,
    /// The first batch as the network sees it, until it is written.
    batch: Option<Pixels>,
}

/// The file, which is begun with the first event.
enum Events {
    Coming,
    Open(EventFile),
    /// It cannot be written; that was told.
    Failed,
}

impl Board {
    /// Watches the run of `config` in `folder`.
    pub fn new(folder: &Path, config: &Config) -> Self {
        let configuration = toml::to_string(config).unwrap_or_default();
        let (folder, size) = (folder.to_owned(), config.network.input.size);
        Self { folder, configuration, size, state: Events::Coming, rates: None, batch: None }
    }

    fn write(&mut self, step: u64, values: Vec<Value>, flush: bool) {
        if let Err(error) = self.try_to_write(step, values, flush) {
            log::warn!("the event file of TensorBoard cannot be written ({error}); the run goes on without it");
            self.state = Events::Failed;
        }
    }

    fn try_to_write(&mut self, step: u64, values: Vec<Value>, flush: bool) -> io::Result<()> {
        if let Events::Coming = self.state {
            // The first event comes with the end of a step or with the validation after it.
            let mut file = EventFile::create(&self.folder, step.saturating_sub(1))?;
            file.summary(step, vec![words("configuration", &format!("```toml\n{}\n```", self.configuration))])?;
            self.state = Events::Open(file);
        }
        let Events::Open(file) = &mut self.state else { return Ok(()) };
        file.summary(step, values)?;
        if flush { file.flush() } else { Ok(()) }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Events::Open(file) = &mut self.state
            && let Err(error) = file.flush()
        {
            log::warn!("the event file of TensorBoard lacks the last steps ({error})");
        }
    }
}

impl Observer for Board {
    fn epoch(&mut self, _: usize, _: usize, _: usize, _: usize) {}

    fn batch(&mut self, batch: &Batch) {
        if let Events::Coming = self.state {
            self.batch = Some(grid(batch, self.size));
        }
    }

    fn step(&mut self, metric: &Metric, _images: usize) {
        let mut values = vec![
            scalar("loss/training", metric.loss),
            scalar("error/training", metric.top1_error),
            scalar("speed/images per second", metric.images_per_second),
            scalar("seconds/waiting for images", metric.wait),
            scalar("seconds/waiting for devices", metric.device),
        ];
        values.extend(self.batch.take().map(|pixels| picture("batch", &pixels)));
        let rates = [metric.rate, metric.bias_rate];
        if self.rates.replace(rates) != Some(rates) {
            values.extend(rates_of(metric));
        }
        self.write(metric.step, values, false);
    }

    fn validation(&mut self, metric: &Metric) {
        let mut values = vec![
            scalar("loss/validation", metric.loss),
            scalar("error/validation", metric.top1_error),
            scalar("error/validation top-5", metric.top5_error),
        ];
        values.extend(rates_of(metric));
        self.write(metric.step, values, true);
    }

    fn weights(&mut self, step: u64, tensors: &BTreeMap<String, Tensor>, movements: &BTreeMap<String, Movement>) {
        let mut values = Vec::new();
        for (name, movement) in movements {
            values.push(scalar(&format!("size/{name}"), movement.weight));
            values.push(scalar(&format!("movement/{name}"), movement.ratio));
            let Some(tensor) = tensors.get(name) else { continue };
            values.push(histogram(&format!("weights/{name}"), tensor.values()));
            if name.contains(".weights") && matches!(tensor.shape(), [3, _, _, _]) {
                values.push(picture(&format!("filters/{name}"), &tiled(&images(tensor, None))));
            }
        }
        self.write(step, values, true);
    }
}

fn rates_of(metric: &Metric) -> [Value; 2] {
    [scalar("rate/weights", f64::from(metric.rate)), scalar("rate/biases", f64::from(metric.bias_rate))]
}

fn named(tag: &str, value: value::Value) -> Value {
    Value { tag: tag.into(), metadata: None, value: Some(value) }
}

fn scalar(tag: &str, number: f64) -> Value {
    named(tag, value::Value::SimpleValue(number as f32))
}

fn picture(tag: &str, pixels: &Pixels) -> Value {
    let (height, width) = (pixels.height as i32, pixels.width as i32);
    // 3: red, green and blue.
    let image = Image { height, width, colorspace: 3, encoded_image_string: encoded(pixels) };
    named(tag, value::Value::Image(image))
}

fn words(tag: &str, text: &str) -> Value {
    let plugin_data = Some(summary_metadata::PluginData { plugin_name: "text".into() });
    let tensor = TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(TensorShapeProto { dim: vec![tensor_shape_proto::Dim { size: 1 }] }),
        string_val: vec![text.as_bytes().to_vec()],
    };
    let metadata = Some(SummaryMetadata { plugin_data });
    Value { tag: tag.into(), metadata, value: Some(value::Value::Tensor(tensor)) }
}

/// Counts of `values` in buckets that grow with the distance from 0; those that are empty on the outside are left out.
fn histogram(tag: &str, values: &[f32]) -> Value {
    let numbers = || values.iter().map(|&value| f64::from(value));
    let most = numbers().map(f64::abs).fold(f64::MIN_POSITIVE, f64::max);
    let positive: Vec<f64> = (0..BUCKETS).rev().map(|power| most / FACTOR.powi(power)).collect();
    let limits: Vec<f64> = positive.iter().rev().map(|limit| -limit).chain(positive.iter().copied()).collect();
    let mut counts = vec![0.0; limits.len()];
    for number in numbers() {
        let bucket = limits.partition_point(|limit| *limit < number).min(limits.len() - 1);
        counts[bucket] += 1.0;
    }
    let first = counts.iter().position(|count| *count > 0.0).unwrap_or(0).saturating_sub(1);
    let last = counts.iter().rposition(|count| *count > 0.0).unwrap_or(0);
    let histo = HistogramProto {
        min: numbers().fold(f64::INFINITY, f64::min),
        max: numbers().fold(f64::NEG_INFINITY, f64::max),
        num: values.len() as f64,
        sum: numbers().sum(),
        sum_squares: numbers().map(|number| number * number).sum(),
        bucket_limit: limits[first..=last].to_vec(),
        bucket: counts[first..=last].to_vec(),
    };
    named(tag, value::Value::Histo(histo))
}

/// `tiles` of one size side by side, with a line between.
fn tiled(tiles: &[Pixels]) -> Pixels {
    let Some(first) = tiles.first() else { return Pixels { width: 1, height: 1, bytes: vec![0; 3] } };
    let columns = (tiles.len() as f64).sqrt().ceil() as usize;
    let (across, down) = (first.width + 1, first.height + 1);
    let (width, height) = (columns * across, tiles.len().div_ceil(columns) * down);
    let mut bytes = vec![0; 3 * width * height];
    for (index, tile) in tiles.iter().enumerate() {
        let (left, top) = (index % columns * across, index / columns * down);
        for (row, line) in tile.bytes.chunks(3 * tile.width).enumerate() {
            let at = 3 * ((top + row) * width + left);
            bytes[at..at + line.len()].copy_from_slice(line);
        }
    }
    Pixels { width, height, bytes }
}

/// The first images of a batch as the network sees them: cropped, mirrored, in changed colours.
fn grid(batch: &Batch, size: usize) -> Pixels {
    let each = batch.images.len() / batch.labels.len().max(1);
    let stored = ((each / 3) as f64).sqrt().round() as usize;
    let tile = |(image, view): (&[u8], &View)| {
        let mut bytes = Vec::with_capacity(3 * size * size);
        for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
            let column = if view.mirror { size - 1 - column } else { column };
            let at = 3 * ((view.y as usize + row) * stored + view.x as usize + column);
            bytes.extend((0..3).map(|c| (f32::from(image[at + c]) + view.shift[c]).clamp(0.0, 255.0) as u8));
        }
        Pixels { width: size, height: size, bytes }
    };
    let shown = batch.count.min(GRID * GRID);
    tiled(&batch.images.chunks(each.max(1)).zip(&batch.views).take(shown).map(tile).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_value_once() {
        let values: Vec<f32> = (-50..=100).map(|i| i as f32 / 100.0).collect();
        let Some(value::Value::Histo(histo)) = histogram("x", &values).value else { panic!("no histogram") };
        assert_eq!((histo.min, histo.max, histo.num), (-0.5, 1.0, 151.0));
        assert_eq!(histo.bucket.iter().sum::<f64>(), 151.0);
        assert!(histo.bucket_limit.is_sorted() && histo.bucket.len() == histo.bucket_limit.len());
        assert!(histo.bucket.len() < 2 * BUCKETS as usize, "nothing lies near -1");
        let Some(value::Value::Histo(zeros)) = histogram("x", &[0.0; 9]).value else { panic!("no histogram") };
        assert_eq!(zeros.bucket.iter().sum::<f64>(), 9.0);
    }

    #[test]
    fn tiles_lie_side_by_side() {
        let tile = |byte| Pixels { width: 2, height: 1, bytes: vec![byte; 6] };
        let all = tiled(&[tile(1), tile(2), tile(3)]);
        assert_eq!((all.width, all.height), (6, 4));
        assert_eq!(all.bytes[..18], [1, 1, 1, 1, 1, 1, 0, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0]);
    }
}
