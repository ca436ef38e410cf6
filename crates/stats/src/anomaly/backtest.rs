//! What a detector would have raised over history, and how much of it was right.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Judged;

/// A stretch of points that somebody says was anomalous.
pub type Label = Range<usize>;

/// How a detector did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// Points that were judged.
    pub judged: u64,
    /// Runs of anomalies, one after the other without a gap: what a person would be told of.
    pub alarms: Vec<Range<usize>>,
    /// Labels in which at least one point was raised.
    pub hits: u64,
    /// Labels in which none was.
    pub misses: u64,
    /// Labels of which no point could be judged.
    pub not_judged: u64,
    /// Alarms that touch no label.
    pub false_alarms: u64,
    /// Share of the labels that were raised; absent without labels.
    pub hit_rate: Option<f64>,
    /// Share of the alarms that touch a label; absent without labels or alarms.
    pub precision: Option<f64>,
    /// Alarms that touch no label, per hundred judged points outside labels; absent without labels.
    pub false_alarms_per_hundred: Option<f64>,
    /// Mean number of points from the start of a label to its first raised one, over hits.
    pub mean_delay: Option<f64>,
}

/// Compares what was raised with what should have been. A label counts once, however many points in it are raised
/// (windows as in Lavin & Ahmad 2015, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly
/// Benchmark"). Without labels only the alarms are told.
pub fn backtest(judged: &[Option<Judged>], labels: &[Label]) -> Backtest {
    let raised = |at: usize| judged.get(at).is_some_and(|point| point.is_some_and(|p| p.anomaly));
    let known = |at: usize| judged.get(at).is_some_and(Option::is_some);
    let labelled = |at: usize| labels.iter().any(|label| label.contains(&at));
    let mut alarms: Vec<Range<usize>> = Vec::new();
    for at in (0..judged.len()).filter(|at| raised(*at)) {
        match alarms.last_mut() {
            Some(last) if last.end == at => last.end = at + 1,
            _ => alarms.push(at..at + 1),
        }
    }
    let mut result = Backtest {
        judged: judged.iter().flatten().count() as u64,
        hits: 0,
        misses: 0,
        not_judged: 0,
        false_alarms: 0,
        hit_rate: None,
        precision: None,
        false_alarms_per_hundred: None,
        mean_delay: None,
        alarms,
    };
    if labels.is_empty() {
        return result;
    }
    let mut delays = 0_u64;
    for label in labels {
        match label.clone().find(|at| raised(*at)) {
            Some(at) => {
                result.hits += 1;
                delays += (at - label.start) as u64;
            }
            None if label.clone().any(known) => result.misses += 1,
            None => result.not_judged += 1,
        }
    }
    let is_false = |alarm: &&Range<usize>| !(*alarm).clone().any(labelled);
    result.false_alarms = result.alarms.iter().filter(is_false).count() as u64;
    let outside = (0..judged.len()).filter(|at| known(*at) && !labelled(*at)).count();
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let raised = result.alarms.len() as u64;
    result.hit_rate = share(result.hits, result.hits + result.misses);
    result.precision = share(raised - result.false_alarms, raised);
    result.false_alarms_per_hundred = share(100 * result.false_alarms, outside as u64);
    result.mean_delay = share(delays, result.hits);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_counts_once_and_an_alarm_beside_it_is_false() {
        let judged: Vec<Option<Judged>> = (0..20)
            .map(|at| {
                let anomaly = [5, 6, 12].contains(&at);
                let judged = Judged {
                    expected: 0.0,
                    low: -1.0,
                    high: 1.0,
                    spread: 0.0,
                    score: None,
                    anomaly,
                };
                (at > 1).then_some(judged)
            })
            .collect();
        let found = backtest(&judged, &[4..8, 15..17, 0..2]);
        assert_eq!(found.alarms, [5..7, 12..13]);
        assert_eq!((found.hits, found.misses, found.not_judged, found.false_alarms), (1, 1, 1, 1));
        assert_eq!((found.hit_rate, found.precision), (Some(0.5), Some(0.5)));
        assert_eq!(found.mean_delay, Some(1.0));
        // 18 judged, of which 6 lie in labels.
        assert_eq!(found.false_alarms_per_hundred, Some(100.0 / 12.0));
    }
}
