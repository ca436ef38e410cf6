//! Random events, links and questions.

use std::collections::HashMap;

use northstar_engine::{
    Actor, Aggregate, Anchor, ConversionMeasure, ConversionSpec, CumulativeEnd, CumulativeSpec,
    CumulativeWindow, Dataset, DerivedInput, Dimension, DistinctOf, Entry, EventRecord,
    EventSelector, Filter, Formula, FunnelSpec, Grain, Lifecycle, LifecycleSpec, Maturity,
    MetricSpec, Offset, PerSubjectSpec, Period, Query, RetentionSpec, Return, Span, SpanUnit,
    Statistic, StickinessMeasure, StickinessSpec, Ties, TimeToEventSpec,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::columns;

/// An event that owns its parts.
#[derive(Debug, Clone)]
pub struct Event {
    pub position: i64,
    pub name: &'static str,
    pub source: &'static str,
    pub user: Option<String>,
    pub anonymous: Option<String>,
    pub account: Option<String>,
    pub time: i64,
    pub sequence: i64,
    pub properties: Value,
}

impl Event {
    pub fn record(&self) -> EventRecord<'_> {
        EventRecord {
            position: self.position,
            name: self.name,
            source: self.source,
            actor: Actor { user_id: self.user.as_deref(), anonymous_id: self.anonymous.as_deref() },
            account_id: self.account.as_deref(),
            effective_micros: self.time,
            sequence: self.sequence,
            properties: &self.properties,
        }
    }

    /// The subject under a map of links; `None` for nobody.
    pub fn subject(&self, links: &HashMap<String, String>) -> Option<String> {
        match (&self.user, &self.anonymous) {
            (Some(user), _) => Some(format!("user {user}")),
            (None, Some(anonymous)) => Some(match links.get(anonymous) {
                Some(user) => format!("user {user}"),
                None => format!("anonymous {anonymous}"),
            }),
            (None, None) => None,
        }
    }
}

/// 2026-03-27T00:00:00Z, shortly before clocks change in Berlin.
pub const EPOCH: i64 = 1_774_569_600_000_000;
pub const MINUTE: i64 = 60_000_000;
pub const DAY: i64 = 1_440 * MINUTE;

pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SOURCES: [&str; 2] = ["web", "ios"];

fn property() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3i64..4).prop_map(|value| json!(value)),
        2 => (-3i64..4).prop_map(|value| json!(value as f64 / 4.0)),
        1 => (6i64..12).prop_map(|value| json!(value)),
        1 => Just(json!(null)),
        1 => Just(json!(true)),
        1 => Just(json!("text")),
        1 => Just(json!([1, "x"])),
    ]
}

fn properties() -> impl Strategy<Value = Value> {
    let plan = prop_oneof![Just(None), Just(Some("free")), Just(Some("pro")), Just(Some("pröfi"))];
    (
        proptest::option::of(property()),
        plan,
        proptest::option::of(any::<bool>()),
        proptest::option::of(0u32..3),
    )
        .prop_map(|(x, plan, flag, rare)| {
            let mut object = serde_json::Map::new();
            object.extend(x.map(|x| ("x".to_owned(), x)));
            object.extend(plan.map(|plan| ("plan".to_owned(), json!({ "name": plan }))));
            object.extend(flag.map(|flag| ("flag".to_owned(), json!(flag))));
            if rare == Some(0) {
                object.insert("rare".to_owned(), json!(1.5));
            }
            Value::Object(object)
        })
}

/// Events on a coarse clock, so that many fall on the same instant.
pub fn events(max: usize) -> impl Strategy<Value = Vec<Event>> {
    let user = proptest::option::weighted(0.4, (0..4u8).prop_map(|number| format!("u{number}")));
    let anonymous =
        proptest::option::weighted(0.8, (0..6u8).prop_map(|number| format!("d{number}")));
    let account = proptest::option::of((0..3u8).prop_map(|number| format!("acme{number}")));
    let event = (
        (0..NAMES.len(), 0..SOURCES.len()),
        (user, anonymous, account),
        prop_oneof![(0i64..9 * 24).prop_map(|hours| hours * 60), 0i64..9 * 1_440],
        0i64..3,
        properties(),
        1i64..4,
    );
    proptest::collection::vec(event, 0..max).prop_map(|events| {
        let mut position = 0;
        events
            .into_iter()
            .map(
                |(
                    (name, source),
                    (user, anonymous, account),
                    minutes,
                    sequence,
                    properties,
                    gap,
                )| {
                    position += gap;
                    Event {
                        position,
                        name: NAMES[name],
                        source: SOURCES[source],
                        user,
                        anonymous,
                        account,
                        time: EPOCH + minutes * MINUTE,
                        sequence,
                        properties,
                    }
                },
            )
            .collect()
    })
}

