//! Arguments that all questions about journeys share.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use northstar_domain::duration;
use northstar_proto::metrics::v1 as pb;

use crate::time;

/// Which events a question is about.
#[derive(Clone, Debug, clap::Args)]
pub struct Range {
    /// Start, inclusive: a date (midnight in the zone) or an RFC 3339 time.
    #[arg(long)]
    from: String,
    /// End, exclusive.
    #[arg(long)]
    to: String,
    /// CEL condition, for example "properties.plan == 'pro'".
    #[arg(long = "where", value_name = "CEL", default_value = "")]
    filter: String,
    /// Only subjects in every one of these cohorts.
    #[arg(long = "in", value_name = "COHORT", value_delimiter = ',')]
    within: Vec<String>,
    /// IANA zone of civil days.
    #[arg(long, default_value = "UTC")]
    pub zone: Tz,
    /// What is over is judged at this time, and later events are not known. Default:
    /// just after the latest event.
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
    /// Ask the log as it was at this position: the same answer again.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    at_position: i64,
    /// Also over another time: previous (the range just before), previous-week, previous-month or previous-year (the
    /// same dates then), or a range of the same length that starts at this date or time.
    #[arg(long, value_name = "TIME|previous|previous-week|...")]
    compare: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

impl Range {
    /// The scope of the question.
    pub fn scope(&self, breakdowns: &[String]) -> anyhow::Result<pb::JourneyScope> {
        let as_of = self.as_of.as_deref().map(|text| time::parse(text, self.zone)).transpose()?;
        Ok(pb::JourneyScope {
            start_time: Some(time::timestamp(self.start()?)),
            end_time: Some(time::timestamp(self.end()?)),
            time_zone: self.zone.to_string(),
            filter: self.filter.clone(),
            breakdowns: breakdowns.to_vec(),
            as_of_time: as_of.map(time::timestamp),
            log_position: self.at_position,
            cohorts: self.within.clone(),
        })
    }

    /// The other time: where it starts, or which it is by the calendar.
    pub fn compare(&self) -> anyhow::Result<(Option<prost_types::Timestamp>, pb::Comparison)> {
        let comparison = match self.compare.as_deref() {
            None => pb::Comparison::Unspecified,
            Some("previous" | "previous-period") => pb::Comparison::PreviousPeriod,
            Some("previous-week") => pb::Comparison::PreviousWeek,
            Some("previous-month") => pb::Comparison::PreviousMonth,
            Some("previous-year") => pb::Comparison::PreviousYear,
            Some(text) => {
                let start = time::timestamp(time::parse(text, self.zone)?);
                return Ok((Some(start), pb::Comparison::Unspecified));
            }
        };
        Ok((None, comparison))
    }

    fn start(&self) -> anyhow::Result<DateTime<Utc>> {
        time::parse(&self.from, self.zone)
    }

    fn end(&self) -> anyhow::Result<DateTime<Utc>> {
        time::parse(&self.to, self.zone)
    }
}

/// Reads an event: its name, or its name and a condition as `Paid where properties.amount > 10`. An empty name, or a
/// condition alone as `where event.source == 'web'`, is any event.
pub fn selector(text: &str) -> pb::EventSelector {
    let (event, filter) = match text.strip_prefix("where ") {
        Some(filter) => ("", filter),
        None => text.split_once(" where ").unwrap_or((text, "")),
    };
    pb::EventSelector { event: event.trim().to_owned(), filter: filter.trim().to_owned() }
}

/// Reads a length of time, for example 90s, 30m, 12h or 14d.
pub fn length(text: &str) -> anyhow::Result<prost_types::Duration> {
    let length: TimeDelta = duration::parse(text)
        .with_context(|| format!("{text:?} is not a length of time: write 90s, 30m, 12h or 14d"))?;
    Ok(prost_types::Duration { seconds: length.num_seconds(), nanos: length.subsec_nanos() })
}

/// Reads the values of a group as `plan=pro`; what is not named is a missing value.
pub fn values(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let read = |pair: &String| {
        let (name, value) = pair
            .split_once('=')
            .with_context(|| format!("{pair:?} is not a value: write plan=pro"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    pairs.iter().map(read).collect()
}

/// Reads two numbers as `2-4`; one alone stands for both.
pub fn pair(text: &str) -> anyhow::Result<(i32, i32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| {
        part.trim().parse().with_context(|| format!("{text:?}: write 3, or 1-3 for a stretch"))
    };
    Ok((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_have_a_condition() {
        let read = |text| {
            let pb::EventSelector { event, filter } = selector(text);
            (event, filter)
        };
        assert_eq!(read("Paid"), ("Paid".to_owned(), String::new()));
        assert_eq!(
            read("Paid where properties.amount > 10"),
            ("Paid".to_owned(), "properties.amount > 10".to_owned())
        );
        assert_eq!(
            read("where event.source == 'web'"),
            (String::new(), "event.source == 'web'".to_owned())
        );
    }

    #[test]
    fn a_stretch_is_two_numbers_or_one() {
        assert_eq!(pair("1-3").expect("a stretch"), (1, 3));
        assert_eq!(pair("7").expect("a stretch"), (7, 7));
        assert!(pair("a week").is_err());
    }
}
