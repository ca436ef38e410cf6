//! QueryCustomerValue: who is still a customer, how often they will buy, and for how much.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use northstar_domain::kpi::{Window, not_a_zone, read_zone};
use northstar_domain::metric::property_path;
use northstar_domain::{Problems, ProjectId};
use northstar_engine::{PurchaseAnswer, PurchaseQuery, Purchases, Side, Snapshot};
use northstar_proto::metrics::v1 as pb;
use northstar_stats::clv::{
    BgNbd, Customer, FittedBgNbd, FittedGammaGamma, GammaGamma, Horizon, Unfitted, lifetime_value,
    next_value,
};
use northstar_store::page::PageSize;

use super::impact::{check_selector, read_number, read_period};
use super::words;
use crate::ask::ask;
use crate::cohorts;
use crate::convert::metric::selector_from_proto;
use crate::convert::to_timestamp;
use crate::plan::{self, Metrics};
use crate::provenance::{Answered, Sources, provenance};
use crate::query::read_window;
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// Most periods ahead.
const MAX_PERIODS: i32 = 1_000;
/// Discount per period unless the request says otherwise.
const DISCOUNT: f64 = 0.01;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Beyond this correlation of how often and how much, the two models do not belong together.
const CORRELATED: f64 = 0.3;

struct Question {
    window: Window,
    zone: Tz,
    query: PurchaseQuery,
    horizon: Horizon,
    /// When the time that is kept back begins, and how many days it has.
    holdout: Option<(i64, f64)>,
    page: PageSize,
    /// Value and subject of the last customer of the page before.
    after: Option<(f64, String)>,
    filter: String,
    scope: cohorts::Scope,
}

/// A customer with its future.
struct Valued {
    purchases: Purchases,
    alive: f64,
    expected: f64,
    amount: Option<f64>,
    value: f64,
}

/// What is known of everybody.
struct Valuation {
    bg_nbd: FittedBgNbd,
    gamma_gamma: Option<FittedGammaGamma>,
    customers: Vec<Valued>,
    backtest: Option<pb::CustomerValueBacktest>,
    bought_earlier: u64,
    scanned: u64,
}

/// Answers a question.
pub(super) async fn query_customer_value(
    service: &Service,
    project: ProjectId,
    request: pb::QueryCustomerValueRequest,
) -> Result<pb::QueryCustomerValueResponse> {
    let breakdowns = request.breakdowns.clone();
    let question = read(request)?;
    let (view, used) =
        cohorts::view(service, project, &question.scope, question.window.end).await?;
    let now = service.clock.now();
    let sources = Sources::read(&service.pool, project, view.head, now).await?;
    let (asked, horizon, holdout) = (question.query.clone(), question.horizon, question.holdout);
    let valuation =
        ask(&view.snapshot, move |snapshot| value(snapshot, &asked, horizon, holdout)).await?;

    let model = valuation.bg_nbd.model;
    let amounts = valuation.gamma_gamma.as_ref();
    let new_amount = match amounts {
        Some(fitted) => fitted.model.expected_amount(0, 0.0),
        None => question.query.amount.is_none().then_some(1.0),
    };
    let total = group(None, valuation.customers.iter());
    let (customers, next_page_token) = page(&valuation.customers, &question);
    let of_query = (&question.query, question.horizon, question.holdout);
    let parameters = (model, amounts.map(|fitted| fitted.model), total.predicted_value);
    let metrics = Metrics::new();
    let answered = Answered {
        metrics: &metrics,
        metric_version: 0,
        window: question.window,
        time_zone: question.zone.name(),
        filter: &question.filter,
        head: view.head,
        excluded_events: view.excluded_events,
        scanned_events: valuation.scanned,
        digest: cohorts::digest(&metrics, 0, &of_query, &used, view.head, &parameters)?,
    };
    Ok(pb::QueryCustomerValueResponse {
        summary: summary(&total, &valuation, question.horizon, question.query.amount.is_some()),
        purchases: Some(pb::PurchaseModel {
            r: model.r,
            alpha_days: model.alpha,
            a: model.a,
            b: model.b,
            log_likelihood: valuation.bg_nbd.log_likelihood,
        }),
        amounts: amounts.map(|fitted| pb::AmountModel {
            p: fitted.model.p,
            q: fitted.model.q,
            v: fitted.model.v,
            correlation: fitted.correlation,
        }),
        total: Some(total),
        cohorts: by_month(&valuation.customers, question.zone),
        segments: segments(&valuation.customers, &breakdowns),
        new_customer_value: new_amount.map(|amount| next_value(&model, amount, question.horizon)),
        backtest: valuation.backtest,
        customers,
        next_page_token,
        bought_earlier_customers: valuation.bought_earlier.cast_signed(),
        provenance: Some(provenance(&sources, answered)),
    })
}

