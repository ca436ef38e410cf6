//! What each service does with its own tables when a subject is forgotten.
//!
//! Every service forgets in its own schema. What belongs to the subject is removed
//! or bears the pseudonym that stands in the log; in what people wrote, identifiers
//! are replaced. Doing it twice finds nothing the second time.

use chrono::{DateTime, Utc};
use northstar_domain::erasure::Renaming;
use northstar_domain::{ErasureId, ProjectId};
use sqlx::PgConnection;

use crate::{Result, approvals, automations, experiments, metrics};

/// A service that holds personal data beside the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder {
    /// Cohort lists, kept answers, notes.
    Metrics,
    /// Exposures, learnings.
    Experiments,
    /// Evidence, summaries, reasons.
    Approvals,
    /// Runs with what they act on.
    Automations,
}

impl Holder {
    /// The name of the service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Experiments => "experiments",
            Self::Approvals => "approvals",
            Self::Automations => "automations",
        }
    }

    /// Forgets a subject, in the transaction of the caller.
    pub async fn forget(
        self,
        connection: &mut PgConnection,
        subject: &ErasedSubject,
    ) -> Result<Forgot> {
        let mut forgot = match self {
            Self::Metrics => metrics::erasure::forget(connection, subject).await?,
            Self::Experiments => experiments::erasure::forget(connection, subject).await?,
            Self::Approvals => approvals::erasure::forget(connection, subject).await?,
            Self::Automations => automations::erasure::forget(connection, subject).await?,
        };
        forgot.records += forget_answers(connection, self, subject).await?;
        Ok(forgot)
    }
}

/// A subject that was erased from the log.
#[derive(Clone, Debug)]
pub struct ErasedSubject {
    /// The erasure.
    pub erasure: ErasureId,
    /// The project.
    pub project: ProjectId,
    /// Events of the subject up to here were erased; what came later is new.
    pub last_position: i64,
    /// Whoever has handled the log up to here holds no event of the subject.
    pub rewrite_position: i64,
    /// Its identifiers and what stands in their places.
    pub renamings: Vec<Renaming>,
    /// Now.
    pub at: DateTime<Utc>,
}

impl ErasedSubject {
    /// What a row has to contain to name it: the values of its identifiers, as they
    /// are and as they stand in JSON.
    pub(crate) fn values(&self) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for renaming in self.renamings.iter().filter(|renaming| !renaming.value.is_empty()) {
            let escaped = serde_json::Value::from(renaming.value.as_str()).to_string();
            let escaped = escaped[1..escaped.len() - 1].to_owned();
            if escaped != renaming.value {
                values.push(escaped);
            }
            values.push(renaming.value.clone());
        }
        values
    }

    /// The identifiers of a kind with their pseudonyms, as two columns.
    pub(crate) fn of_kind(&self, kind: &str) -> (Vec<String>, Vec<String>) {
        self.renamings
            .iter()
            .filter(|renaming| renaming.kind == kind)
            .map(|renaming| (renaming.value.clone(), renaming.pseudonym.clone()))
            .unzip()
    }
}

/// What a service did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forgot {
    /// Records that were removed or changed.
    pub records: i64,
    /// What has to happen before nothing is left; asked again later.
    pub waits_for: Option<String>,
    /// What is left to people.
    pub note: String,
}

/// Removes answers that are kept for retries and name the subject.
async fn forget_answers(
    connection: &mut PgConnection,
    holder: Holder,
    subject: &ErasedSubject,
) -> Result<i64> {
    let gone = sqlx::query_scalar!(
        r#"SELECT access.forget_answers($1, $2, $3) AS "gone!""#,
        subject.project.0,
        holder.as_str(),
        &subject.values(),
    )
    .fetch_one(connection)
    .await?;
    Ok(gone)
}

/// Whether rows changed, as a number of records.
pub(crate) fn count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
