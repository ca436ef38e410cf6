//! What Postgres lets each service do with the tables of ingestion.

use northstar_store::Service;
use sqlx::{AssertSqlSafe, PgPool};

use crate::suite::{Suite, event};

/// The SQLSTATE of a statement, if it fails.
async fn sqlstate(pool: &PgPool, statement: &str) -> Option<String> {
    let result = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(pool).await;
    result.err().map(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test]
async fn metrics_reads_the_log_and_nobody_changes_it() {
    let suite = Suite::start().await;
    suite.ingest("web", vec![event("a")]).await;
    let pool = async |service| northstar_store::connect(suite.database_url(), 1, service).await;
    let refused = Some("42501".to_owned());

    let metrics = pool(Service::Metrics).await.unwrap();
    for readable in [
        "event_blocks",
        "identity_changes",
        "log_heads",
        "sources",
        "source_counts",
        "quarantine_counts",
    ] {
        let select = format!("SELECT * FROM ingestion.{readable}");
        assert_eq!(sqlstate(&metrics, &select).await, None, "{readable}");
    }
    for private in [
        "fresh_keys",
        "key_runs",
        "key_pages",
        "quarantine",
        "cursors",
        "contracts",
        "contract_history",
        "event_notes",
    ] {
        let select = format!("SELECT * FROM ingestion.{private}");
        assert_eq!(sqlstate(&metrics, &select).await, refused, "{private}");
    }
    for service in [Service::Experiments, Service::Approvals, Service::Automations] {
        let other = pool(service).await.unwrap();
        assert_eq!(sqlstate(&other, "SELECT * FROM ingestion.event_blocks").await, refused);
    }
    let own = pool(Service::Ingestion).await.unwrap();
    for change in [
        "UPDATE ingestion.event_blocks SET content = ''",
        "DELETE FROM ingestion.event_blocks",
        "DELETE FROM ingestion.event_blocks_000000",
        "UPDATE ingestion.fresh_keys SET keys = ''",
        "DELETE FROM ingestion.fresh_keys",
        "DELETE FROM ingestion.key_runs",
        "DELETE FROM ingestion.key_pages",
        "UPDATE ingestion.contract_history SET applied_by = 'x'",
        "DELETE FROM ingestion.contract_history",
    ] {
        assert_eq!(sqlstate(&own, change).await, refused, "{change}");
    }
}
