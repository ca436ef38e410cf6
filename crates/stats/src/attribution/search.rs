//! The fewest segments, over all combinations of dimensions, that explain a move and are not just large.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Contribution, RateMix, additive, rate_and_mix};

/// The finest segment: one value per dimension, absent where the events have none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// Values in the order of the dimensions.
    pub values: Vec<Option<String>>,
    /// Numbers of both periods; of a sum only the numerator is read.
    pub numbers: RateMix,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Whether the metric is a sum (the numerator) rather than a ratio.
    pub additive: bool,
    /// Share of the move that the segments together must explain.
    pub explain: f64,
    /// Share of the move that each must explain.
    pub minimum_share: f64,
    /// Most dimensions of a segment.
    pub depth: usize,
    /// Most segments of an explanation.
    pub segments: usize,
}

/// A segment: some dimensions with their values, and what it contributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Number of the dimension and value, by dimension.
    pub values: Vec<(usize, Option<String>)>,
    /// Numbers of both periods.
    pub numbers: RateMix,
    /// What it contributed to the change.
    pub contribution: Contribution,
    /// That, as a share of the change; more than 1 when others moved against it. Absent when nothing changed.
    pub share: Option<f64>,
    /// Its share of the whole before: of the sum, or of the denominator of a ratio.
    pub weight: f64,
}

/// What explains the move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The change of the whole.
    pub change: f64,
    /// The segments, largest contribution first; empty when the change is spread like the whole itself, or when there
    /// is none.
    pub segments: Vec<Segment>,
    /// Share of the change that they explain together.
    pub share: f64,
    /// Their share of the whole before.
    pub weight: f64,
    /// Every segment of one dimension, by dimension, largest contribution first; what a person reads next.
    pub by_dimension: Vec<Vec<Segment>>,
}

/// An explanation must explain this much more of the change than its segments are of the whole; otherwise they are
/// only large.
const MORE_THAN_ITS_WEIGHT: f64 = 0.1;
/// What another segment, or another dimension, costs: it must sharpen the explanation by more.
const COST: f64 = 0.05;

/// Searches all combinations of up to `depth` dimensions. Within one combination segments do not overlap, so the
/// largest contributions are the fewest that reach the wanted share; between combinations the one wins that explains
/// most beyond its weight, less a cost for every further segment and dimension (explanatory power, surprise and
/// succinctness of Bhagwan et al. 2014, "Adtributor: Revenue Debugging in Advertising Systems", with the search over
/// combinations of dimensions added).
///
/// `None` for a ratio that has no denominator in either period.
pub fn search(leaves: &[Leaf], dimensions: usize, search: &Search) -> Option<Explanation> {
    let mut whole = RateMix::default();
    leaves.iter().for_each(|leaf| whole.add(leaf.numbers));
    let change = if search.additive {
        whole.numerator.change()
    } else {
        match whole.rates() {
            (Some(before), Some(after)) => after - before,
            _ => return None,
        }
    };
    let mut best: Option<(f64, Explanation)> = None;
    let mut by_dimension = vec![Vec::new(); dimensions];
    for combination in combinations(dimensions, search.depth) {
        let segments = segments(leaves, &combination, search.additive, whole, change)?;
        if let Some((score, found)) = explain(&segments, combination.len(), search, change)
            && best.as_ref().is_none_or(|(highest, _)| score > *highest)
        {
            best = Some((score, found));
        }
        if let [dimension] = combination.as_slice() {
            by_dimension[*dimension] = segments;
        }
    }
    let nothing = Explanation {
        change,
        segments: Vec::new(),
        share: 0.0,
        weight: 0.0,
        by_dimension: Vec::new(),
    };
    let found = best.map_or(nothing, |(_, found)| found);
    Some(Explanation { by_dimension, ..found })
}

/// The largest contributions that reach the wanted share, if that says more than their weight.
fn explain(
    segments: &[Segment],
    dimensions: usize,
    search: &Search,
    change: f64,
) -> Option<(f64, Explanation)> {
    let (mut share, mut weight, mut taken) = (0.0, 0.0, Vec::new());
    let mut in_direction: Vec<&Segment> = segments
        .iter()
        .filter(|segment| segment.share.is_some_and(|share| share >= search.minimum_share))
        .collect();
    in_direction
        .sort_by(|left, right| right.share.unwrap_or(0.0).total_cmp(&left.share.unwrap_or(0.0)));
    for segment in in_direction.into_iter().take(search.segments) {
        share += segment.share.unwrap_or(0.0);
        weight += segment.weight;
        taken.push(segment.clone());
        if share >= search.explain {
            break;
        }
    }
    let beyond = share.min(1.0) - weight;
    if share < search.explain || beyond < MORE_THAN_ITS_WEIGHT {
        return None;
    }
    let score = beyond - COST * (taken.len() + dimensions) as f64;
    Some((score, Explanation { change, segments: taken, share, weight, by_dimension: Vec::new() }))
}