/// Reads a request, or says everything that is wrong with it.
fn read(request: pb::QueryCustomerValueRequest) -> Result<Question> {
    let mut problems = Problems::default();
    let window = read_window(&mut problems, request.start_time, request.end_time);
    let purchase = selector_from_proto(request.purchase);
    check_selector(&mut problems, "purchase", &purchase, false);
    let zone = read_zone(&request.time_zone);
    if zone.is_none() {
        problems.fields.push("time_zone", not_a_zone(&request.time_zone));
    }
    let period =
        read_period(&mut problems, "period", request.period).unwrap_or(TimeDelta::days(30));
    let periods = read_number(&mut problems, "periods", request.periods, 12, MAX_PERIODS);
    let rate = request.discount_rate.unwrap_or(DISCOUNT);
    if !(0.0..=1.0).contains(&rate) {
        problems.fields.push("discount_rate", "must lie between 0 and 1, for example 0.01");
    }
    let holdout = read_period(&mut problems, "holdout", request.holdout);
    cohorts::check_number(&mut problems, &request.cohorts);
    let by_cohorts = cohorts::read_breakdowns(&mut problems, &request.breakdowns);
    let page = PageSize::from_request(request.page_size);
    if let Err(error) = &page {
        problems.fields.push("page_size", error.to_string());
    }
    let after = match request.page_token.as_str() {
        "" => None,
        token => {
            let read = read_token(token);
            if read.is_none() {
                problems.fields.push("page_token", "is not a token that an earlier page gave");
            }
            read
        }
    };
    let (Some(window), Some(zone), Ok(page), true) = (window, zone, page, problems.is_empty())
    else {
        return Err(Error::Refused(problems));
    };
    let (from_micros, to_micros) = (plan::instant(window.start), plan::instant(window.end));
    let holdout = holdout
        .map(|length| {
            let start = to_micros.saturating_sub(plan::micros(length));
            if start <= from_micros {
                let problem = "must be shorter than the range";
                return Err(Error::field("holdout", problem));
            }
            Ok((start, length.num_seconds() as f64 / SECONDS_PER_DAY))
        })
        .transpose()?;
    Ok(Question {
        window,
        zone,
        query: PurchaseQuery {
            purchase: plan::exact_selector(&purchase)?,
            amount: Some(property_path(&request.amount_property))
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
            from_micros,
            to_micros,
            zone,
            cohorts: by_cohorts.clone(),
        },
        scope: cohorts::Scope {
            filter: request.cohorts,
            breakdowns: by_cohorts,
            ..cohorts::Scope::default()
        },
        horizon: Horizon { periods, length: period.num_seconds() as f64 / SECONDS_PER_DAY, rate },
        holdout,
        page,
        after,
        filter: purchase.filter,
    })
}

/// A token is the value to the last bit, and the subject.
fn token(customer: &Valued) -> String {
    hex::encode(format!("{:016x}{}", customer.value.to_bits(), customer.purchases.subject))
}

fn read_token(token: &str) -> Option<(f64, String)> {
    let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
    let (bits, subject) = (text.get(..16)?, text.get(16..)?);
    Some((f64::from_bits(u64::from_str_radix(bits, 16).ok()?), subject.to_owned()))
}

/// The history of a customer as the model wants it, in days.
fn history(purchases: &Purchases) -> Customer {
    Customer {
        frequency: purchases.repeats,
        recency: f64::from(purchases.recency_days),
        age: f64::from(purchases.age_days),
    }
}

/// Mean amount of the purchases after the first.
fn repeat_mean(purchases: &Purchases) -> f64 {
    if purchases.repeats == 0 { 0.0 } else { purchases.repeat_total / f64::from(purchases.repeats) }
}

