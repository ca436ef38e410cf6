//! The examples by which other tools explain their funnels and retention, and the small tables of our own documentation.

use northstar_engine::{
    Anchor, Dimension, Entry, EventSelector, Filter, Grain, Snapshot,
    journeys::{
        Attribution, Boundary, Bracket, Clock, Cohorts, CountBy, Exclusion, ExclusionMode,
        FunnelAnswer, FunnelQuery, FunnelStep, FunnelValue, LifecycleQuery, OTHER, Occurrence,
        PathsQuery, RetentionMode, RetentionQuery, StepOrder, Unit, Window,
    },
};
use serde_json::json;

use super::{dataset, ten_days};
use crate::world::{DAY, EPOCH, MINUTE};

const HOUR: i64 = 60;

fn ask(snapshot: &Snapshot, query: &FunnelQuery) -> FunnelAnswer {
    snapshot.funnel(query).expect("an answer")
}

fn counts(answer: &FunnelAnswer) -> Vec<u64> {
    answer.total.steps.iter().map(|step| step.count).collect()
}

/// One user's events, by name and minute.
fn history(events: &[(&'static str, i64)]) -> Snapshot {
    let events: Vec<_> =
        events.iter().map(|(name, minute)| (*name, "ada", *minute, json!({}))).collect();
    dataset(&events).snapshot().expect("a snapshot")
}

fn funnel(steps: &[&str]) -> FunnelQuery {
    FunnelQuery::new(ten_days(), steps.iter().copied().map(FunnelStep::named).collect())
}

fn hours(hours: i64) -> Window {
    Window { micros: Some(hours * HOUR * MINUTE), sessions: None }
}

#[test]
fn a_window_starts_with_the_attempt_and_later_entries_do_not_extend_it() {
    let snapshot = history(&[("A", 60), ("A", 90), ("B", 105), ("C", 135)]);
    let query = FunnelQuery { window: hours(1), ..funnel(&["A", "B", "C"]) };
    let first = FunnelQuery { anchor: Anchor::FirstTouch, ..query.clone() };
    assert_eq!(counts(&ask(&snapshot, &first)), [1, 1, 0]);
    // The entry at 1:30 is an attempt of its own: C comes 45 minutes later.
    let answer = ask(&snapshot, &query);
    assert_eq!(counts(&answer), [1, 1, 1]);
    assert_eq!(answer.total.between.expect("times").p50, 45.0 * 60.0);
}

#[test]
fn steps_in_any_order_may_have_an_anchor() {
    // B before A: without the anchor it is a step, with it only what follows A is.
    let snapshot = history(&[("B", 0), ("A", 60), ("C", 90), ("B", 120)]);
    let free = FunnelQuery { order: StepOrder::AnyOrder, ..funnel(&["A", "B", "C"]) };
    let answer = ask(&snapshot, &free);
    assert_eq!(counts(&answer), [1, 1, 1]);
    assert_eq!(answer.total.between.expect("times").p50, 90.0 * 60.0);
    let anchored = FunnelQuery { order: StepOrder::FirstThenAny, ..free.clone() };
    let answer = ask(&snapshot, &anchored);
    assert_eq!(counts(&answer), [1, 1, 1]);
    assert_eq!(answer.total.between.expect("times").p50, 60.0 * 60.0);
    // In the order of the list, C comes before B.
    let ordered = FunnelQuery { order: StepOrder::Ordered, ..free };
    assert_eq!(counts(&ask(&snapshot, &ordered)), [1, 1, 0]);
    // Nobody begins with another step, and the window begins with the anchor.
    let without = history(&[("B", 0), ("C", 90)]);
    assert_eq!(counts(&ask(&without, &anchored)), [0, 0, 0]);
    let short = FunnelQuery { window: hours(1), ..anchored };
    assert_eq!(counts(&ask(&snapshot, &short)), [1, 1, 1]);
    let shorter = FunnelQuery { boundary: Boundary::Exclusive, ..short };
    assert_eq!(counts(&ask(&snapshot, &shorter)), [1, 1, 0]);
}

#[test]
fn a_sum_goes_through_the_steps() {
    let snapshot = dataset(&[
        ("cart", "ada", 0, json!({"value": 30})),
        ("paid", "ada", 60, json!({"value": 20})),
        ("cart", "grace", 0, json!({"value": 50})),
        ("cart", "linus", 0, json!({})),
        ("paid", "linus", 60, json!({"value": 5})),
    ])
    .snapshot()
    .expect("a snapshot");
    let sums = |step| {
        let value = Some(FunnelValue { property: "value".to_owned(), step });
        let answer = ask(&snapshot, &FunnelQuery { value, ..funnel(&["cart", "paid"]) });
        let of = |step: usize| answer.total.steps[step].value.expect("a value");
        [(of(0).n, of(0).sum, of(0).mean), (of(1).n, of(1).sum, of(1).mean)]
    };
    // What each step's own events have.
    assert_eq!(sums(None), [(2, 80.0, Some(40.0)), (2, 25.0, Some(12.5))]);
    // Of what was in the carts, 30 were paid for, whatever was paid.
    assert_eq!(sums(Some(0)), [(2, 80.0, Some(40.0)), (1, 30.0, Some(30.0))]);
    // And what was paid came from as many carts.
    assert_eq!(sums(Some(1)), [(2, 25.0, Some(12.5)), (2, 25.0, Some(12.5))]);
    let beyond = Some(FunnelValue { property: "value".to_owned(), step: Some(2) });
    let refused = snapshot.funnel(&FunnelQuery { value: beyond, ..funnel(&["cart", "paid"]) });
    assert!(refused.expect_err("there is none").to_string().contains("value_step"));
}

#[test]
fn the_end_of_the_window_belongs_to_it_or_not() {
    let snapshot = history(&[("A", 0), ("B", 60)]);
    let query = FunnelQuery { window: hours(1), ..funnel(&["A", "B"]) };
    assert_eq!(counts(&ask(&snapshot, &query)), [1, 1]);
    let query = FunnelQuery { boundary: Boundary::Exclusive, ..query };
    assert_eq!(counts(&ask(&snapshot, &query)), [1, 0]);
}

#[test]
fn what_happens_out_of_order_in_between_is_ignored() {
    let snapshot = history(&[("A", 0), ("B", 1), ("D", 2), ("C", 3), ("D", 4), ("E", 5)]);
    let query = funnel(&["A", "B", "C", "D", "E"]);
    assert_eq!(counts(&ask(&snapshot, &query)), [1, 1, 1, 1, 1]);
    let strict = FunnelQuery { order: StepOrder::StrictSteps, ..query };
    assert_eq!(counts(&ask(&snapshot, &strict)), [1, 1, 0, 0, 0]);
}

#[test]
fn a_strict_order_is_about_the_steps_or_about_every_event() {
    let snapshot = history(&[("A", 0), ("scroll", 1), ("B", 2)]);
    let query = funnel(&["A", "B"]);
    let steps = FunnelQuery { order: StepOrder::StrictSteps, ..query.clone() };
    let any = FunnelQuery { order: StepOrder::StrictAnyEvent, ..query };
    assert_eq!(counts(&ask(&snapshot, &steps)), [1, 1]);
    assert_eq!(counts(&ask(&snapshot, &any)), [1, 0]);
}

#[test]
fn in_any_order_every_step_may_come_first() {
    let snapshot = history(&[("C", 0), ("A", 1), ("C", 2)]);
    let query = FunnelQuery { order: StepOrder::AnyOrder, ..funnel(&["A", "B", "C"]) };
    assert_eq!(counts(&ask(&snapshot, &query)), [1, 1, 0]);
}

#[test]
fn four_searches_and_one_purchase_are_one_attempt_that_converts() {
    let snapshot = history(&[
        ("search", 0),
        ("search", 1),
        ("search", 2),
        ("search", 3),
        ("add", 4),
        ("search", 5),
    ]);
    let totals = FunnelQuery { count_by: CountBy::Totals, ..funnel(&["search", "add"]) };
    let first = FunnelQuery { anchor: Anchor::FirstTouch, ..totals.clone() };
    let answer = ask(&snapshot, &first);
    assert_eq!(counts(&answer), [2, 1]);
    assert_eq!(answer.total.between.expect("times").max, 240.0);
    // The most recent of the entries is the one that converts.
    let answer = ask(&snapshot, &totals);
    assert_eq!(counts(&answer), [2, 1]);
    assert_eq!(answer.total.between.expect("times").max, 60.0);
}

#[test]
fn an_exclusion_ends_the_attempt_or_takes_the_subject_out() {
    let snapshot = history(&[("A", 0), ("cancel", 1), ("B", 2), ("A", 10), ("B", 11)]);
    let exclusion = Exclusion { event: EventSelector::named("cancel"), from_step: 0, to_step: 1 };
    let query = FunnelQuery { exclusions: vec![exclusion], ..funnel(&["A", "B"]) };
    let first = FunnelQuery { anchor: Anchor::FirstTouch, ..query.clone() };
    assert_eq!(counts(&ask(&snapshot, &first)), [1, 0], "the attempt keeps its first step");
    assert_eq!(counts(&ask(&snapshot, &query)), [1, 1], "another attempt may follow");
    let totals = FunnelQuery { count_by: CountBy::Totals, ..query.clone() };
    assert_eq!(counts(&ask(&snapshot, &totals)), [2, 1]);
    let subject = FunnelQuery { exclusion_mode: ExclusionMode::Subject, ..query };
    assert_eq!(counts(&ask(&snapshot, &subject)), [0, 0]);
}

#[test]
fn steps_within_the_tolerance_may_change_places_and_outrun_an_exclusion() {
    let snapshot = history(&[("B", 0), ("A", 1), ("cancel", 4), ("C", 5)]);
    let exclusion = Exclusion { event: EventSelector::named("cancel"), from_step: 0, to_step: 2 };
    let query = FunnelQuery { exclusions: vec![exclusion], ..funnel(&["A", "B", "C"]) };
    assert_eq!(counts(&ask(&snapshot, &query)), [1, 0, 0]);
    let tolerant = FunnelQuery { tie_tolerance_micros: MINUTE, ..query };
    assert_eq!(counts(&ask(&snapshot, &tolerant)), [1, 1, 1]);
}

#[test]
fn a_property_held_constant_has_one_value_over_all_steps() {
    let product = |product: &str| json!({ "product": product });
    let snapshot = dataset(&[
        ("view", "ada", 0, product("tea")),
        ("view", "ada", 1, product("cup")),
        ("buy", "ada", 2, product("cup")),
        ("view", "bob", 0, product("tea")),
        ("buy", "bob", 1, json!({})),
    ])
    .snapshot()
    .expect("a snapshot");
    let query = FunnelQuery {
        constant: vec![Dimension::Property("product".to_owned())],
        ..funnel(&["view", "buy"])
    };
    assert_eq!(counts(&ask(&snapshot, &query)), [2, 1]);
    // The first view fixes the value: tea.
    let first = FunnelQuery { anchor: Anchor::FirstTouch, ..query };
    assert_eq!(counts(&ask(&snapshot, &first)), [2, 0]);
}

#[test]
fn an_attempt_has_the_values_of_the_step_that_it_is_attributed_to() {
    let from = |source: Option<&str>| match source {
        Some(source) => json!({ "channel": source }),
        None => json!({}),
    };
    let snapshot = dataset(&[
        ("visit", "ada", 0, from(None)),
        ("sign up", "ada", 1, from(Some("ads"))),
        ("pay", "ada", 2, from(Some("mail"))),
        ("visit", "bob", 0, from(Some("ads"))),
        ("sign up", "bob", 1, from(Some("ads"))),
        ("visit", "cleo", 0, from(None)),
    ])
    .snapshot()
    .expect("a snapshot");
    let mut query = funnel(&["visit", "sign up", "pay"]);
    query.scope.breakdowns = vec![Dimension::Property("channel".to_owned())];
    let groups = |attribution| {
        let query = FunnelQuery { attribution, ..query.clone() };
        let rows = ask(&snapshot, &query).groups.into_iter();
        rows.map(|row| {
            let steps: Vec<u64> = row.steps.iter().map(|step| step.count).collect();
            (row.dimensions[0].clone().unwrap_or_default(), steps)
        })
        .collect::<Vec<_>>()
    };
    let row = |name: &str, steps: [u64; 3]| (name.to_owned(), steps.to_vec());
    assert_eq!(groups(Attribution::FirstTouch), [row("ads", [2, 2, 1]), row("", [1, 0, 0])]);
    assert_eq!(
        groups(Attribution::LastTouch),
        [row("ads", [1, 1, 0]), row("mail", [1, 1, 1]), row("", [1, 0, 0])]
    );
    assert_eq!(groups(Attribution::Step(1)), [row("ads", [2, 2, 1])]);
    // Ada's visit has no value, so the funnel without one is where she enters.
    assert_eq!(groups(Attribution::All), [row("", [2, 0, 0]), row("ads", [1, 1, 0])]);
}

#[test]
fn an_optional_step_may_be_passed_over() {
    let snapshot = dataset(&[
        ("cart", "ada", 0, json!({})),
        ("coupon", "ada", 1, json!({})),
        ("pay", "ada", 2, json!({})),
        ("cart", "bob", 0, json!({})),
        ("pay", "bob", 1, json!({})),
        ("cart", "cleo", 0, json!({})),
    ])
    .snapshot()
    .expect("a snapshot");
    let mut query = funnel(&["cart", "coupon", "pay"]);
    query.steps[1].optional = true;
    let answer = ask(&snapshot, &query);
    assert_eq!(counts(&answer), [3, 1, 2]);
    let shares: Vec<_> = answer.total.steps.iter().map(|step| step.from_previous).collect();
    assert_eq!(shares, [None, Some(1.0 / 3.0), Some(2.0 / 3.0)]);
}

#[test]
fn the_first_event_ever_is_not_the_first_that_matches() {
    let plan = |plan: &str| json!({ "plan": plan });
    let snapshot = dataset(&[
        ("sign up", "ada", 0, plan("free")),
        ("sign up", "ada", 1, plan("pro")),
        ("pay", "ada", 2, json!({})),
    ])
    .snapshot()
    .expect("a snapshot");
    let mut query = funnel(&["sign up", "pay"]);
    let pro = Filter::parse("properties.plan == 'pro'").expect("a filter");
    query.steps[0].event = EventSelector::named("sign up").filtered(pro);
    for (occurrence, expected) in [
        (Occurrence::Any, [1, 1]),
        (Occurrence::FirstMatching, [1, 1]),
        (Occurrence::FirstEver, [0, 0]),
    ] {
        query.steps[0].occurrence = occurrence;
        assert_eq!(counts(&ask(&snapshot, &query)), expected, "{occurrence:?}");
    }
}

#[test]
fn a_session_ends_after_half_an_hour_without_events() {
    let snapshot = history(&[("A", 0), ("scroll", 29), ("B", 58), ("A", 100), ("B", 130)]);
    let query = FunnelQuery { count_by: CountBy::Sessions, ..funnel(&["A", "B"]) };
    // The second B comes 30 minutes after its A: a session of its own.
    assert_eq!(counts(&ask(&snapshot, &query)), [2, 1]);
    let window = Window { micros: None, sessions: Some(1) };
    let subjects = FunnelQuery { window, ..funnel(&["A", "B"]) };
    assert_eq!(counts(&ask(&snapshot, &subjects)), [1, 1]);
}

#[test]
fn a_trend_flags_the_entries_whose_window_is_not_over() {
    let day = 24 * HOUR;
    let snapshot = dataset(&[
        ("A", "ada", 0, json!({})),
        ("B", "ada", 5, json!({})),
        ("A", "bob", day, json!({})),
        ("A", "cleo", 2 * day, json!({})),
        ("B", "cleo", 2 * day + 5, json!({})),
        ("A", "ada", 2 * day + 6, json!({})),
        ("late", "dan", 3 * day, json!({})),
    ])
    .snapshot()
    .expect("a snapshot");
    let mut query =
        FunnelQuery { trend: Some(Grain::Day), window: hours(36), ..funnel(&["A", "B"]) };
    query.scope.to_micros = EPOCH + 4 * DAY;
    let answer = ask(&snapshot, &query);
    let rows: Vec<_> = answer
        .trend
        .iter()
        .map(|row| (row.steps[0].count, row.steps[1].count, row.open, row.complete))
        .collect();
    // Ada enters on two days and counts on both; her second window is open.
    assert_eq!(rows, [(1, 1, 0, true), (1, 0, 0, true), (2, 1, 1, false), (0, 0, 0, false)]);
    assert_eq!(counts(&answer), [3, 2], "but once in all");
}

#[test]
fn a_histogram_has_bins_of_equal_width_and_every_time_is_in_one() {
    let mut events = Vec::new();
    let users: Vec<String> = (0..10).map(|number| format!("u{number}")).collect();
    for (minutes, user) in (0i64..).zip(&users) {
        events.push(("A", user.as_str(), 0, json!({})));
        events.push(("B", user.as_str(), minutes, json!({})));
    }
    let snapshot = dataset(&events).snapshot().expect("a snapshot");
    let answer = ask(&snapshot, &FunnelQuery { bins: 3, ..funnel(&["A", "B"]) });
    let bins: Vec<_> =
        answer.total.histogram.iter().map(|bin| (bin.from, bin.to, bin.count)).collect();
    assert_eq!(bins, [(0.0, 180.0, 3), (180.0, 360.0, 3), (360.0, 540.0, 4)]);
    let times = answer.total.between.expect("times");
    assert_eq!((times.n, times.mean, times.p50, times.p90), (10, 270.0, 270.0, 486.0));
}

#[test]
fn small_groups_become_one() {
    let events: Vec<_> = [("a", 3), ("b", 2), ("c", 1), ("d", 1)]
        .iter()
        .flat_map(|(group, size)| (0..*size).map(move |number| format!("{group}{number}")))
        .collect();
    let events: Vec<_> =
        events.iter().map(|user| ("A", user.as_str(), 0, json!({ "group": &user[..1] }))).collect();
    let snapshot = dataset(&events).snapshot().expect("a snapshot");
    let mut query = FunnelQuery { max_groups: 2, ..funnel(&["A"]) };
    query.scope.breakdowns = vec![Dimension::Property("group".to_owned())];
    let groups: Vec<_> = ask(&snapshot, &query)
        .groups
        .into_iter()
        .map(|row| (row.dimensions[0].clone().expect("a value"), row.steps[0].count))
        .collect();
    assert_eq!(groups, [("a".to_owned(), 3), ("b".to_owned(), 2), (OTHER.to_owned(), 2)]);
}

#[test]
fn a_group_that_only_a_trend_has_keeps_its_name() {
    let plan = |plan: &str| json!({ "plan": plan });
    let snapshot = dataset(&[("A", "ada", 0, plan("free")), ("A", "ada", 24 * HOUR, plan("pro"))])
        .snapshot()
        .expect("a snapshot");
    let mut query =
        FunnelQuery { anchor: Anchor::FirstTouch, trend: Some(Grain::Day), ..funnel(&["A"]) };
    query.scope.breakdowns = vec![Dimension::Property("plan".to_owned())];
    let answer = ask(&snapshot, &query);
    let names = |rows: &[northstar_engine::journeys::FunnelRow]| {
        rows.iter().filter_map(|row| row.dimensions[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&answer.groups), names(&answer.trend)),
        (vec!["free".to_owned()], vec!["free".to_owned(), "pro".to_owned()])
    );
}

fn retention(unit: Unit, clock: Clock, brackets: &[(u32, u32)]) -> RetentionQuery {
    RetentionQuery {
        scope: ten_days(),
        start: EventSelector::named("start"),
        returning: EventSelector::named("return"),
        entry: Entry::FirstEver,
        cohorts: Cohorts::One,
        unit,
        clock,
        brackets: brackets
            .iter()
            .map(|(first, last)| Bracket { first: *first, last: *last })
            .collect(),
        mode: RetentionMode::On,
        value: None,
        same_values: false,
    }
}

#[test]
fn a_rolling_day_is_24_hours_and_a_calendar_day_is_a_date() {
    // 5:59 pm, and 5:00 pm on the next day.
    let snapshot =
        history(&[("start", 17 * HOUR + 59), ("return", 41 * HOUR), ("end", 9 * 24 * HOUR)]);
    let retained = |clock| {
        let query = retention(Unit::Day, clock, &[(0, 0), (1, 1)]);
        let answer = snapshot.retention(&query).expect("an answer");
        answer.cohorts[0].cells.iter().map(|cell| cell.retained).collect::<Vec<_>>()
    };
    assert_eq!(retained(Clock::Rolling), [1, 0]);
    assert_eq!(retained(Clock::Calendar), [0, 1]);
}

#[test]
fn immature_cells_are_flagged_and_never_averaged() {
    let day = 24 * HOUR;
    let snapshot = dataset(&[
        ("start", "ada", 0, json!({})),
        ("start", "bob", 0, json!({})),
        ("return", "ada", day, json!({})),
        ("start", "cleo", day, json!({})),
        ("return", "cleo", 2 * day, json!({})),
        ("start", "dan", 2 * day, json!({})),
    ])
    .snapshot()
    .expect("a snapshot");
    let mut query = retention(Unit::Day, Clock::Calendar, &[(1, 1)]);
    query.cohorts = Cohorts::By(Grain::Day);
    query.scope.to_micros = EPOCH + 3 * DAY;
    query.scope.as_of_micros = Some(EPOCH + 2 * DAY + 12 * HOUR * MINUTE);
    let answer = snapshot.retention(&query).expect("an answer");
    let cells: Vec<_> = answer
        .cohorts
        .iter()
        .map(|row| {
            let cell = &row.cells[0];
            (row.entered, cell.eligible, cell.retained, cell.begun_retained, cell.mature)
        })
        .collect();
    // Cleo came back, but her day 1 is not over.
    assert_eq!(cells, [(2, 2, 1, 1, true), (1, 0, 0, 1, false), (1, 0, 0, 0, false)]);
    assert_eq!((answer.mean[0].rate, answer.mean[0].cohorts), (Some(0.5), 1));
}

#[test]
fn lifetime_value_adds_up_and_a_streak_breaks_once() {
    let day = 24 * HOUR;
    let pay = |amount: i64| json!({ "amount": amount });
    let snapshot = dataset(&[
        ("start", "ada", 0, json!({})),
        ("return", "ada", 1, pay(10)),
        ("return", "ada", day, pay(5)),
        ("return", "ada", 3 * day, pay(1)),
        ("start", "bob", 0, json!({})),
        ("return", "bob", 2 * day, pay(4)),
        ("end", "bob", 9 * day, json!({})),
    ])
    .snapshot()
    .expect("a snapshot");
    let mut query = retention(Unit::Day, Clock::Calendar, &[(0, 0), (1, 1), (2, 2), (3, 7)]);
    query.value = Some("amount".to_owned());
    let mut ask = |mode| {
        query.mode = mode;
        let answer = snapshot.retention(&query).expect("an answer");
        let cells = answer.cohorts[0].cells.iter();
        cells.map(|cell| (cell.retained, cell.value)).collect::<Vec<_>>()
    };
    assert_eq!(ask(RetentionMode::On), [(1, 10.0), (1, 5.0), (1, 4.0), (1, 1.0)]);
    assert_eq!(ask(RetentionMode::OnOrBefore), [(1, 10.0), (1, 15.0), (2, 19.0), (2, 20.0)]);
    assert_eq!(ask(RetentionMode::OnOrAfter), [(2, 20.0), (2, 10.0), (2, 5.0), (1, 1.0)]);
    assert_eq!(
        ask(RetentionMode::Streak).iter().map(|(retained, _)| *retained).collect::<Vec<_>>(),
        [1, 1, 0, 0]
    );
}

#[test]
fn a_subject_is_new_then_returning_then_dormant_then_resurrecting() {
    let day = 24 * HOUR;
    let snapshot = history(&[("A", 0), ("A", day), ("A", 3 * day)]);
    let mut scope = ten_days();
    scope.to_micros = EPOCH + 5 * DAY;
    scope.as_of_micros = Some(EPOCH + 5 * DAY);
    let query = LifecycleQuery { scope, event: EventSelector::named("A"), period: Grain::Day };
    let rows: Vec<_> = snapshot
        .lifecycle(&query)
        .expect("an answer")
        .rows
        .into_iter()
        .map(|row| (row.new, row.returning, row.resurrecting, row.dormant))
        .collect();
    assert_eq!(rows, [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 0, 1)]);
}

#[test]
fn a_path_collapses_repeats_and_ends_with_the_session() {
    let snapshot = history(&[("open", 0), ("home", 1), ("home", 2), ("search", 3), ("buy", 40)]);
    let query = PathsQuery::new(ten_days(), EventSelector::named("open"));
    let answer = snapshot.paths(&query).expect("an answer");
    let nodes: Vec<_> = answer
        .nodes
        .iter()
        .map(|node| (node.distance, node.step.event.as_str(), node.count, node.dropped))
        .collect();
    assert_eq!(nodes, [(0, "open", 1, 0), (1, "home", 1, 0), (2, "search", 1, 1)]);
    assert_eq!(answer.edges[1].time.p50, 120.0, "from the first of the repeats");
}
