//! Reports as pages, for people.

use northstar_domain::report::number;
use northstar_proto::metrics::v1 as pb;
use serde_json::Value;

use super::executive::period;
use super::page::{Item, Page};
use super::{executive_json, tasks, weekly_json};

/// A report written out, and its media type.
pub(super) type Written = (String, &'static str);

/// The scorecard in a format; nothing when none is asked for.
pub(super) fn weekly(card: &pb::WeeklyScorecard, format: pb::ReportFormat) -> Written {
    written(format, || weekly_json(card), || weekly_page(card))
}

/// The report in a format; nothing when none is asked for.
pub(super) fn executive(report: &pb::ExecutiveReport, format: pb::ReportFormat) -> Written {
    written(format, || executive_json(report), || executive_page(report))
}

fn written(
    format: pb::ReportFormat,
    json: impl FnOnce() -> Value,
    page: impl FnOnce() -> Page,
) -> Written {
    match format {
        pb::ReportFormat::Unspecified => (String::new(), ""),
        pb::ReportFormat::Json => (format!("{:#}\n", json()), "application/json"),
        pb::ReportFormat::Markdown => (page().markdown(), "text/markdown; charset=utf-8"),
        pb::ReportFormat::Html => (page().html(), "text/html; charset=utf-8"),
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

fn weekly_page(card: &pb::WeeklyScorecard) -> Page {
    let mut page = Page::new(format!("Scorecard of the week of {}", card.week));
    page.paragraph(format!(
        "Monday to Sunday in {}. Every event up to position {} of the log is covered.",
        card.time_zone, card.log_position
    ));
    gaps(&mut page, &card.gaps);
    for pillar in &card.pillars {
        pillar_section(&mut page, pillar);
    }
    page
}

fn gaps(page: &mut Page, gaps: &[String]) {
    for gap in gaps {
        page.paragraph(format!("Not told: {gap}"));
    }
}

fn pillar_section(page: &mut Page, pillar: &pb::PillarWeek) {
    let name = match (pillar.title.as_str(), pillar.pillar.as_str()) {
        ("", "") => "Work that belongs to no pillar",
        ("", name) => name,
        (title, _) => title,
    };
    page.heading(name);
    if !pillar.owner.is_empty() {
        page.paragraph(format!("{} answers for it.", pillar.owner));
    }
    let figures = [
        ("Throughput", &pillar.throughput),
        ("Median handling time", &pillar.median_handling_time),
        ("Done automatically", &pillar.automatic_share),
        ("Tests launched", &pillar.tests_launched),
        ("Tests completed", &pillar.tests_completed),
        ("Tests documented", &pillar.tests_documented),
        ("Escalations", &pillar.escalations),
    ];
    let told = || figures.iter().filter_map(|(name, figure)| Some((name, figure.as_ref()?)));
    let rows = told().map(|(name, figure)| {
        vec![
            (*name).to_owned(),
            optional(figure.value),
            optional(figure.previous),
            figure.unit.clone(),
        ]
    });
    page.table(&["", "this week", "the week before", "unit"], rows.collect());
    let kpis = pillar
        .kpis
        .iter()
        .map(|kpi| Item { text: kpi.sentence.clone(), command: kpi.command.clone() });
    page.list(kpis.collect());
    task_list(page, &pillar.tasks);
    if !pillar.notes.is_empty() {
        page.subheading("Notes");
        let notes = pillar.notes.iter().map(|note| Item {
            text: format!("{}: {}", note.author, note.text),
            command: String::new(),
        });
        page.list(notes.collect());
    }
    page.subheading("Where the numbers come from");
    let sources = told().map(|(name, figure)| Item {
        text: format!("{name}: {}; digest {}.", figure.formula, digest(figure.provenance.as_ref())),
        command: figure.command.clone(),
    });
    let kpis = pillar.kpis.iter().map(kpi_source);
    page.list(sources.chain(kpis).collect());
}

/// Nothing where there is nothing to look into.
fn task_list(page: &mut Page, tasks: &[pb::ReportTask]) {
    if tasks.is_empty() {
        return;
    }
    page.subheading("To look into");
    let items = tasks
        .iter()
        .map(|task| Item { text: tasks::sentence(task), command: task.command.clone() });
    page.list(items.collect());
}

fn digest(provenance: Option<&pb::Provenance>) -> String {
    let digest = provenance.map(|provenance| provenance.digest.as_str()).unwrap_or_default();
    digest.chars().take(12).collect()
}

fn kpi_source(movement: &pb::KpiMovement) -> Item {
    let value = movement.kpi.clone().unwrap_or_default();
    let name = value.kpi.map(|kpi| kpi.name).unwrap_or_default();
    let version =
        value.provenance.as_ref().map(|provenance| provenance.metric_version).unwrap_or_default();
    Item {
        text: format!(
            "KPI {name}: metric version {version}; digest {}.",
            digest(value.provenance.as_ref())
        ),
        command: movement.command.clone(),
    }
}

fn executive_page(report: &pb::ExecutiveReport) -> Page {
    let mut page = Page::new(format!("What changed, why, and what is next: {}", period(report)));
    page.paragraph(format!(
        "Days of {}. Every event up to position {} of the log is covered.",
        report.time_zone, report.log_position
    ));
    gaps(&mut page, &report.gaps);
    if report.units.is_empty() {
        page.paragraph("There is no KPI to tell of: apply one with its charter.");
    }
    for unit in &report.units {
        unit_section(&mut page, unit);
    }
    page
}

fn unit_section(page: &mut Page, unit: &pb::UnitReport) {
    page.heading(unit.unit.as_str());
    page.headline(unit.headline.as_str());
    page.subheading("What changed");
    page.paragraph(unit.what_changed.as_str());
    page.subheading("Why");
    page.paragraph(unit.why.as_str());
    let drivers = unit
        .drivers
        .iter()
        .map(|driver| Item { text: driver.name.clone(), command: driver.command.clone() });
    page.list(drivers.collect());
    page.subheading("What is next");
    page.paragraph(unit.what_next.as_str());
    task_list(page, &unit.tasks);
    page.subheading("Controls");
    let controls = unit.controls.iter().map(|control| Item {
        text: format!("{} {}", if control.holds { "Holds:" } else { "Look:" }, control.sentence),
        command: control.command.clone(),
    });
    page.list(controls.collect());
    if let Some(kpi) = &unit.kpi {
        page.subheading("Where the headline comes from");
        page.list(vec![kpi_source(kpi)]);
    }
}