/// What happens between two batches of events.
#[derive(Debug, Clone)]
pub enum Step {
    Append(usize),
    AppendAgain,
    Snapshot,
    Compact,
    Link(u8, u8),
    Unlink(u8),
    Reopen,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1usize..40).prop_map(Step::Append),
        1 => Just(Step::AppendAgain),
        3 => Just(Step::Snapshot),
        2 => Just(Step::Compact),
        3 => (0u8..6, 0u8..5).prop_map(|(device, user)| Step::Link(device, user)),
        1 => (0u8..6).prop_map(Step::Unlink),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..25)
}

/// A data set that took the events in by way of the steps, and the links it ended with.
pub fn play(
    events: &[Event],
    steps: &[Step],
    dir: &std::path::Path,
) -> (Dataset, HashMap<String, String>) {
    let mut dataset = Dataset::new(dir).expect("a folder");
    let mut links = HashMap::new();
    let mut next = 0;
    for step in steps {
        match step {
            Step::Append(count) => {
                let until = (next + count).min(events.len());
                // One way or the other: the answers are the same.
                let appended = if count % 2 == 0 {
                    columns::append(&mut dataset, &events[next..until])
                } else {
                    dataset
                        .append(events[next..until].iter().map(Event::record))
                        .expect("an append")
                };
                assert_eq!(appended.accepted as usize, until - next);
                next = until;
            }
            Step::AppendAgain => {
                let half = next / 2;
                let mut appended = columns::append(&mut dataset, &events[..half]);
                appended.ignored += dataset
                    .append(events[half..next].iter().map(Event::record))
                    .expect("an append")
                    .ignored;
                assert_eq!((appended.accepted, appended.ignored as usize), (0, next));
            }
            Step::Snapshot => {
                assert_eq!(dataset.snapshot().expect("a snapshot").events(), next as u64)
            }
            Step::Compact => {
                if let Some(compacted) = dataset.compact().expect("a compaction") {
                    dataset.remove_files(&compacted.removed).expect("removal");
                    assert_eq!(dataset.tail_len(), 0);
                }
            }
            Step::Link(device, user) => {
                links.insert(format!("d{device}"), format!("u{user}"));
                dataset.link(&format!("d{device}"), &format!("u{user}"));
            }
            Step::Unlink(device) => {
                links.remove(&format!("d{device}"));
                dataset.unlink(&format!("d{device}"));
            }
            Step::Reopen => {
                dataset = Dataset::open(dir, dataset.manifest()).expect("the manifest opens");
                dataset.relink(&links);
                dataset.append(events[..next].iter().map(Event::record)).expect("the tail again");
            }
        }
    }
    // From the beginning: what is known already is left out of its columns.
    columns::append(&mut dataset, events);
    (dataset, links)
}

/// Filters, and what they mean.
pub type Meaning = fn(&Event) -> bool;

pub fn filters() -> Vec<(&'static str, Meaning)> {
    fn x(event: &Event) -> Option<f64> {
        event.properties.get("x").and_then(Value::as_f64)
    }
    fn plan(event: &Event) -> Option<&str> {
        event.properties.get("plan").and_then(|plan| plan.get("name")).and_then(Value::as_str)
    }
    vec![
        (r#"properties.x > 0"#, |event| x(event).is_some_and(|x| x > 0.0)),
        (r#"!(1 <= properties.x)"#, |event| x(event).is_none_or(|x| x < 1.0)),
        (r#"properties.x != 2"#, |event| {
            event.properties.get("x").is_some_and(|x| x.as_f64() != Some(2.0))
        }),
        (r#"properties.x == null"#, |event| event.properties.get("x").is_none_or(Value::is_null)),
        (r#"has(properties.plan)"#, |event| plan(event).is_some()),
        (r#"properties.plan.name in ["pro", "other"] || properties.flag"#, |event| {
            plan(event) == Some("pro") || event.properties.get("flag") == Some(&json!(true))
        }),
        (r#"properties["plan.name"].matches("^pr.f") && event.source == "web""#, |event| {
            event.source == "web" && plan(event) == Some("pröfi")
        }),
        (r#"event.account_id.startsWith("acme") && !(event in ["a"])"#, |event| {
            event.account.is_some() && event.name != "a"
        }),
        (r#"event.user_id == null && event.anonymous_id.endsWith("3")"#, |event| {
            event.user.is_none() && event.anonymous.as_deref() == Some("d3")
        }),
        (
            r#"properties.flag ? properties.plan.name.contains("o") : properties.rare >= 1.5"#,
            |event| {
                if event.properties.get("flag") == Some(&json!(true)) {
                    plan(event).is_some_and(|plan| plan.contains('o'))
                } else {
                    event.properties.get("rare").is_some()
                }
            },
        ),
        ("false", |_| false),
    ]
}