/// The segments of one combination of dimensions, largest contribution (in either direction) first.
fn segments(
    leaves: &[Leaf],
    combination: &[usize],
    is_additive: bool,
    whole: RateMix,
    change: f64,
) -> Option<Vec<Segment>> {
    let mut groups: BTreeMap<Vec<Option<&str>>, RateMix> = BTreeMap::new();
    for leaf in leaves {
        let values = combination
            .iter()
            .map(|dimension| leaf.values.get(*dimension).and_then(Option::as_deref))
            .collect();
        groups.entry(values).or_default().add(leaf.numbers);
    }
    let numbers: Vec<RateMix> = groups.values().copied().collect();
    let contributions = if is_additive {
        let sums: Vec<_> = numbers.iter().map(|numbers| numbers.numerator).collect();
        additive(&sums)
    } else {
        rate_and_mix(&numbers)?
    };
    let of_whole = |numbers: &RateMix| {
        let (part, whole) = if is_additive {
            (numbers.numerator.before, whole.numerator.before)
        } else {
            (numbers.denominator.before, whole.denominator.before)
        };
        if whole == 0.0 { 0.0 } else { part / whole }
    };
    let mut segments: Vec<Segment> = groups
        .keys()
        .zip(&numbers)
        .zip(contributions)
        .map(|((values, numbers), contribution)| Segment {
            values: combination
                .iter()
                .zip(values)
                .map(|(dimension, value)| (*dimension, value.map(str::to_owned)))
                .collect(),
            numbers: *numbers,
            contribution,
            share: (change != 0.0).then(|| contribution.total / change),
            weight: of_whole(numbers),
        })
        .collect();
    segments.sort_by(|left, right| {
        right.contribution.total.abs().total_cmp(&left.contribution.total.abs())
    });
    Some(segments)
}

/// Combinations of one dimension, then of two, and so on.
fn combinations(dimensions: usize, depth: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut last: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..depth.min(dimensions) {
        last = last
            .iter()
            .flat_map(|chosen| {
                let from = chosen.last().map_or(0, |last| last + 1);
                (from..dimensions).map(|next| [chosen.as_slice(), &[next]].concat())
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Additive;

    const SUMS: Search =
        Search { additive: true, explain: 0.7, minimum_share: 0.1, depth: 3, segments: 5 };

    /// Platform, country, plan; `after` scales what was there before.
    fn leaves(after: impl Fn(&str, &str, &str) -> f64) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        for platform in ["web", "ios", "android"] {
            for country in ["de", "us", "br", "in"] {
                for plan in ["free", "pro"] {
                    let before = 100.0;
                    let values = [platform, country, plan].map(|v| Some(v.to_owned())).to_vec();
                    let numerator =
                        Additive { before, after: before * after(platform, country, plan) };
                    let denominator = Additive { before: 200.0, after: 200.0 };
                    leaves.push(Leaf { values, numbers: RateMix { numerator, denominator } });
                }
            }
        }
        leaves
    }

    fn named(explanation: &Explanation) -> Vec<Vec<(usize, &str)>> {
        explanation
            .segments
            .iter()
            .map(|segment| {
                let values = segment.values.iter();
                values.map(|(d, value)| (*d, value.as_deref().unwrap_or("-"))).collect()
            })
            .collect()
    }

    #[test]
    fn one_dimension_is_enough_where_one_value_fell() {
        let leaves = leaves(|platform, _, _| if platform == "ios" { 0.5 } else { 1.0 });
        let found = search(&leaves, 3, &SUMS).expect("sums");
        assert_eq!(named(&found), [vec![(0, "ios")]]);
        assert!((found.share - 1.0).abs() < 1e-12 && (found.weight - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_crossing_of_two_dimensions_is_found() {
        let bad = |platform: &str, country: &str| platform == "ios" && country == "br";
        let leaves = leaves(|platform, country, _| if bad(platform, country) { 0.2 } else { 1.0 });
        let found = search(&leaves, 3, &SUMS).expect("sums");
        assert_eq!(named(&found), [vec![(0, "ios"), (1, "br")]]);
        let ratio = search(&leaves, 3, &Search { additive: false, ..SUMS }).expect("ratios");
        assert_eq!(named(&ratio), [vec![(0, "ios"), (1, "br")]]);
    }

    #[test]
    fn two_values_of_one_dimension_are_both_named() {
        let leaves =
            leaves(|_, country, _| if ["de", "us"].contains(&country) { 0.6 } else { 1.0 });
        let found = search(&leaves, 3, &SUMS).expect("sums");
        assert_eq!(named(&found), [vec![(1, "de")], vec![(1, "us")]]);
    }

    #[test]
    fn a_fall_of_everything_is_explained_by_nothing() {
        let found = search(&leaves(|_, _, _| 0.8), 3, &SUMS).expect("sums");
        assert!(found.segments.is_empty());
        assert_eq!(found.change, -480.0);
        assert_eq!(found.by_dimension[0].len(), 3);
    }

    #[test]
    fn no_change_has_no_explanation() {
        let found = search(&leaves(|_, _, _| 1.0), 3, &SUMS).expect("sums");
        assert!(found.segments.is_empty() && found.change == 0.0);
        assert_eq!(found.by_dimension[1][0].share, None);
    }
}
