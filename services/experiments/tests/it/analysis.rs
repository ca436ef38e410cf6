//! What is withheld, what is shown, and whether the numbers are right.

use chrono::TimeDelta;
use northstar_domain::Clock as _;
use northstar_proto::experiments::v1 as pb;
use northstar_proto::ingestion::v1::value::Kind;
use northstar_proto::ingestion::v1::{Event, IngestEventsRequest, Value};

use crate::suite::{Suite, analyze, at, plant, reason, request_ship, timestamp};

#[tokio::test]
async fn a_result_is_withheld_until_both_horizons_are_reached() {
    let (suite, ada, assignments) = Suite::running().await;
    plant(&suite, &ada, &assignments, 4, 2).await;
    suite.clock.set(at("2026-03-15T23:59:59Z"));
    let early = analyze(&ada, "checkout").await.unwrap();
    assert!(!early.horizon_reached);
    assert_eq!(early.recommendation(), pb::Recommendation::Wait);
    assert!(early.comparisons.is_empty() && early.guardrails.is_empty());
    assert!(early.variants.iter().all(|variant| variant.mean.is_none()));
    assert_eq!(early.variants.iter().map(|variant| variant.subjects).sum::<i64>(), 200);
    assert!(early.sample_ratio.unwrap().p_value > 0.001, "checks are shown at any time");
    let refused = request_ship(&ada, "checkout", "short").await.unwrap_err();
    assert_eq!(reason(&refused), "HORIZON_NOT_REACHED");

    suite.clock.set(at("2026-03-16T00:00:00Z"));
    let due = analyze(&ada, "checkout").await.unwrap();
    assert!(due.horizon_reached);
    assert_eq!(due.comparisons.len(), 1);
}

#[tokio::test]
async fn a_planted_effect_is_found_with_the_numbers_worked_out_by_hand() {
    let (_suite, ada) = Suite::stopped().await;
    let found = analyze(&ada, "checkout").await.unwrap();
    let [control, short] = found.variants.as_slice() else { panic!("{found:?}") };
    assert_eq!((control.variant.as_str(), short.variant.as_str()), ("control", "short"));
    #[expect(clippy::cast_precision_loss, reason = "two hundred at most")]
    let (n_c, n_t) = (control.subjects as f64, short.subjects as f64);
    // Every fourth of control and every second of short, counted from the first.
    let (x_c, x_t) = ((n_c / 4.0).ceil(), (n_t / 2.0).ceil());
    let (p_c, p_t) = (x_c / n_c, x_t / n_t);
    let close = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
    assert!(close(control.mean.unwrap(), p_c) && close(short.mean.unwrap(), p_t), "{found:?}");

    let comparison = &found.comparisons[0];
    let absolute = comparison.absolute.unwrap();
    let z = 1.959_963_984_540_054;
    let (v_c, v_t) = (p_c * (1.0 - p_c) / n_c, p_t * (1.0 - p_t) / n_t);
    let half = z * (v_c + v_t).sqrt();
    assert!(close(absolute.estimate, p_t - p_c));
    assert!(close(absolute.ci_low, p_t - p_c - half) && close(absolute.ci_high, p_t - p_c + half));
    let relative = comparison.relative.unwrap();
    let half = z * (v_t / (p_c * p_c) + v_c * p_t * p_t / p_c.powi(4)).sqrt();
    assert!(close(relative.estimate, p_t / p_c - 1.0));
    assert!(close(relative.ci_high, p_t / p_c - 1.0 + half));
    assert!(comparison.significant && absolute.p_value.unwrap() < 0.001);

    let guardrail = &found.guardrails[0];
    assert_eq!((guardrail.metric.as_str(), guardrail.non_inferior), ("refund-rate", true));
    assert!(guardrail.relative.unwrap().ci_high < 0.5);
    let ratio = found.sample_ratio.unwrap();
    let expected = (n_c - 100.0).powi(2) / 100.0 + (n_t - 100.0).powi(2) / 100.0;
    assert!(close(ratio.chi_square, expected) && !ratio.mismatch);
    assert_eq!(found.recommendation(), pb::Recommendation::Ship, "{}", found.explanation);
    assert_eq!(found.recommended_variant, "short");
    assert!(found.log_position > 200);
}

