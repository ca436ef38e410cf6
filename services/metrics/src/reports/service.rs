//! The RPCs of reports.

use std::sync::Arc;

use chrono::NaiveDate;
use chrono_tz::Tz;
use northstar_client::Clients;
use northstar_domain::kpi::{not_a_zone, read_zone};
use northstar_domain::pillar::Pillar;
use northstar_domain::report::Week;
use northstar_domain::threshold::{Phase, Threshold};
use northstar_domain::{Clock, Problems, Violations};
use northstar_engine::Dimension;
use northstar_proto::metrics::v1 as pb;
use northstar_proto::metrics::v1::reports_service_server::ReportsService;
use northstar_server::idempotent::Mutation;
use northstar_server::{Caller, caller};
use northstar_store::metrics::note::{self, Note};
use northstar_store::metrics::{definition, threshold};
use northstar_store::{Error as StoreError, PgPool, audit};
use serde_json::json;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::belongs::Belongs;
use super::suite::Suite;
use super::weekly::note_to_proto;
use super::{executive, weekly, write};
use crate::ask::ask_view;
use crate::convert::from_timestamp;
use crate::dataset::Datasets;
use crate::provenance::Sources;
use crate::{Error, Result, plan, scorecard};

const ADD_NOTE: &str = "/northstar.metrics.v1.ReportsService/AddScorecardNote";
/// Longest note, in bytes.
const NOTE_LIMIT: usize = 4_000;
const MOST_DIMENSIONS: usize = 8;
const MOST_DAYS: i32 = 366;

/// The gRPC service.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) pool: PgPool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) datasets: Arc<Datasets>,
    pub(crate) clients: Clients,
}

#[tonic::async_trait]
impl ReportsService for Reports {
    async fn get_weekly_scorecard(
        &self,
        request: Request<pb::GetWeeklyScorecardRequest>,
    ) -> Result<Response<pb::GetWeeklyScorecardResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.weekly(&caller, request.get_ref()).await?))
    }

    async fn get_executive_report(
        &self,
        request: Request<pb::GetExecutiveReportRequest>,
    ) -> Result<Response<pb::GetExecutiveReportResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.executive(&caller, request.into_inner()).await?))
    }

    async fn add_scorecard_note(
        &self,
        request: Request<pb::AddScorecardNoteRequest>,
    ) -> Result<Response<pb::AddScorecardNoteResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.add_note(&caller, request.into_inner()).await?))
    }

    async fn list_scorecard_notes(
        &self,
        request: Request<pb::ListScorecardNotesRequest>,
    ) -> Result<Response<pb::ListScorecardNotesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let week = read_week("week", &request.week)?;
        let pillar = Some(request.pillar.as_str()).filter(|pillar| !pillar.is_empty());
        let mut connection =
            self.pool.acquire().await.map_err(StoreError::from).map_err(Error::from)?;
        let notes = note::list(&mut connection, caller.project, week.monday(), pillar)
            .await
            .map_err(Error::from)?;
        let notes = notes.iter().map(note_to_proto).collect();
        Ok(Response::new(pb::ListScorecardNotesResponse { notes }))
    }
}

impl Reports {
    async fn weekly(
        &self,
        caller: &Caller,
        request: &pb::GetWeeklyScorecardRequest,
    ) -> Result<pb::GetWeeklyScorecardResponse> {
        let now = self.clock.now();
        let zone = zone(&request.time_zone)?;
        let format = format(request.format)?;
        let today = now.with_timezone(&zone).date_naive();
        let week = match request.week.as_str() {
            "" => Week::of(today).and_then(Week::before),
            text => Some(read_week("week", text)?),
        };
        let week = week
            .filter(|week| week.window(zone).is_some_and(|window| window.start <= now))
            .ok_or_else(|| Error::field("week", "must not be a week to come"))?;
        let mut gaps = Vec::new();
        let suite = Suite(&self.clients);
        let belongs = suite.belongs(&mut gaps).await;
        let tasks = suite.tasks(&mut gaps).await;
        let (kpis, versions) = scorecard::load(&self.pool, caller.project).await?;
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let pillars = definition::all::<Pillar>(&mut connection, caller.project).await?;
        let notes = note::list(&mut connection, caller.project, week.monday(), None).await?;
        drop(connection);
        let belongs = belongs.with(&kpis);
        let material = weekly::Material {
            week,
            zone,
            now,
            pillars,
            kpis,
            versions,
            belongs,
            notes,
            tasks,
            gaps,
        };
        let view = self.datasets.view(caller.project).await?;
        let sources = Sources::read(&self.pool, caller.project, view.head, now).await?;
        let card = ask_view(view, move |view| weekly::scorecard(view, &sources, material)).await?;
        let (document, media_type) = write::weekly(&card, format);
        Ok(pb::GetWeeklyScorecardResponse {
            scorecard: Some(card),
            document,
            media_type: media_type.to_owned(),
        })
    }