/// Fits the models and values everybody, most valuable first.
fn value(
    snapshot: &Snapshot,
    query: &PurchaseQuery,
    horizon: Horizon,
    holdout: Option<(i64, f64)>,
) -> Result<Valuation> {
    let answer = snapshot.purchases(query)?;
    let bg_nbd = fit(&answer)?;
    let gamma_gamma = match &query.amount {
        None => None,
        Some(_) => {
            let spent: Vec<(u32, f64)> = answer
                .customers
                .iter()
                .map(|customer| (customer.repeats, repeat_mean(customer)))
                .collect();
            Some(GammaGamma::fit(&spent).map_err(|error| {
                Error::InsufficientData(format!("amounts cannot be modelled: {error}"))
            })?)
        }
    };
    let backtest =
        holdout.map(|(start, days)| backtest(snapshot, query, &answer, start, days)).transpose()?;
    let ahead = f64::from(horizon.periods) * horizon.length;
    let mut customers: Vec<Valued> = answer
        .customers
        .into_iter()
        .map(|purchases| {
            let known = history(&purchases);
            let amount = gamma_gamma.as_ref().and_then(|fitted| {
                fitted.model.expected_amount(purchases.repeats, repeat_mean(&purchases))
            });
            // Without amounts a purchase is worth one.
            let worth = if query.amount.is_some() { amount.unwrap_or(0.0) } else { 1.0 };
            Valued {
                alive: bg_nbd.model.p_alive(&known),
                expected: bg_nbd.model.expected_purchases(&known, ahead),
                value: lifetime_value(&bg_nbd.model, &known, worth, horizon),
                amount,
                purchases,
            }
        })
        .collect();
    customers.sort_by(|left, right| {
        let subjects = || left.purchases.subject.cmp(&right.purchases.subject);
        right.value.total_cmp(&left.value).then_with(subjects)
    });
    Ok(Valuation {
        bg_nbd,
        gamma_gamma,
        customers,
        backtest,
        bought_earlier: answer.bought_earlier,
        scanned: answer.events_scanned,
    })
}

fn fit(answer: &PurchaseAnswer) -> Result<FittedBgNbd> {
    let histories: Vec<Customer> = answer.customers.iter().map(history).collect();
    BgNbd::fit(&histories).map_err(|error| {
        let detail = match error {
            Unfitted::TooFewRepeats { .. } => format!("{error}: take a longer range"),
            other => other.to_string(),
        };
        Error::InsufficientData(format!("purchases cannot be modelled: {detail}"))
    })
}

/// Fits the model to what was known when the time that is kept back began, and looks how many of the purchases since
/// it would have foretold (the validation of Fader, Hardie & Lee 2005).
fn backtest(
    snapshot: &Snapshot,
    query: &PurchaseQuery,
    all: &PurchaseAnswer,
    start: i64,
    days: f64,
) -> Result<pb::CustomerValueBacktest> {
    let known = snapshot.purchases(&PurchaseQuery { to_micros: start, ..query.clone() })?;
    let model = fit(&known)?.model;
    let repeats: BTreeMap<&str, u32> =
        all.customers.iter().map(|one| (one.subject.as_str(), one.repeats)).collect();
    let mut found = pb::CustomerValueBacktest::default();
    for customer in &known.customers {
        let predicted = model.expected_purchases(&history(customer), days);
        let later = repeats.get(customer.subject.as_str()).copied().unwrap_or(customer.repeats);
        let actual = f64::from(later.saturating_sub(customer.repeats));
        found.customers += 1;
        found.predicted_purchases += predicted;
        found.actual_purchases += actual;
        found.mean_absolute_error += (predicted - actual).abs();
    }
    found.mean_absolute_error /= (found.customers as f64).max(1.0);
    Ok(found)
}

fn group<'a>(
    cohort: Option<DateTime<Utc>>,
    customers: impl Iterator<Item = &'a Valued>,
) -> pb::CustomerGroup {
    let mut group =
        pb::CustomerGroup { cohort_time: cohort.map(to_timestamp), ..Default::default() };
    for customer in customers {
        group.customers += 1;
        group.repeat_customers += i64::from(customer.purchases.repeats > 0);
        group.alive += customer.alive;
        group.historic_value += customer.purchases.total;
        group.expected_purchases += customer.expected;
        group.predicted_value += customer.value;
    }
    group
}

