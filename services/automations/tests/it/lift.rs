//! What an automation changed.

use northstar_proto::automations::v1 as pb;

use crate::receiver::Receiver;
use crate::suite::Suite;

#[tokio::test]
async fn the_lift_is_the_difference_between_the_arms_as_they_were_drawn() {
    let suite = Suite::start().await;
    let receiver = Receiver::start().await;
    let mut automation = suite.automation("nudge", &receiver.url());
    automation.holdout = 0.4;
    suite.run(automation).await;
    suite.ingest((0..1_000).map(|n| suite.stalled(&format!("user-{n}"))).collect()).await;
    let runs = suite.settled("nudge").await;

    // Two in three of the treated activate, one in four of the holdout.
    let (mut arms, mut converted, mut events) = ([0_u32; 2], [0_u32; 2], Vec::new());
    for run in &runs.runs {
        let held = run.state() == pb::RunState::WouldHaveActed;
        let (arm, every) =
            if held { (1, [true, false, false, false]) } else { (0, [true, true, false, true]) };
        if every[arms[arm] as usize % 4] {
            converted[arm] += 1;
            events.push(suite.event("Activated", &run.subject, &[]));
        }
        arms[arm] += 1;
    }
    suite.ingest(events).await;

    let request = pb::MeasureLiftRequest { name: "nudge".to_owned() };
    let lift = suite.operator.automations().measure_lift(request).await.unwrap().into_inner();
    let shares = [0, 1].map(|arm| f64::from(converted[arm]) / f64::from(arms[arm]));
    assert_eq!((lift.treated_subjects, lift.holdout_subjects), (arms[0].into(), arms[1].into()));
    assert!((lift.treated_mean - shares[0]).abs() < 1e-12, "{lift:?}");
    assert!((lift.holdout_mean - shares[1]).abs() < 1e-12, "{lift:?}");
    let absolute = lift.absolute.unwrap();
    assert!((absolute.estimate - (shares[0] - shares[1])).abs() < 1e-12);
    let variance = |arm: usize| shares[arm] * (1.0 - shares[arm]) / f64::from(arms[arm]);
    // Equation 9 of the confidence sequence, tightest at 5,000 subjects.
    let (subjects, rho_squared) = (f64::from(arms[0] + arms[1]), 0.039_840_066_8_f64.powi(2));
    let spread = subjects * rho_squared + 1.0;
    let widening = 2.0 * spread / (subjects * rho_squared) * (spread.sqrt() / 0.05).ln();
    let half = (widening * (variance(0) + variance(1))).sqrt();
    assert!((absolute.ci_high - absolute.estimate - half).abs() < 1e-6, "{absolute:?}");
    assert_eq!(lift.recommendation, "scale", "{}", lift.explanation);
    assert_eq!(lift.kpi, "activated-users");
    assert!(lift.log_position >= suite.log_position().await - 1_000);
}

#[tokio::test]
async fn without_runs_there_is_nothing_but_waiting() {
    let suite = Suite::start().await;
    suite.run(suite.automation("nudge", "https://hooks.example.com/")).await;
    let request = pb::MeasureLiftRequest { name: "nudge".to_owned() };
    let lift = suite.operator.automations().measure_lift(request).await.unwrap().into_inner();
    assert_eq!(lift.recommendation, "wait");
    assert!(lift.absolute.is_none());
    assert_eq!((lift.treated_subjects, lift.holdout_subjects), (0, 0));
}