pub fn filter() -> impl Strategy<Value = Option<Filter>> {
    proptest::option::weighted(0.4, 0..filters().len()).prop_map(|number| {
        number.map(|number| Filter::parse(filters()[number].0).expect("a filter"))
    })
}

pub fn selector() -> BoxedStrategy<EventSelector> {
    (prop_oneof![4 => proptest::sample::subsequence(NAMES.to_vec(), 1), 1 => proptest::sample::subsequence(NAMES.to_vec(), 0..3)], filter())
        .prop_map(|(names, filter)| EventSelector { names: names.into_iter().map(str::to_owned).collect(), filter }).boxed()
}

fn numeric() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["x", "flag", "rare", "absent"]).prop_map(str::to_owned)
}

fn window() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of((0i64..5 * 24).prop_map(|hours| hours * 60 * MINUTE))
}

fn entry() -> impl Strategy<Value = Entry> {
    proptest::sample::select(vec![Entry::PerBucket, Entry::FirstInRange, Entry::FirstEver])
}

fn ties() -> impl Strategy<Value = Ties> {
    proptest::sample::select(vec![Ties::ByOrder, Ties::AnyOrder, Ties::StrictlyLater])
}

fn plain_metric() -> BoxedStrategy<MetricSpec> {
    let of = prop_oneof![
        Just(DistinctOf::Subject),
        Just(DistinctOf::Account),
        Just(DistinctOf::Property("x".to_owned())),
        Just(DistinctOf::Property("plan.name".to_owned())),
    ];
    prop_oneof![
        selector().prop_map(|event| MetricSpec::Count { event }),
        (selector(), of).prop_map(|(event, of)| MetricSpec::Unique { event, of }),
        (selector(), numeric()).prop_map(|(event, property)| MetricSpec::Sum { event, property }),
        (selector(), numeric()).prop_map(|(event, property)| MetricSpec::Mean { event, property }),
        (selector(), numeric()).prop_map(|(event, property)| MetricSpec::Min { event, property }),
        (selector(), numeric()).prop_map(|(event, property)| MetricSpec::Max { event, property }),
        (selector(), numeric(), 1u8..100).prop_map(|(event, property, percent)| {
            let quantile = f64::from(percent) / 100.0;
            MetricSpec::Percentile { event, property, quantile, approximate: false }
        }),
        (selector(), numeric()).prop_map(|(event, property)| MetricSpec::Nps { event, property }),
    ]
    .boxed()
}

pub fn funnel() -> BoxedStrategy<FunnelSpec> {
    let anchor = proptest::sample::select(vec![Anchor::FirstTouch, Anchor::BestAttempt]);
    let steps = prop_oneof![9 => proptest::collection::vec(selector(), 1..5), 1 => proptest::collection::vec(selector(), 9..12)];
    (steps, window(), anchor, entry(), ties())
        .prop_map(|(steps, window_micros, anchor, entry, ties)| FunnelSpec {
            steps,
            window_micros,
            anchor,
            entry,
            ties,
        })
        .boxed()
}

fn retention() -> BoxedStrategy<RetentionSpec> {
    let period = proptest::sample::select(vec![Period::Day, Period::Week, Period::Month]);
    let mode = proptest::sample::select(vec![Return::On, Return::OnOrAfter]);
    let maturity = proptest::sample::select(vec![Maturity::PeriodEnded, Maturity::PeriodStarted]);
    (selector(), selector(), period, mode, maturity, entry())
        .prop_map(|(start, returning, period, mode, maturity, entry)| RetentionSpec {
            start,
            returning,
            period,
            offsets: vec![0, 1, 2, 5],
            headline: 1,
            mode,
            maturity,
            entry,
        })
        .boxed()
}

fn statistic() -> impl Strategy<Value = Statistic> {
    proptest::sample::select(vec![
        Statistic::P50,
        Statistic::P90,
        Statistic::P95,
        Statistic::Mean,
        Statistic::Sum,
    ])
}