/// Customers by the sides of cohorts that they are on.
fn segments(customers: &[Valued], breakdowns: &[String]) -> Vec<pb::CustomerSegment> {
    if breakdowns.is_empty() {
        return Vec::new();
    }
    let mut segments: BTreeMap<Vec<bool>, Vec<&Valued>> = BTreeMap::new();
    for customer in customers {
        let member_of = customer.purchases.member_of.clone();
        segments.entry(member_of).or_default().push(customer);
    }
    // Members first.
    let segments = segments.into_iter().rev().map(|(member_of, members)| {
        let side = |is_member: &bool| if *is_member { Side::Within } else { Side::Without };
        let sides: Vec<Side> = member_of.iter().map(side).collect();
        pb::CustomerSegment {
            dimensions: cohorts::dimensions(breakdowns, &sides),
            group: Some(group(None, members.into_iter())),
        }
    });
    segments.collect()
}

/// Customers by the month of their first purchase.
fn by_month(customers: &[Valued], zone: Tz) -> Vec<pb::CustomerGroup> {
    let mut months: BTreeMap<DateTime<Utc>, Vec<&Valued>> = BTreeMap::new();
    for customer in customers {
        let Some(first) = DateTime::from_timestamp_micros(customer.purchases.first_micros) else {
            continue;
        };
        let local = first.with_timezone(&zone);
        let month = zone
            .with_ymd_and_hms(local.year(), local.month(), 1, 0, 0, 0)
            .earliest()
            .map_or(first, |start| start.with_timezone(&Utc));
        months.entry(month).or_default().push(customer);
    }
    months.into_iter().map(|(month, members)| group(Some(month), members.into_iter())).collect()
}

/// The customers after the last of the page before.
fn page(customers: &[Valued], question: &Question) -> (Vec<pb::CustomerValue>, String) {
    let from = question.after.as_ref().map_or(0, |(value, subject)| {
        customers.partition_point(|customer| {
            let order = value.total_cmp(&customer.value);
            order.then_with(|| customer.purchases.subject.cmp(subject)).is_le()
        })
    });
    let most = usize::try_from(question.page.limit()).unwrap_or(usize::MAX);
    let found: Vec<&Valued> = customers[from..].iter().take(most).collect();
    let (page, more) = question.page.cut(found);
    let next = page.last().filter(|_| more).map(|last| token(last)).unwrap_or_default();
    (page.into_iter().map(to_proto).collect(), next)
}

fn to_proto(customer: &Valued) -> pb::CustomerValue {
    let purchases = &customer.purchases;
    pb::CustomerValue {
        subject: purchases.subject.clone(),
        repeat_purchases: purchases.repeats.cast_signed(),
        recency_days: purchases.recency_days.cast_signed(),
        age_days: purchases.age_days.cast_signed(),
        historic_value: purchases.total,
        p_alive: customer.alive,
        expected_purchases: customer.expected,
        expected_amount: customer.amount,
        predicted_value: customer.value,
    }
}

fn summary(
    total: &pb::CustomerGroup,
    valuation: &Valuation,
    horizon: Horizon,
    has_amounts: bool,
) -> String {
    let days = f64::from(horizon.periods) * horizon.length;
    let mut text = format!(
        "Of {}, {} are expected to be customers still; in the next {} days they will buy {} times",
        words::count(total.customers as usize, "customer", "customers"),
        words::number(total.alive.round()),
        words::number(days),
        words::number(total.expected_purchases.round()),
    );
    if has_amounts {
        text += &format!(", worth {} today", words::number(total.predicted_value.round()));
    }
    text += ".";
    if let Some(backtest) = &valuation.backtest {
        text += &format!(
            " The model would have foretold {} of the {} purchases of the time kept back.",
            words::number(backtest.predicted_purchases.round()),
            words::number(backtest.actual_purchases),
        );
    }
    if let Some(fitted) = &valuation.gamma_gamma
        && fitted.correlation.abs() > CORRELATED
    {
        text += " How often and how much go together here, which the model of amounts takes to be \
                 independent: read values with care.";
    }
    text
}
