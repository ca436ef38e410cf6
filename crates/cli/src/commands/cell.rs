//! A cell of an answer on the command line: a question, and which of its rows.

use anyhow::{Context as _, bail};
use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;

use super::query::Grain;
use crate::time;

/// Which number is meant: the question that gave it, and the row.
#[derive(clap::Args)]
pub struct Cell {
    /// Name of the metric.
    metric: String,
    /// Start, inclusive: a date (midnight in the zone) or an RFC 3339 time.
    #[arg(long)]
    from: String,
    /// End, exclusive.
    #[arg(long)]
    to: String,
    /// Length of a bucket.
    #[arg(long, value_enum, default_value = "total")]
    grain: Grain,
    /// Start of the row's bucket; needed unless the grain is total.
    #[arg(long, value_name = "TIME")]
    bucket: Option<String>,
    /// Dimensions of the answer, for example plan,country.
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// A dimension of the row, for example plan=pro; one that is not given is missing.
    #[arg(long = "is", value_name = "DIMENSION=VALUE")]
    is: Vec<String>,
    /// CEL condition of the question.
    #[arg(long = "where", value_name = "CEL", default_value = "")]
    filter: String,
    /// IANA zone of the buckets.
    #[arg(long, default_value = "UTC")]
    zone: Tz,
    /// Cohort of the question; give it again for more.
    #[arg(long = "cohort", value_name = "COHORT")]
    cohorts: Vec<String>,
    /// Position of the log that the question is about, as in the answer; 0 is all of it.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    at_position: i64,
}

impl Cell {
    /// The cell for the wire.
    ///
    /// # Errors
    /// When a time or a dimension cannot be read.
    pub fn to_proto(&self) -> anyhow::Result<pb::Cell> {
        let instant = |text: &str| time::parse(text, self.zone).map(time::timestamp);
        if self.bucket.is_none() && self.grain != Grain::Total {
            bail!("--bucket is missing: which of the rows is meant?");
        }
        let dimensions = self.is.iter().map(|text| {
            let (name, value) = text.split_once('=').with_context(|| {
                format!("{text:?} is no dimension: write its name and value, as in plan=pro")
            })?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(pb::Cell {
            question: Some(pb::QueryMetricRequest {
                metric: self.metric.clone(),
                start_time: Some(instant(&self.from)?),
                end_time: Some(instant(&self.to)?),
                grain: pb::Grain::from(self.grain).into(),
                breakdowns: self.by.clone(),
                filter: self.filter.clone(),
                time_zone: self.zone.to_string(),
                cohorts: self.cohorts.clone(),
                log_position: self.at_position,
                ..Default::default()
            }),
            bucket_time: self.bucket.as_deref().map(instant).transpose()?,
            dimensions: dimensions.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// A subject for people.
pub fn subject_text(subject: Option<&pb::Subject>) -> String {
    match subject {
        None => "–".to_owned(),
        Some(subject) if subject.kind == "user_id" => subject.value.clone(),
        Some(subject) => format!("{}:{}", subject.kind, subject.value),
    }
}
