//! OpenTelemetry's protocol, OTLP 1.x, as a door: spans, log records and data
//! points of metrics become events.
//!
//! Protocol: <https://opentelemetry.io/docs/specs/otlp/>; the words of
//! attributes: <https://opentelemetry.io/docs/specs/semconv/>.
//!
//! | Event | span | log record | data point |
//! |---|---|---|---|
//! | `message_id` | trace id and span id | `log.record.uid`, or a digest of the record | a digest of the point |
//! | `name` | its name | `event_name`, or `event.name`, or `log` | the metric's name |
//! | `occurred_time` | its start | its time, or when it was observed | its time |
//! | `properties` | `duration_ms`, `status`, `error`, `kind`, ids, ... | `severity`, `body`, ids | `value`, or `count`, `sum`, ...; `type`, `unit` |
//!
//! Every event has the properties `signal`, `service` and `resource`, and the
//! record's attributes under their own names; one whose name is taken stands in
//! the object `attributes`. Who it is about is read from the attributes of the
//! record and then of the resource: `user.id` or `enduser.id` is the user,
//! `enduser.pseudo.id`, `app.installation.id` or `session.id` the anonymous id,
//! `account.id` or `tenant.id` the account. Telemetry of nobody is about its
//! service: its anonymous id is `service:` and the service's namespace and name.
//!
//! The source is the principal of the key.

mod answer;
mod attributes;
mod grpc;
mod http;
mod logs;
mod metrics;
mod origin;
mod traces;

pub(crate) use grpc::Otlp;
pub(crate) use http::door;

use northstar_proto::ingestion::v1 as pb;
use northstar_server::Caller;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arrivals::{Arrival, Raw};
use crate::error::Error;
use crate::service::Ingestion;

use self::answer::{Rejected, rejected};

/// One of OTLP's three signals.
pub(super) trait Signal {
    /// An export request.
    type Request: Message + Default + DeserializeOwned + 'static;
    /// Its answer.
    type Response: Message + Default + PartialEq + Serialize;
    /// What a request holds, in the plural, as answers call it.
    const RECORDS: &'static str;

    /// The records of a request, in order, and what they become.
    fn arrivals(
        request: Self::Request,
    ) -> impl Iterator<Item = Arrival<impl Raw + 'static>> + Send;

    /// An answer that says which records are not in the log.
    fn partial_success(rejected: Rejected) -> Self::Response;
}

/// Takes an export request in. The answer follows the commit.
pub(super) async fn export<S: Signal>(
    ingestion: &Ingestion,
    caller: &Caller,
    request: S::Request,
) -> Result<S::Response, Error> {
    let arrivals = S::arrivals(request);
    let results: Vec<pb::EventResult> =
        ingestion.take_in(caller.project, &caller.principal, arrivals).await?;
    Ok(rejected(S::RECORDS, &results).map(S::partial_success).unwrap_or_default())
}
