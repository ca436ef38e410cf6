//! One way to ask for all questions about journeys: view, position, answer, provenance.

use northstar_domain::ProjectId;
use northstar_domain::kpi::Window;
use northstar_engine as engine;
use northstar_engine::Snapshot;
use northstar_engine::journeys::{
    Coverage, FunnelAnswer, FunnelCell, FunnelQuery, LifecycleAnswer, LifecycleCell,
    LifecycleQuery, MemberPage, Members, PathsAnswer, PathsCell, PathsQuery, RetentionAnswer,
    RetentionCellKey, RetentionQuery, Scope,
};
use northstar_proto::metrics::v1 as pb;
use serde::Serialize;

use super::read::{Compare, ReadScope};
use crate::ask::attempt;
use crate::cohorts;
use crate::dataset::View;
use crate::plan::{self, Metrics};
use crate::provenance::{Answered, Sources, provenance};
use crate::service::Metrics as Service;
use crate::{Error, Result};

/// A question for the engine, and what can be asked about its answer.
pub(super) trait Question: Clone + Serialize + Send + Sync + 'static {
    type Answer: Serialize + Send + Sync + 'static;
    /// One number of the answer.
    type Cell: Serialize + Send + Sync + 'static;

    fn scope(&mut self) -> &mut Scope;
    fn answer(&self, snapshot: &Snapshot) -> engine::Result<Self::Answer>;
    fn coverage(answer: &mut Self::Answer) -> &mut Coverage;
    fn members(
        &self,
        snapshot: &Snapshot,
        cell: &Self::Cell,
        page: &MemberPage,
    ) -> engine::Result<Members>;
}

macro_rules! questions {
    ($($query:ty: $answer:ty, $cell:ty, $ask:ident, $members:ident;)*) => {$(
        impl Question for $query {
            type Answer = $answer;
            type Cell = $cell;

            fn scope(&mut self) -> &mut Scope {
                &mut self.scope
            }

            fn answer(&self, snapshot: &Snapshot) -> engine::Result<$answer> {
                snapshot.$ask(self)
            }

            fn coverage(answer: &mut $answer) -> &mut Coverage {
                &mut answer.coverage
            }

            fn members(
                &self,
                snapshot: &Snapshot,
                cell: &$cell,
                page: &MemberPage,
            ) -> engine::Result<Members> {
                snapshot.$members(self, cell, page)
            }
        }
    )*};
}

questions! {
    FunnelQuery: FunnelAnswer, FunnelCell, funnel, funnel_members;
    RetentionQuery: RetentionAnswer, RetentionCellKey, retention, retention_members;
    LifecycleQuery: LifecycleAnswer, LifecycleCell, lifecycle, lifecycle_members;
    PathsQuery: PathsAnswer, PathsCell, paths, paths_members;
}

/// A question that was read.
pub(super) struct Asked<Q> {
    pub question: Q,
    pub scope: ReadScope,
    /// The events that it reads.
    pub reads: Metrics,
    /// The other time that it is asked of, too.
    pub compare: Option<Compare>,
}

/// The answer for one range.
pub(super) struct Reply<A> {
    pub period: pb::JourneyPeriod,
    pub answer: A,
    pub provenance: pb::Provenance,
}

impl<Q: Question> Asked<Q> {
    /// The answer, and that for the range compared with, from one view.
    pub(super) async fn answer(
        mut self,
        service: &Service,
        project: ProjectId,
    ) -> Result<Vec<Reply<Q::Answer>>> {
        let window = self.scope.window;
        let cohorts = self.scope.cohorts();
        let (mut view, cohorts) = cohorts::view(service, project, &cohorts, window.end).await?;
        let of_log = view.head;
        self.hold(&mut view)?;
        let mut ranges = vec![(pb::JourneyPeriod::Current, window)];
        let compared = self.compare.map(|compare| compare.window(window, self.scope.zone));
        if let Some(window) = compared.transpose()?.flatten() {
            ranges.push((pb::JourneyPeriod::Compared, window));
        }
        let (sources, answers) = tokio::try_join!(
            Sources::read(&service.pool, project, of_log, service.clock.now()),
            self.answers(&view, &ranges),
        )?;
        let mut replies = Vec::new();
        for ((period, window), mut answer) in ranges.into_iter().zip(answers) {
            range_of(self.question.scope(), window);
            // How much was looked at grows with the log; the answer does not.
            let coverage = std::mem::take(Q::coverage(&mut answer));
            let question = &self.question;
            let digest = cohorts::digest(&self.reads, 0, question, &cohorts, view.head, &answer)?;
            *Q::coverage(&mut answer) = coverage;
            let answered = Answered {
                metrics: &self.reads,
                metric_version: 0,
                window,
                time_zone: self.scope.zone.name(),
                filter: &self.scope.filter,
                head: view.head,
                excluded_events: view.excluded_events,
                scanned_events: coverage.events_scanned,
                digest,
            };
            let provenance = provenance(&sources, answered);
            replies.push(Reply { period, answer, provenance });
        }
        Ok(replies)
    }

    /// The engine's answers for ranges, one after the other.
    async fn answers(
        &self,
        view: &View,
        ranges: &[(pb::JourneyPeriod, Window)],
    ) -> Result<Vec<Q::Answer>> {
        let mut answers = Vec::with_capacity(ranges.len());
        for (_, window) in ranges {
            let mut question = self.question.clone();
            range_of(question.scope(), *window);
            let answer = attempt(&view.snapshot, move |snapshot| question.answer(snapshot));
            answers.push(answer.await?.map_err(refused)?);
        }
        Ok(answers)
    }

    /// Ties question and view to the position that was asked for, or to the present one.
    pub(super) fn hold(&mut self, view: &mut View) -> Result<()> {
        let position = match self.scope.position {
            0 => view.head.position,
            position if position > view.head.position => {
                let problem = format!(
                    "{position} is beyond the log, which has come to {}",
                    view.head.position
                );
                return Err(Error::field("question.scope.log_position", problem));
            }
            position => position,
        };
        view.head.position = position;
        self.question.scope().position = Some(position);
        Ok(())
    }
}

fn range_of(scope: &mut Scope, window: Window) {
    scope.from_micros = plan::instant(window.start);
    scope.to_micros = plan::instant(window.end);
}

/// What the engine refuses is a field of the question.
pub(super) fn refused(error: engine::Error) -> Error {
    match error {
        engine::Error::InvalidQuery { field: "from_micros..to_micros", problem } => {
            Error::field("question.scope", problem)
        }
        engine::Error::InvalidQuery { field, problem } => {
            Error::field(format!("question.{field}"), problem)
        }
        other => Error::from(other),
    }
}
