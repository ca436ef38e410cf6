//! Reads of what may be personal leave a trace: who, when, how much; never what.

use northstar_domain::Clock;
use northstar_server::Caller;
use northstar_store::{Error, PgPool, Result, audit};

/// What was shown.
pub(crate) struct Shown<'a> {
    /// For example `quarantine.read`.
    pub(crate) action: &'a str,
    /// For example `quarantine/<id>`.
    pub(crate) resource: &'a str,
    /// How much.
    pub(crate) detail: serde_json::Value,
}

/// Writes down what a caller is shown, before it is: a read that cannot be written
/// down does not happen.
pub(crate) async fn audited(
    pool: &PgPool,
    clock: &dyn Clock,
    caller: &Caller,
    shown: Shown<'_>,
) -> Result<()> {
    let mut transaction = pool.begin().await?;
    let entry = audit::NewEntry {
        project: caller.project,
        actor: &caller.principal,
        action: shown.action,
        resource: shown.resource,
        detail: &shown.detail,
        at: clock.now(),
    };
    audit::append(&mut transaction, &entry).await?;
    transaction.commit().await.map_err(Error::from)
}