pub fn time_to_event() -> BoxedStrategy<TimeToEventSpec> {
    (selector(), selector(), window(), entry(), ties(), statistic())
        .prop_map(|(from, to, window_micros, entry, ties, statistic)| TimeToEventSpec {
            from,
            to,
            window_micros,
            entry,
            ties,
            statistic,
        })
        .boxed()
}

pub fn aggregate() -> BoxedStrategy<Aggregate> {
    prop_oneof![
        4 => aggregate_of_all(),
        1 => numeric().prop_map(Aggregate::First),
        1 => numeric().prop_map(Aggregate::Last),
    ]
    .boxed()
}

/// Of all events of a subject, rather than of one that is picked.
fn aggregate_of_all() -> BoxedStrategy<Aggregate> {
    prop_oneof![
        Just(Aggregate::Count),
        numeric().prop_map(Aggregate::Sum),
        numeric().prop_map(Aggregate::Min),
        numeric().prop_map(Aggregate::Max),
    ]
    .boxed()
}

fn per_subject(aggregate: BoxedStrategy<Aggregate>) -> BoxedStrategy<MetricSpec> {
    (selector(), aggregate, statistic())
        .prop_map(|(event, aggregate, statistic)| {
            MetricSpec::PerSubject(PerSubjectSpec { event, aggregate, statistic })
        })
        .boxed()
}

pub fn stickiness() -> BoxedStrategy<StickinessSpec> {
    let interval = proptest::sample::select(vec![Period::Day, Period::Week, Period::Month]);
    let measure = prop_oneof![
        Just(StickinessMeasure::Ratio),
        (1u32..4).prop_map(StickinessMeasure::ShareAtLeast),
        (1u32..4).prop_map(StickinessMeasure::ShareExactly),
        (1u32..4).prop_map(StickinessMeasure::CountAtLeast),
        (1u32..4).prop_map(StickinessMeasure::CountExactly),
    ];
    (selector(), interval, measure)
        .prop_map(|(event, interval, measure)| StickinessSpec { event, interval, measure })
        .boxed()
}

pub fn conversion() -> BoxedStrategy<ConversionSpec> {
    let pair =
        proptest::sample::select(vec![("x", "x"), ("plan.name", "plan.name"), ("flag", "x")])
            .prop_map(|(base, conversion)| (base.to_owned(), conversion.to_owned()));
    let measure =
        proptest::sample::select(vec![ConversionMeasure::Rate, ConversionMeasure::Conversions]);
    (selector(), selector(), window(), proptest::collection::vec(pair, 0..3), measure)
        .prop_map(|(base, conversion, window_micros, constants, measure)| ConversionSpec {
            base,
            conversion,
            window_micros,
            constants,
            measure,
        })
        .boxed()
}

fn lifecycle() -> BoxedStrategy<LifecycleSpec> {
    let state = proptest::sample::select(vec![
        Lifecycle::New,
        Lifecycle::Returning,
        Lifecycle::Resurrecting,
        Lifecycle::Dormant,
    ]);
    (selector(), state).prop_map(|(event, state)| LifecycleSpec { event, state }).boxed()
}

fn span() -> BoxedStrategy<Span> {
    prop_oneof![
        (1i64..40).prop_map(|count| Span { count, unit: SpanUnit::Hour }),
        (1i64..9).prop_map(|count| Span { count, unit: SpanUnit::Day }),
        Just(Span { count: 1, unit: SpanUnit::Week }),
        (1i64..3).prop_map(|count| Span { count, unit: SpanUnit::Month }),
        Just(Span { count: 1, unit: SpanUnit::Year }),
        (1i64..9 * 1_440)
            .prop_map(|minutes| Span { count: minutes * MINUTE, unit: SpanUnit::Microsecond }),
    ]
    .boxed()
}

fn cumulative(per_subject: BoxedStrategy<MetricSpec>) -> BoxedStrategy<CumulativeSpec> {
    let metric = prop_oneof![3 => plain_metric(), 1 => per_subject];
    let window = prop_oneof![
        1 => Just(CumulativeWindow::AllTime),
        3 => span().prop_map(CumulativeWindow::Trailing),
        2 => proptest::sample::select(vec![Grain::Week, Grain::Month, Grain::Quarter])
            .prop_map(CumulativeWindow::ToDate),
    ];
    let end = proptest::sample::select(vec![CumulativeEnd::BucketEnd, CumulativeEnd::BucketStart]);
    (metric, window, end)
        .prop_map(|(metric, window, end)| CumulativeSpec { metric: Box::new(metric), window, end })
        .boxed()
}

