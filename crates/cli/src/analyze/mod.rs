//! `northstar experiment analyze-file`: the inference of experiments on a plain file, without a server.
//!
//! One pass over the file collects sufficient statistics for each variant; `northstar-stats` does the rest,
//! exactly as for an experiment that ran on the platform.

mod arguments;
mod cell;
mod collect;
mod compare;
mod report;
mod table;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use northstar_stats::Confidence;

pub use self::report::Report;

use self::{
    arguments::{Metric, Weights},
    collect::{Collected, Columns},
};
use crate::tabular;

/// Compare the variants of an experiment whose rows are in a file.
///
/// Reads CSV, TSV, JSON Lines or Parquet (also gzip or zstd compressed), one row for each unit that was randomised.
/// Reports for each variant against the control the absolute difference and the relative lift with interval and p-value,
/// and whether the variants received the traffic they were meant to (sample-ratio mismatch).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Estimators:
  proportion  Wald interval, p-value of the pooled z test; lift by the delta method
  mean        Welch's t test; lift by the delta method with a normal interval
  ratio       sum over sum, delta method with the row as the unit

Examples:
  northstar experiment analyze-file cookie_cats.csv --variant version --control gate_30 \\
      --metric retention_7
  northstar experiment analyze-file hillstrom.csv --variant segment --control 'No E-Mail' \\
      --metric spend:mean --json
  northstar experiment analyze-file social.csv.gz --variant messages --control Control \\
      --metric primary2006 --weights 'Control=5,Civic Duty=1,Hawthorne=1,Neighbors=1'
  northstar experiment analyze-file days.csv --variant campaign --control a \\
      --metric clicks/impressions:ratio")]
pub struct AnalyzeFile {
    /// The file.
    pub file: PathBuf,
    /// Column that holds the variant of each row.
    #[arg(long, value_name = "COLUMN")]
    pub variant: String,
    /// The variant that the others are compared with.
    #[arg(long, value_name = "VALUE")]
    pub control: String,
    /// Column to compare, and how: `:proportion` for yes or no, `:mean` for amounts, `NUM/DEN:ratio` for a sum over a
    /// sum. Without it, a column of 0 and 1, true and false, or yes and no is a proportion, any other a mean.
    #[arg(long, value_name = "COLUMN[:proportion|mean|ratio]")]
    pub metric: Metric,
    /// Planned traffic of each variant, as shares that sum to 1 or as a ratio of numbers from 1. Equal by default.
    #[arg(long, value_name = "a=0.5,b=0.5")]
    pub weights: Option<Weights>,
    /// Column measured before the experiment that explains part of the metric (CUPED); narrows the interval of a mean.
    #[arg(long, value_name = "COLUMN")]
    pub covariate: Option<String>,
    /// Confidence level of the intervals.
    #[arg(long, value_name = "LEVEL", default_value = "0.95", value_parser = arguments::confidence)]
    pub confidence: Confidence,
    /// Format of the file, if its name does not tell.
    #[arg(long, value_enum)]
    pub format: Option<tabular::Format>,
    /// Delimiter of CSV: one character, or `tab`. Found by itself by default.
    #[arg(long, value_name = "CHAR", value_parser = arguments::delimiter)]
    pub delimiter: Option<u8>,
    /// Leave out rows that cannot be read, and say how many, instead of refusing the file.
    #[arg(long)]
    pub skip_bad_rows: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Reads the file and compares its variants.
///
/// # Errors
/// If the file cannot be read, a named column or the control does not exist, or a row is bad and `skip_bad_rows` is
/// not set. Comparisons that do not exist for the data are part of the report, not errors.
pub fn run(args: &AnalyzeFile) -> anyhow::Result<Report> {
    let progress = ProgressBar::new(0).with_finish(ProgressFinish::AndClear).with_style(
        ProgressStyle::with_template(
            "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        )
        .context("the template of the progress bar is invalid")?,
    );
    let bar = progress.clone();
    let reader = tabular::open(
        &args.file,
        tabular::Options {
            format: args.format,
            delimiter: args.delimiter,
            on_progress: Some(Box::new(move |progress| {
                bar.set_position(progress.bytes_read);
            })),
        },
    )?;
    progress.set_length(reader.progress().bytes_total);
    let columns = Columns::find(&reader, args)?;
    let collected = collect::collect(reader, &columns, args)?;
    progress.finish_and_clear();
    check(&collected, args)?;
    compare::report(&collected, &columns, args)
}

/// Refuses a file in which there is nothing to compare.
fn check(collected: &Collected, args: &AnalyzeFile) -> anyhow::Result<()> {
    let file = args.file.display();
    let bad = &collected.bad;
    if bad.count > 0 && !args.skip_bad_rows {
        let mut shown = bad.first.join("\n  ");
        if bad.count > bad.first.len() as u64 {
            shown.push_str("\n  ...");
        }
        anyhow::bail!(
            "{file}: {} of {} rows cannot be used; correct them, or leave them out with --skip-bad-rows\n  {shown}",
            bad.count,
            collected.rows_read,
        );
    }
    let names: Vec<_> = collected.arms.keys().map(|name| format!("'{name}'")).collect();
    ensure!(
        collected.arms.contains_key(&args.control),
        "{file}: no row has '{}' in column '{}', so there is no control; {}",
        args.control,
        args.variant,
        if names.is_empty() {
            "the column is empty".to_owned()
        } else {
            format!("its values are {}", names.join(", "))
        },
    );
    ensure!(
        names.len() > 1,
        "{file}: every row has '{}' in column '{}', so there is nothing to compare the control with",
        args.control,
        args.variant,
    );
    Ok(())
}
