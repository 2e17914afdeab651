//! `metrics.jsonl`: an object a line, appended. Each step and each validation of a run stands there once, in order:
//! what a checkpoint does not know of, what is damaged and what was done again is kept aside when the run is resumed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::files::{expect_no_other, write_file};

/// Name of the file in the folder of a run.
pub const METRICS: &str = "metrics.jsonl";

/// Name of the file of the lines that were cut off.
const ASIDE: &str = "metrics-cut.jsonl";

/// Subject of a [`Metric`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A training step on one batch.
    Step,
    /// A pass over the validation images.
    Validation,
}

/// One line about a step or a validation. Lines of older releases lack the fields that have defaults.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Metric {
    /// Kind of the line: a step or a validation.
    pub kind: MetricKind,
    /// Finished steps of the run.
    pub step: u64,
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
    /// Images in a second.
    pub images_per_second: f64,
    /// Images that the loss and the errors are means over; 0 where the line does not tell.
    #[serde(default)]
    pub images: usize,
    /// Seconds that a step waited for its images.
    #[serde(default)]
    pub wait: f64,
    /// Seconds that a step waited for its devices, or computed in their place.
    #[serde(default)]
    pub device: f64,
    /// Learning rate of weights.
    #[serde(default)]
    pub rate: f32,
    /// Learning rate of biases.
    #[serde(default)]
    pub bias_rate: f32,
    /// Mean training loss in nats since the last validation: that of the epoch so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_loss: Option<f64>,
    /// Share of training images since then whose best class was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_top1_error: Option<f64>,
    /// Seconds of training since the run began, without those between a stop and its resumption.
    #[serde(default)]
    pub seconds: f64,
    /// Time of day, in UTC.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339", default = "unknown_time")]
    pub time: SystemTime,
}

/// Writes a time as 2012-09-30T12:34:56Z.
pub(super) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

/// Reads a time as [`rfc3339`] writes it.
pub(super) fn from_rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
}

/// Time of a line that tells none.
pub(super) fn unknown_time() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

/// Point that a run has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// Finished steps of the run.
    pub(super) step: u64,
    /// Whether the validation after the last of them, if one is due, is done.
    pub(super) validated: bool,
}

/// Place of a line in the run.
#[derive(Deserialize)]
struct Stamp {
    kind: String,
    #[serde(alias = "from_step")]
    step: Option<u64>,
    seconds: Option<f64>,
}

impl Reached {
    /// Whether a line belongs to the part of the run that was done.
    fn covers(self, line: &Stamp) -> bool {
        line.step
            .is_none_or(|step| step < self.step || step == self.step && (self.validated || line.kind != "validation"))
    }
}

/// The open file of a run's metrics.
#[derive(Debug)]
pub(super) struct MetricsFile {
    file: File,
    /// Seconds of training that the lines tell of which were there when it was opened.
    pub(super) seconds: f64,
}

impl MetricsFile {
    /// Opens the file in `folder` for a run that goes on from `reached`. Lines beyond that are moved aside, together
    /// with those that a full disk or a crash damaged, or that were written again later. Says what is not there.
    pub(super) fn open(folder: &Path, reached: Reached) -> io::Result<Self> {
        let path = folder.join(METRICS);
        expect_no_other(&path)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Sorted { lines, kept_steps, seconds } = Sorted::new(&bytes, reached);
        let of = |kept| lines.iter().filter(move |line| line.1 == kept).map(|line| line.0);
        let mut aside = of(false).collect::<Vec<_>>().concat();
        if !aside.is_empty() {
            if !aside.ends_with(b"\n") {
                aside.push(b'\n');
            }
            expect_no_other(&folder.join(ASIDE))?;
            let mut cut = OpenOptions::new().append(true).create(true).open(folder.join(ASIDE))?;
            cut.write_all(&aside)?;
            cut.sync_data()?;
            let kept = of(true).collect::<Vec<_>>().concat();
            if bytes.starts_with(&kept) {
                file.set_len(kept.len() as u64)?;
            } else {
                let count = lines
                    .iter()
                    .rposition(|line| line.1)
                    .map_or(0, |end| lines[..end].iter().filter(|line| !line.1).count());
                log::warn!("{}: {count} lines that are damaged or stand twice are moved to {ASIDE}", path.display());
                write_file(&path, &kept).map_err(io::Error::other)?;
                file = OpenOptions::new().append(true).open(&path)?;
            }
        }
        if let Some(missing) = reached.step.checked_sub(kept_steps).filter(|missing| *missing > 0) {
            let (path, all) = (path.display(), reached.step);
            log::warn!("{path}: {missing} of the {all} steps that the checkpoint has are not in it");
        }
        Ok(Self { file, seconds })
    }

    /// Appends a line in one write; of one that does not fit nothing is left.
    pub(super) fn append(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        let before = self.file.metadata()?.len();
        self.file.write_all(&line).inspect_err(|_| {
            // Should this fail as well, the next run on this folder does it.
            let _ = self.file.metadata().and_then(|now| self.file.set_len(before.min(now.len())));
        })
    }