/// Formulas over `a` and `b`, and what they mean.
pub type Arithmetic = fn(Option<f64>, Option<f64>) -> Option<f64>;

pub fn formulas() -> Vec<(&'static str, Arithmetic)> {
    vec![
        ("a - b", |a, b| Some(a? - b?)),
        ("100 * a / b", |a, b| Some(100.0 * a? / b?).filter(|_| b != Some(0.0))),
        ("a == null ? -1 : a + (b > 2 ? 1 : 0.5)", |a, b| match a {
            None => Some(-1.0),
            Some(a) => Some(a + if b.is_some_and(|b| b > 2.0) { 1.0 } else { 0.5 }),
        }),
    ]
}

fn derived() -> BoxedStrategy<MetricSpec> {
    let offset = proptest::option::of(prop_oneof![
        3 => span().prop_map(Offset::Window),
        1 => proptest::sample::select(vec![Grain::Week, Grain::Month]).prop_map(Offset::ToGrain),
    ]);
    let input =
        (simple_metric(), offset).prop_map(|(metric, offset)| DerivedInput { metric, offset });
    (0..formulas().len(), proptest::collection::vec(input, 2))
        .prop_map(|(formula, inputs)| {
            let formula = Formula::parse(formulas()[formula].0, &["a", "b"]).expect("a formula");
            MetricSpec::Derived { formula, inputs }
        })
        .boxed()
}

/// Metrics that are counted by events or by activity, not by journeys.
pub fn by_events() -> BoxedStrategy<MetricSpec> {
    let per_subject = || per_subject(aggregate_of_all());
    prop_oneof![
        2 => plain_metric(),
        2 => stickiness().prop_map(MetricSpec::Stickiness),
        2 => lifecycle().prop_map(MetricSpec::Lifecycle),
        1 => per_subject(),
        2 => cumulative(per_subject()).prop_map(MetricSpec::Cumulative),
    ]
    .boxed()
}

/// Metrics of one kernel.
fn simple_metric() -> BoxedStrategy<MetricSpec> {
    let per_subject = || per_subject(aggregate());
    prop_oneof![
        4 => plain_metric(),
        4 => funnel().prop_map(MetricSpec::Funnel),
        3 => retention().prop_map(MetricSpec::Retention),
        2 => time_to_event().prop_map(MetricSpec::TimeToEvent),
        2 => stickiness().prop_map(MetricSpec::Stickiness),
        2 => lifecycle().prop_map(MetricSpec::Lifecycle),
        2 => per_subject(),
        2 => conversion().prop_map(MetricSpec::Conversion),
        3 => cumulative(per_subject()).prop_map(MetricSpec::Cumulative),
    ]
    .boxed()
}

pub fn metric() -> BoxedStrategy<MetricSpec> {
    prop_oneof![
        12 => simple_metric(),
        1 => (simple_metric(), simple_metric()).prop_map(|(numerator, denominator)| {
            MetricSpec::Ratio { numerator: Box::new(numerator), denominator: Box::new(denominator) }
        }),
        3 => derived(),
    ]
    .boxed()
}

pub fn query() -> BoxedStrategy<Query> {
    let zone = proptest::sample::select(vec![
        chrono_tz::UTC,
        chrono_tz::Europe::Berlin,
        chrono_tz::Asia::Kathmandu,
        chrono_tz::America::Los_Angeles,
    ]);
    let grain = proptest::sample::select(vec![
        Grain::Hour,
        Grain::Day,
        Grain::Week,
        Grain::Month,
        Grain::Quarter,
        Grain::Year,
        Grain::Total,
    ]);
    let breakdown = proptest::sample::select(vec![
        Dimension::Event,
        Dimension::Source,
        Dimension::AccountId,
        Dimension::Property("plan.name".to_owned()),
        Dimension::Property("x".to_owned()),
    ]);
    let breakdowns =
        prop_oneof![3 => Just(Vec::new()), 2 => proptest::collection::vec(breakdown, 1..3)];
    let range = (0i64..6 * 1_440, 1i64..9 * 1_440);
    let as_of = proptest::option::of(0i64..11 * 1_440);
    (metric(), range, zone, grain, breakdowns, filter(), as_of)
        .prop_map(|(metric, (from, length), zone, grain, breakdowns, filter, as_of)| Query {
            metric,
            from_micros: EPOCH + from * MINUTE,
            to_micros: EPOCH + (from + length) * MINUTE,
            zone,
            grain,
            breakdowns,
            filter,
            as_of_micros: as_of.map(|minutes| EPOCH + minutes * MINUTE),
        })
        .boxed()
}