    async fn executive(
        &self,
        caller: &Caller,
        request: pb::GetExecutiveReportRequest,
    ) -> Result<pb::GetExecutiveReportResponse> {
        let now = self.clock.now();
        let format = format(request.format)?;
        let asked = read_executive(&request, now)?;
        let mut gaps = Vec::new();
        let suite = Suite(&self.clients);
        let waiting = suite.waiting(&mut gaps).await;
        let tasks = match waiting {
            Some(1..) => suite.tasks(&mut gaps).await,
            Some(0) | None => Vec::new(),
        };
        let belongs = match tasks.as_slice() {
            [] => Belongs::default(),
            _ => suite.belongs(&mut gaps).await,
        };
        let (kpis, versions) = scorecard::load(&self.pool, caller.project).await?;
        let mut connection = self.pool.acquire().await.map_err(StoreError::from)?;
        let pillars = definition::all::<Pillar>(&mut connection, caller.project).await?;
        let mut open_thresholds = 0;
        for stored in definition::all::<Threshold>(&mut connection, caller.project).await? {
            let name = stored.name.as_str();
            let standing = threshold::standing(&mut connection, caller.project, name).await?;
            let open = |phase| matches!(phase, Phase::Open { .. } | Phase::Deferred { .. });
            open_thresholds +=
                usize::from(standing.is_some_and(|standing| open(standing.state.phase)));
        }
        drop(connection);
        let material = executive::Material {
            end: asked.end,
            days: asked.days,
            zone: asked.zone,
            unit: asked.unit,
            dimensions: request.dimensions,
            belongs: belongs.with(&kpis),
            pillars,
            kpis,
            versions,
            tasks,
            waiting,
            open_thresholds,
            gaps,
        };
        let view = self.datasets.view(caller.project).await?;
        let sources = Sources::read(&self.pool, caller.project, view.head, now).await?;
        let report =
            ask_view(view, move |view| executive::report(view, &sources, material)).await?;
        let (document, media_type) = write::executive(&report, format);
        Ok(pb::GetExecutiveReportResponse {
            report: Some(report),
            document,
            media_type: media_type.to_owned(),
        })
    }

    async fn add_note(
        &self,
        caller: &Caller,
        request: pb::AddScorecardNoteRequest,
    ) -> Result<pb::AddScorecardNoteResponse> {
        let mutation = Mutation::new(caller, ADD_NOTE, &request.request_id, &request)?;
        let week = read_week("week", &request.week)?;
        let mut violations = Violations::new();
        violations.require_text("text", &request.text, NOTE_LIMIT);
        violations.text("text", &request.text);
        Error::check(Problems { fields: violations, ..Problems::default() })?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await.map_err(StoreError::from)?;
        if let Some(answer) = mutation.find_answer(&mut tx).await? {
            return Ok(answer);
        }
        let pillar = definition::find::<Pillar>(&mut tx, caller.project, &request.pillar).await?;
        if pillar.is_none() {
            return Err(Error::NotFound { kind: "Pillar", name: request.pillar });
        }
        let note = Note {
            note_id: Uuid::now_v7(),
            pillar: request.pillar,
            week: week.monday(),
            author: caller.principal.clone(),
            body: request.text,
            created_at: now,
        };
        note::insert(&mut tx, caller.project, &note).await?;
        let entry = audit::NewEntry {
            project: caller.project,
            actor: &caller.principal,
            action: "scorecard.note",
            resource: &format!("pillars/{}", note.pillar),
            detail: &json!({ "week": note.week, "note_id": note.note_id }),
            at: now,
        };
        audit::append(&mut tx, &entry).await?;
        let response = pb::AddScorecardNoteResponse { note: Some(note_to_proto(&note)) };
        mutation.save_answer(&mut tx, &response, now).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok(response)
    }
}

fn zone(text: &str) -> Result<Tz> {
    read_zone(text).ok_or_else(|| Error::field("time_zone", not_a_zone(text)))
}

fn format(format: i32) -> Result<pb::ReportFormat> {
    pb::ReportFormat::try_from(format)
        .map_err(|_| Error::field("format", "must be json, markdown or html"))
}

fn read_week(field: &str, text: &str) -> Result<Week> {
    text.parse::<NaiveDate>()
        .ok()
        .and_then(Week::of)
        .ok_or_else(|| Error::field(field, format!("{text:?} is not a day: write 2026-03-04")))
}

struct Asked {
    end: chrono::DateTime<chrono::Utc>,
    days: u32,
    zone: Tz,
    unit: executive::UnitBy,
}

fn read_executive(
    request: &pb::GetExecutiveReportRequest,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Asked> {
    let end = match &request.end_time {
        None => now,
        Some(time) => from_timestamp(time)
            .filter(|end| *end <= now)
            .ok_or_else(|| Error::field("end_time", "must be a time that is not in the future"))?,
    };
    let days = match request.days {
        0 => 7,
        days if (1..=MOST_DAYS).contains(&days) => days.cast_unsigned(),
        _ => return Err(Error::field("days", "must lie between 1 and 366")),
    };
    let unit = match request.unit.as_str() {
        "" | "owner" => executive::UnitBy::Owner,
        text => match plan::dimension(text) {
            Dimension::Property(path) if !path.is_empty() => executive::UnitBy::Property(path),
            _ => {
                return Err(Error::field(
                    "unit",
                    "must be owner or a property, like properties.unit",
                ));
            }
        },
    };
    if request.dimensions.len() > MOST_DIMENSIONS {
        let problem = format!("at most {MOST_DIMENSIONS} are allowed");
        return Err(Error::field("dimensions", problem));
    }
    for (index, name) in request.dimensions.iter().enumerate() {
        if name.is_empty() || matches!(plan::dimension(name), Dimension::Cohort(_)) {
            let problem = "must be a property, event.name, event.source or event.account_id";
            return Err(Error::field(format!("dimensions[{index}]"), problem));
        }
    }
    Ok(Asked { end, days, zone: zone(&request.time_zone)?, unit })
}
