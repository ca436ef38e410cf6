//! `northstar clv`: what customers will be worth.

use chrono_tz::Tz;
use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use super::{Range, duration, footer, named, percent, provenance, selector};
use crate::connection::Connection;
use crate::{output, time};

/// Fit how often customers come back and how much they spend, and value them.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  northstar clv Purchase --amount amount --from 2025-01-01 --to 2026-01-01
  northstar clv Purchase --amount amount --from 2025-01-01 --to 2026-01-01 \\
      --periods 6 --discount 0.02 --holdout 90d --top 20
  northstar clv Purchase --from 2025-01-01 --to 2026-01-01 --cohort pro-users \\
      --by cohort.power-users
  northstar clv 'Purchase where properties.channel == \"web\"' --from 2025-01-01 --to 2026-01-01 \\
      --json")]
pub struct Clv {
    /// The purchases; `EVENT where CEL` narrows them.
    purchase: String,
    /// Property with the amount; without it values are numbers of purchases.
    #[arg(long, default_value = "")]
    amount: String,
    #[command(flatten)]
    range: Range,
    /// IANA zone of the days.
    #[arg(long, default_value = "UTC")]
    zone: Tz,
    /// Length of a period.
    #[arg(long, default_value = "30d")]
    period: String,
    /// Periods ahead.
    #[arg(long, default_value_t = 12)]
    periods: i32,
    /// Discount rate per period.
    #[arg(long, default_value_t = 0.01)]
    discount: f64,
    /// Time at the end that is kept back to see whether the model would have
    /// foretold it, for example 90d.
    #[arg(long)]
    holdout: Option<String>,
    /// Customers to list, most valuable first; at most 1000.
    #[arg(long, default_value_t = 10)]
    top: i32,
    /// Go on after an earlier page.
    #[arg(long, default_value = "")]
    page_token: String,
    /// Only subjects in this cohort; give it again for more, all of which must hold.
    #[arg(long = "cohort", value_name = "COHORT")]
    cohorts: Vec<String>,
    /// Tell customers in a cohort from those out of it, as cohort.x; several after commas.
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(clv: Clv, connection: &Connection) -> anyhow::Result<()> {
    let request = pb::QueryCustomerValueRequest {
        purchase: Some(selector(&clv.purchase)),
        amount_property: clv.amount,
        start_time: clv.range.start(clv.zone)?,
        end_time: clv.range.end(clv.zone)?,
        time_zone: clv.zone.to_string(),
        period: duration(Some(&clv.period))?,
        periods: clv.periods,
        discount_rate: Some(clv.discount),
        holdout: duration(clv.holdout.as_deref())?,
        page_size: clv.top,
        page_token: clv.page_token,
        cohorts: clv.cohorts,
        breakdowns: clv.by,
    };
    let answer = connection.clients()?.insights().query_customer_value(request).await?.into_inner();
    if clv.json { output::json(&as_json(answer)?) } else { print(&answer, clv.zone) }
}

fn group(group: &pb::CustomerGroup) -> Value {
    json!({
        "cohort": time::text(group.cohort_time.as_ref()),
        "customers": group.customers,
        "repeat_customers": group.repeat_customers,
        "alive": group.alive,
        "historic_value": group.historic_value,
        "expected_purchases": group.expected_purchases,
        "predicted_value": group.predicted_value,
    })
}

fn as_json(answer: pb::QueryCustomerValueResponse) -> anyhow::Result<Value> {
    Ok(json!({
        "summary": answer.summary,
        "purchases": answer.purchases.map(|model| json!({
            "r": model.r,
            "alpha_days": model.alpha_days,
            "a": model.a,
            "b": model.b,
            "log_likelihood": model.log_likelihood,
        })),
        "amounts": answer.amounts.map(|model| json!({
            "p": model.p,
            "q": model.q,
            "v": model.v,
            "correlation": model.correlation,
        })),
        "total": answer.total.as_ref().map(group),
        "cohorts": answer.cohorts.iter().map(group).collect::<Vec<_>>(),
        "segments": answer.segments.iter().map(|segment| json!({
            "dimensions": segment.dimensions,
            "group": segment.group.as_ref().map(group),
        })).collect::<Vec<_>>(),
        "new_customer_value": answer.new_customer_value,
        "backtest": answer.backtest.map(|found| json!({
            "customers": found.customers,
            "predicted_purchases": found.predicted_purchases,
            "actual_purchases": found.actual_purchases,
            "mean_absolute_error": found.mean_absolute_error,
        })),
        "customers": answer.customers.iter().map(|customer| json!({
            "subject": customer.subject,
            "repeat_purchases": customer.repeat_purchases,
            "recency_days": customer.recency_days,
            "age_days": customer.age_days,
            "historic_value": customer.historic_value,
            "p_alive": customer.p_alive,
            "expected_purchases": customer.expected_purchases,
            "expected_amount": customer.expected_amount,
            "predicted_value": customer.predicted_value,
        })).collect::<Vec<_>>(),
        "next_page_token": answer.next_page_token,
        "bought_earlier_customers": answer.bought_earlier_customers,
        "provenance": provenance(answer.provenance)?,
    }))
}

fn print(answer: &pb::QueryCustomerValueResponse, zone: Tz) -> anyhow::Result<()> {
    output::line(&answer.summary)?;
    let row = |name: String, group: &pb::CustomerGroup| {
        let customers = (group.customers as f64).max(1.0);
        [
            name,
            output::number(group.customers as f64),
            percent(Some(group.repeat_customers as f64 / customers)),
            percent(Some(group.alive / customers)),
            output::number(group.historic_value / customers),
            output::number(group.predicted_value / customers),
        ]
    };
    let cohorts = answer.cohorts.iter().map(|cohort| {
        let time = cohort.cohort_time.as_ref().map(|time| time::local_text(time, zone));
        row(time.unwrap_or_default(), cohort)
    });
    let header = ["first purchase", "customers", "bought again", "alive", "spent", "will spend"];
    output::line(output::table(&header, cohorts))?;
    if !answer.segments.is_empty() {
        let segments = answer
            .segments
            .iter()
            .map(|segment| row(named(&segment.dimensions), &segment.group.unwrap_or_default()));
        let header = ["segment", "customers", "bought again", "alive", "spent", "will spend"];
        output::line(output::table(&header, segments))?;
    }
    let customers = answer.customers.iter().map(|customer| {
        [
            customer.subject.clone(),
            customer.repeat_purchases.to_string(),
            customer.recency_days.to_string(),
            customer.age_days.to_string(),
            output::number(customer.historic_value),
            percent(Some(customer.p_alive)),
            output::number(customer.expected_purchases),
            output::number(customer.predicted_value),
        ]
    });
    let header =
        ["customer", "repeats", "last day", "age", "spent", "alive", "purchases", "will spend"];
    output::line(output::table(&header, customers))?;
    if let Some(model) = &answer.purchases {
        output::line(format!(
            "BG/NBD: r {}, alpha {} days, a {}, b {}",
            output::number(model.r),
            output::number(model.alpha_days),
            output::number(model.a),
            output::number(model.b)
        ))?;
    }
    if let Some(model) = &answer.amounts {
        output::line(format!(
            "Gamma-Gamma: p {}, q {}, v {}; correlation of how often and how much {}",
            output::number(model.p),
            output::number(model.q),
            output::number(model.v),
            output::number(model.correlation)
        ))?;
    }
    if let Some(value) = answer.new_customer_value {
        output::line(format!("somebody new is worth {}", output::number(value)))?;
    }
    if !answer.next_page_token.is_empty() {
        output::line(format!("more: --page-token {}", answer.next_page_token))?;
    }
    footer(answer.provenance.as_ref())
}
