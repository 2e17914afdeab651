//! `alexnet eval`: errors, confusions and predictions on validation images.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::options::{On, Pictured, named};
use super::output::{Output, Table, counted, gap, line, percent, skipped, thousands};
use super::picture::PictureFile;
use super::progress::{Lines, Progress};
use super::ranks::among_ranks;
use super::signals::Signals;
use alexnet::eval::{
    Answers, CONTEST_CLASSES, EnsembleWeights, EvalOptions, Evaluation, PAPER, ScoreRow, TestViews, evaluate_among,
};
use alexnet::files::{FileError, FileKind, check_target, expect_distinct, expect_other, read_text, write_file};
use alexnet::ranks::Ranks;
use alexnet::report::confusion;

#[derive(Debug, Args)]
pub(super) struct Eval {
    /// A run folder (its best checkpoint), a checkpoint or an ONNX file, or with --model weights of another program;
    /// the probabilities of several are averaged as an ensemble
    #[arg(value_name = "RUN|CHECKPOINT|MODEL.onnx|WEIGHTS", required = true)]
    checkpoints: Vec<PathBuf>,
    /// Data whose validation images are scored, or a folder of classes; train/ need not be there, and classes may be a
    /// part of the network's or in another order [default: the run's own, else the bundled sample]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Views of each image, whose probabilities are averaged: the centre, or corners and centre and their mirror images
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = named::<TestViews>())]
    views: TestViews,
    /// Weight of each network in the ensemble [default: equal]
    #[arg(long, value_name = "W,...", value_delimiter = ',')]
    weights: Vec<f64>,
    /// Search for the weights with the lowest top-5 error on these images, then top-1 error, then loss
    #[arg(long, conflicts_with = "weights")]
    search: bool,
    /// Write the best labels of every image (.csv) or all probabilities (.safetensors)
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Names of the classes, one a line: in the order of the outputs, or each behind the name that the network has for
    /// it
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Number of most frequent confusions to list
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    confusions: usize,
    #[command(flatten)]
    pictured: Pictured,
    #[command(flatten)]
    on: On,
    /// Images in a batch
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    #[command(flatten)]
    output: Output,
}

/// Files about every image and class.
#[derive(Debug, Args)]
struct Files {
    /// Write the file of the contest: a line for each image, by the names of their files, with the numbers of its five
    /// best classes, from 1 in the network's order
    #[arg(long, value_name = "FILE.txt")]
    contest: Option<PathBuf>,
    /// WordNet ids, one a line, whose places are the numbers of the classes in that file: the order of ILSVRC2012_ID
    #[arg(long, value_name = "FILE", requires = "contest")]
    contest_ids: Option<PathBuf>,
    /// Write the errors of each class as a table
    #[arg(long, value_name = "FILE.csv")]
    per_class: Option<PathBuf>,
    /// Write how many images of each class are taken for each, as a table (.csv) or a picture (.png, .svg)
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
}

/// What of [`Files`] there is to know before there is anything to write.
struct Checked<'p> {
    matrix: Option<Matrix<'p>>,
    /// Path and text of the list of WordNet ids.
    ids: Option<(&'p Path, String)>,
}

/// Form of the confusion matrix.
enum Matrix<'p> {
    Table(&'p Path),
    Picture(PictureFile),
}

impl Files {
    /// Checks that these and `predictions` may be written, to files of their own and to none of `inputs`, and reads the
    /// list of ids; the form of the confusion matrix is told by its extension.
    fn check(&self, predictions: Option<&Path>, inputs: &[PathBuf]) -> Result<Checked<'_>> {
        let check = |path: &Option<PathBuf>, kind| path.as_ref().map_or(Ok(()), |path| check_target(path, kind, None));
        check(&self.contest, FileKind::Contest)?;
        check(&self.per_class, FileKind::Csv)?;
        let matrix = match &self.confusion {
            Some(path) if path.extension().is_some_and(|extension| extension == "csv") => {
                check_target(path, FileKind::Csv, None)?;
                Some(Matrix::Table(path))
            }
            path => path.as_deref().map(PictureFile::new).transpose()?.map(Matrix::Picture),
        };
        let own = [&self.contest, &self.per_class, &self.confusion].into_iter().flatten();
        let written: Vec<&Path> = own.map(PathBuf::as_path).chain(predictions).collect();
        expect_distinct(&written)?;
        written.into_iter().try_for_each(|path| expect_other(path, inputs))?;
        let ids = self.contest_ids.as_deref();
        let ids = ids.map(|path| read_text(path).map(|text| (path, text)).map_err(FileError::read(path))).transpose();
        Ok(Checked { matrix, ids: ids.context("--contest-ids")? })
    }

    fn write(&self, Checked { matrix, ids }: Checked<'_>, answers: &Answers) -> Result<()> {
        if let Some(path) = &self.contest {
            let lines = answers.contest(ids.as_ref().map(|(path, text)| (*path, text.as_str())));
            write_file(path, &lines.context("--contest-ids")?)?;
            if answers.lost() > 0 {
                let lost = counted(answers.lost() as u64, "image");
                log::warn!("{}: the numbers of {lost} that cannot be decoded are 0", path.display());
            }
        }
        if let Some(path) = &self.per_class {
            write_file(path, &answers.class_table()?)?;
        }
        match matrix {
            None => Ok(()),
            Some(Matrix::Table(path)) => Ok(write_file(path, &answers.confusion_table()?)?),
            Some(Matrix::Picture(file)) => file.write(&confusion(&answers.counts(), &answers.classes)),
        }
    }
}