#[tokio::test]
async fn a_planted_harm_rolls_back_and_no_effect_is_looked_at() {
    for (short_every, expected) in
        [(25, pb::Recommendation::RollBack), (4, pb::Recommendation::Review)]
    {
        let (suite, ada, assignments) = Suite::running().await;
        plant(&suite, &ada, &assignments, 4, short_every).await;
        suite.clock.set(at("2026-03-16T00:00:00Z"));
        let found = analyze(&ada, "checkout").await.unwrap();
        assert_eq!(found.recommendation(), expected, "{}", found.explanation);
        assert_eq!(found.recommended_variant, "");
    }
}

/// An exposure that no assignment of ours made.
fn stray_exposure(user: &str, variant: &str, suite: &Suite) -> Event {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Event {
        message_id: format!("stray/{user}/{variant}"),
        name: "northstar.experiment.exposure".to_owned(),
        user_id: user.to_owned(),
        occurred_time: Some(timestamp(suite.clock.now())),
        properties: [
            ("experiment".to_owned(), text("checkout")),
            ("variant".to_owned(), text(variant)),
        ]
        .into(),
        ..Event::default()
    }
}

async fn ingest(ada: &northstar_client::Clients, events: Vec<Event>) {
    let request = IngestEventsRequest { source: "replay".to_owned(), events };
    ada.ingestion().ingest_events(request).await.unwrap();
}

#[tokio::test]
async fn arms_whose_sizes_do_not_fit_their_weights_are_unhealthy_at_any_time() {
    let (suite, ada, _) = Suite::running().await;
    let extra = (0..150).map(|user| stray_exposure(&format!("x{user}"), "short", &suite));
    ingest(&ada, extra.collect()).await;
    suite.clock.advance(TimeDelta::hours(1));
    let found = analyze(&ada, "checkout").await.unwrap();
    assert!(!found.horizon_reached && found.sample_ratio.unwrap().mismatch);
    assert_eq!(found.recommendation(), pb::Recommendation::Unhealthy);
    suite.clock.set(at("2026-03-20T00:00:00Z"));
    let refused = request_ship(&ada, "checkout", "short").await.unwrap_err();
    assert_eq!(reason(&refused), "INSUFFICIENT_DATA");
}

#[tokio::test]
async fn subjects_seen_in_several_variants_are_counted_and_make_it_unhealthy() {
    let (suite, ada, assignments) = Suite::running().await;
    suite.clock.advance(TimeDelta::hours(1));
    let other = |assigned: &pb::Assignment| {
        let variant = if assigned.variant == "control" { "short" } else { "control" };
        stray_exposure(&assigned.user_id, variant, &suite)
    };
    ingest(&ada, assignments[..2].iter().map(other).collect()).await;
    let found = analyze(&ada, "checkout").await.unwrap();
    assert_eq!(found.multiple_exposure_subjects, 2);
    assert_eq!(found.recommendation(), pb::Recommendation::Wait, "2 of 200 are 1 %");
    ingest(&ada, assignments[2..3].iter().map(other).collect()).await;
    let found = analyze(&ada, "checkout").await.unwrap();
    assert_eq!(found.multiple_exposure_subjects, 3);
    assert_eq!(found.recommendation(), pb::Recommendation::Unhealthy);
    assert_eq!(found.variants.iter().map(|variant| variant.subjects).sum::<i64>(), 197);
}

#[tokio::test]
async fn what_happens_after_the_stop_or_to_others_does_not_count() {
    let (suite, ada) = Suite::stopped().await;
    let before = analyze(&ada, "checkout").await.unwrap();
    suite.clock.advance(TimeDelta::hours(1));
    let mut elsewhere = stray_exposure("y1", "short", &suite);
    elsewhere.properties.insert(
        "experiment".to_owned(),
        Value { kind: Some(Kind::StringValue("other".to_owned())) },
    );
    ingest(&ada, vec![stray_exposure("y0", "short", &suite), elsewhere]).await;
    let after = analyze(&ada, "checkout").await.unwrap();
    assert_eq!(after.variants, before.variants);
    assert_eq!(after.comparisons, before.comparisons);
}
