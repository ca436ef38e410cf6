//! What an event costs a question as the log grows.

use std::path::Path;

use super::super::child::Service;
use super::super::report::{Measured, Report, Unit, at_most};
use super::data::Data;
use super::questions::{self, Question};
use super::{fill, median};
use crate::output;

/// Numbers of events at which the questions are asked.
const STEPS: [u64; 6] = [1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000];
/// An event may cost so many times more at the end than at the start: linear,
/// but for noise.
const CURVE_TIMES: f64 = 1.25;
/// How often each question is asked.
const ROUNDS: usize = 5;

/// Grows one log and asks all questions at each step.
pub(super) async fn draw(
    url: &str,
    folder: &Path,
    most: u64,
    seed: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let data = Data::made(most, seed);
    let service = Service::start_suite(url, folder).await?;
    let clients = service.clients()?;
    questions::define(&clients).await?;
    let steps = STEPS.into_iter().filter(|step| *step < most).chain([most]);
    let (mut held, mut costs) = (0, Vec::new());
    for step in steps {
        fill::fill(&service, &data.events, held..step, folder).await?;
        held = step;
        let mut all = 0.0;
        for question in Question::ALL {
            questions::ask(&clients, question).await?;
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                times.push(questions::ask(&clients, question).await?.0.as_secs_f64() * 1e3);
            }
            let time = median(times);
            report.add(format!("curve/{step}/{}", question.name()), time, Unit::Millis);
            all += time;
        }
        let nanos = all * 1e6 / step as f64;
        output::note(format!("{} events: {all:.1} ms for all", output::number(step as f64)));
        report.add(format!("curve/{step}"), nanos, Unit::NanosPerEvent);
        costs.push(nanos);
    }
    if let [start, .., end] = *costs {
        report.push(
            Measured::new("curve/end-to-start", end / start, Unit::Times)
                .target(at_most(CURVE_TIMES), end / start),
        );
    }
    service.stop().await
}