impl Eval {
    pub(super) fn run(self, signals: &Signals) -> Result<()> {
        among_ranks(None, false, signals, |ranks| self.evaluate(ranks))
    }

    fn evaluate(self, ranks: &Ranks) -> Result<()> {
        let checked = self.files.check(self.predictions.as_deref(), &self.checkpoints)?;
        let weights = match (self.search, self.weights.is_empty()) {
            (true, _) => EnsembleWeights::Searched,
            (false, true) => EnsembleWeights::Equal,
            (false, false) => EnsembleWeights::Given(self.weights),
        };
        let imported = self.pictured.imported(&self.checkpoints)?;
        let first = self.checkpoints[0].clone();
        let request = EvalOptions {
            checkpoints: self.checkpoints,
            imported,
            preprocessing: self.pictured.into(),
            data: self.data,
            classes: self.classes,
            viewing: self.views,
            weights,
            batch: self.batch as usize,
            confusions: self.confusions,
            predictions: self.predictions,
        };
        let progress = Progress::new("evaluating", "views", Lines::Errors);
        let devices = self.on.watched_among(&first, ranks.local())?;
        let result = evaluate_among(&request, ranks, &devices, &mut |done, all| {
            progress.length(all);
            progress.position(done);
        })?;
        drop(progress);
        if !ranks.is_first() {
            return Ok(());
        }
        let searched = request.weights == EnsembleWeights::Searched && request.checkpoints.len() > 1;
        self.output.tell(&result, |result| print(result, searched))?;
        self.files.write(checked, &result.answers)
    }
}

fn print(evaluation: &Evaluation, searched: bool) -> Result<()> {
    line(format_args!("{} validation images, on {}", thousands(evaluation.images as u64), evaluation.device))?;
    gap()?;
    let mut rows =
        Table::new(&["network", "steps", "weight", "views", "loss", "top-1 error", "top-5 error"], &[1, 2, 3, 4, 5, 6]);
    for row in &evaluation.rows {
        rows.add_row(cells(row));
    }
    rows.print()?;
    if evaluation.answers.classes.len() == CONTEST_CLASSES {
        gap()?;
        line("the paper's Table 2, all validation images of ILSVRC-2012 by ten views:")?;
        let mut rows = Table::new(&["networks", "top-1 error", "top-5 error"], &[1, 2]);
        for row in PAPER {
            rows.add_row([row.networks, &percent(row.top1_error), &percent(row.top5_error)]);
        }
        rows.print()?;
    }
    if searched {
        gap()?;
        line("the weights were searched on these images, so that on others the error is a little higher")?;
    }
    if !evaluation.confusions.is_empty() {
        gap()?;
        line("most often mistaken:")?;
        let mut rows = Table::new(&["class", "taken for", "images", "of the class"], &[2, 3]);
        for pair in &evaluation.confusions {
            let share = percent(pair.share);
            rows.add_row([&pair.class, &pair.taken_for, &thousands(pair.images as u64), &share]);
        }
        rows.print()?;
    }
    if !evaluation.skipped.is_empty() {
        gap()?;
    }
    skipped(&evaluation.skipped);
    Ok(())
}

fn cells(row: &ScoreRow) -> [String; 7] {
    let ScoreRow { network, steps, weight, views, loss, top1_error, top5_error } = row;
    [
        network.clone(),
        steps.map_or_else(String::new, thousands),
        weight.map_or_else(String::new, |weight| format!("{weight:.3}")),
        views.to_string(),
        format!("{loss:.4}"),
        percent(*top1_error),
        percent(*top5_error),
    ]
}