    /// Syncs all lines to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Lines of the file, and whether each is kept.
struct Sorted<'b> {
    lines: Vec<(&'b [u8], bool)>,
    /// Number of steps in what is kept.
    kept_steps: u64,
    /// Seconds of training that it tells of.
    seconds: f64,
}

impl<'b> Sorted<'b> {
    /// Sorts the lines for a run that has come as far as `reached`: of the first that it has not come to, and of one
    /// that is not ended, nothing is kept, nor of what follows.
    fn new(bytes: &'b [u8], reached: Reached) -> Self {
        let mut lines: Vec<_> = bytes.split_inclusive(|&byte| byte == b'\n').map(|line| (line, false)).collect();
        // Of each kind of which a step has one: the steps and the numbers of the lines.
        let mut placed = ["step", "validation", "weights"].map(|kind| (kind, Vec::<(u64, usize)>::new()));
        let mut seconds = 0.0;
        for number in 0..lines.len() {
            let line = lines[number].0;
            let stamp = match serde_json::from_slice::<Stamp>(line) {
                Ok(stamp) if reached.covers(&stamp) && line.ends_with(b"\n") => stamp,
                Err(_) if line.ends_with(b"\n") => continue,
                _ => break,
            };
            for (kind, before) in &mut placed {
                let own = *kind == stamp.kind;
                // A run that goes on from a step, or comes to one, has not done what was written of later ones before.
                let again = |last: u64| stamp.step.is_some_and(|step| last > step || last == step && own);
                if own || matches!(stamp.kind.as_str(), "resume" | "config") {
                    while let Some((_, old)) = before.pop_if(|(last, _)| again(*last)) {
                        lines[old].1 = false;
                    }
                }
                before.extend(stamp.step.filter(|_| own).map(|step| (step, number)));
            }
            (lines[number].1, seconds) = (true, stamp.seconds.unwrap_or(seconds));
        }
        Self { lines, kept_steps: placed[0].1.len() as u64, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 8] = [
        r#"{"kind":"step","step":1}"#,
        r#"{"kind":"weights","step":2,"epoch":1}"#,
        r#"{"kind":"step","step":2}"#,
        r#"{"kind":"validation","step":2}"#,
        r#"{"kind":"config","from_step":2}"#,
        r#"{"kind":"step","step":3}"#,
        r#"{"kind":"step","step":4}"#,
        r#"{"kind":"step","#,
    ];

    fn cut(reached: Reached) -> (usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(METRICS), LINES.join("\n")).unwrap();
        let mut file = MetricsFile::open(folder.path(), reached).unwrap();
        file.append(&serde_json::json!({ "kind": "step", "step": reached.step + 1 })).unwrap();
        let lines = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let (kept, aside) = (lines(METRICS), lines(ASIDE));
        assert!(kept.ends_with('\n') && aside.ends_with('\n'));
        let whole: Vec<_> = kept.lines().take(kept.lines().count() - 1).chain(aside.lines()).collect();
        assert_eq!(whole, LINES, "nothing is lost");
        (kept.lines().count() - 1, aside.lines().count())
    }

    #[test]
    fn lines_that_a_checkpoint_does_not_know_of_are_moved_aside() {
        assert_eq!(cut(Reached { step: 0, validated: true }), (0, 8));
        assert_eq!(cut(Reached { step: 1, validated: true }), (1, 7));
        assert_eq!(cut(Reached { step: 2, validated: false }), (3, 5), "its validation is to come");
        assert_eq!(cut(Reached { step: 2, validated: true }), (5, 3));
        assert_eq!(cut(Reached { step: 4, validated: true }), (7, 1), "half a line is no line");
    }

    #[test]
    fn damaged_lines_and_steps_that_were_done_again_are_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let line = |kind: &str, step: u64, loss: u64| format!(r#"{{"kind":"{kind}","step":{step},"loss":{loss}}}"#);
        let [one, two, again, tested, last] =
            [("step", 1, 1), ("step", 2, 2), ("step", 2, 3), ("validation", 2, 4), ("step", 3, 5)]
                .map(|(kind, step, loss)| line(kind, step, loss));
        let resumed = r#"{"kind":"resume","from_step":1}"#;
        let torn = &two[..9];
        let nul = "\0\0\0";
        let text = [nul, &one, torn, &two, &tested, resumed, &again, &tested, &again, &last, torn].join("\n");
        std::fs::write(folder.path().join(METRICS), text).unwrap();
        drop(MetricsFile::open(folder.path(), Reached { step: 2, validated: true }).unwrap());
        let lines = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(lines(METRICS).lines().collect::<Vec<_>>(), [&one, resumed, &tested, &again]);
        assert_eq!(lines(ASIDE).lines().collect::<Vec<_>>(), [nul, torn, &two, &tested, &again, &last, torn]);
    }

    /// Who copies a log away and empties it leaves no hole in front of the next line.
    #[test]
    fn a_file_that_is_emptied_meanwhile_goes_on_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = MetricsFile::open(folder.path(), Reached { step: 0, validated: true }).unwrap();
        file.append(&1).unwrap();
        File::options().write(true).truncate(true).open(folder.path().join(METRICS)).unwrap();
        file.append(&2).unwrap();
        assert_eq!(std::fs::read(folder.path().join(METRICS)).unwrap(), b"2\n");
    }
}
