//! Reports as JSON, for programs.

use northstar_domain::timestamp;
use northstar_proto::metrics::v1 as pb;
use serde_json::{Value, json};

use crate::convert::from_timestamp;
use crate::provenance::to_json as provenance_json;

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.and_then(from_timestamp).map(timestamp::format)
}

fn list<T>(items: &[T], one: fn(&T) -> Value) -> Value {
    items.iter().map(one).collect()
}

pub(super) fn weekly(card: &pb::WeeklyScorecard) -> Value {
    json!({
        "week": card.week,
        "start_time": time(card.start_time.as_ref()),
        "end_time": time(card.end_time.as_ref()),
        "time_zone": card.time_zone,
        "log_position": card.log_position,
        "pillars": list(&card.pillars, pillar),
        "gaps": card.gaps,
    })
}

fn pillar(pillar: &pb::PillarWeek) -> Value {
    json!({
        "pillar": pillar.pillar,
        "title": pillar.title,
        "owner": pillar.owner,
        "throughput": figure(pillar.throughput.as_ref()),
        "median_handling_time": figure(pillar.median_handling_time.as_ref()),
        "automatic_share": figure(pillar.automatic_share.as_ref()),
        "kpis": list(&pillar.kpis, movement),
        "tests_launched": figure(pillar.tests_launched.as_ref()),
        "tests_completed": figure(pillar.tests_completed.as_ref()),
        "tests_documented": figure(pillar.tests_documented.as_ref()),
        "escalations": figure(pillar.escalations.as_ref()),
        "notes": list(&pillar.notes, note),
        "tasks": list(&pillar.tasks, task),
    })
}

fn figure(figure: Option<&pb::Figure>) -> Value {
    figure.map_or(Value::Null, |figure| {
        json!({
            "value": figure.value,
            "previous": figure.previous,
            "unit": figure.unit,
            "formula": figure.formula,
            "provenance": figure.provenance.as_ref().map(provenance_json),
            "command": figure.command,
        })
    })
}

fn movement(movement: &pb::KpiMovement) -> Value {
    let value = movement.kpi.clone().unwrap_or_default();
    let kpi = value.kpi.clone().unwrap_or_default();
    let status = match value.status() {
        pb::KpiStatus::Unspecified => None,
        status => Some(status.as_str_name().trim_start_matches("KPI_STATUS_").to_ascii_lowercase()),
    };
    json!({
        "kpi": kpi.name,
        "pillar": kpi.pillar,
        "unit": kpi.unit,
        "before": movement.before,
        "value": value.value,
        "status": status,
        "next_step": value.next_step,
        "sentence": movement.sentence,
        "provenance": value.provenance.as_ref().map(provenance_json),
        "command": movement.command,
    })
}

fn task(task: &pb::ReportTask) -> Value {
    json!({
        "decision_request": task.decision_request,
        "subject": task.subject,
        "summary": task.summary,
        "owner": task.owner,
        "state": task.state,
        "by": task.by,
        "note": task.note,
        "create_time": time(task.create_time.as_ref()),
        "command": task.command,
    })
}

fn note(note: &pb::ScorecardNote) -> Value {
    json!({
        "author": note.author,
        "text": note.text,
        "create_time": time(note.create_time.as_ref()),
    })
}

pub(super) fn executive(report: &pb::ExecutiveReport) -> Value {
    json!({
        "start_time": time(report.start_time.as_ref()),
        "end_time": time(report.end_time.as_ref()),
        "time_zone": report.time_zone,
        "log_position": report.log_position,
        "units": list(&report.units, unit),
        "gaps": report.gaps,
    })
}

fn unit(unit: &pb::UnitReport) -> Value {
    json!({
        "unit": unit.unit,
        "headline": unit.headline,
        "kpi": unit.kpi.as_ref().map(movement),
        "drivers": list(&unit.drivers, driver),
        "controls": list(&unit.controls, control),
        "what_changed": unit.what_changed,
        "why": unit.why,
        "what_next": unit.what_next,
        "tasks": list(&unit.tasks, task),
    })
}

fn driver(driver: &pb::Driver) -> Value {
    json!({
        "name": driver.name,
        "contribution": driver.contribution,
        "share": driver.share,
        "before": driver.before,
        "after": driver.after,
        "sentence": driver.sentence,
        "command": driver.command,
    })
}

fn control(control: &pb::Control) -> Value {
    json!({
        "name": control.name,
        "holds": control.holds,
        "sentence": control.sentence,
        "command": control.command,
    })
}
