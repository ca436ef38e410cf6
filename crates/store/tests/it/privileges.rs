//! A service's tables are its own: Postgres refuses everybody else.

use northstar_store::{Error, Service, connect};
use northstar_testkit::TestDatabase;
use sqlx::{AssertSqlSafe, PgPool};

/// What metrics may read of ingestion: the log, the identity map and their
/// totals, and whether sources deliver.
const READ_BY_METRICS: [&str; 12] = [
    "archived_files",
    "event_blocks",
    "identity_changes",
    "consent_facts",
    "subject_policies",
    "log_heads",
    "sources",
    "source_counts",
    "source_receipts",
    "quarantine_counts",
    "source_events",
    "source_states",
];

/// Tables and views of a service, partitions too.
async fn tables(superuser: &PgPool, service: Service) -> Vec<String> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'v', 'p') ORDER BY 1",
    )
    .bind(service.as_str())
    .fetch_all(superuser)
    .await
    .unwrap();
    names
}

/// The SQLSTATE of a failed statement; `None` when it succeeded.
async fn refusal(pool: &PgPool, statement: String) -> Option<String> {
    let outcome = sqlx::query(AssertSqlSafe(statement)).execute(pool).await;
    outcome.err().map(|error| match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        other => panic!("not a refusal: {other}"),
    })
}

const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// A view that adds up takes no rows from anybody.
const VIEW_OF_TOTALS: &str = "55000";

#[tokio::test]
async fn a_service_reading_anothers_tables_is_refused_by_postgres() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let mut checked = 0;
    for reader in Service::ALL {
        let pool = connect(database.url(), 1, reader).await.unwrap();
        for owner in Service::ALL.into_iter().filter(|owner| *owner != reader) {
            for table in tables(database.pool(), owner).await {
                let statement = format!("SELECT * FROM {}.{table} LIMIT 1", owner.as_str());
                let code = refusal(&pool, statement.clone()).await;
                let granted = reader == Service::Metrics
                    && owner == Service::Ingestion
                    && READ_BY_METRICS.contains(&table.as_str());
                let expected = (!granted).then_some(INSUFFICIENT_PRIVILEGE);
                assert_eq!(code.as_deref(), expected, "{reader:?}: {statement}");
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "there are tables to refuse");
}

#[tokio::test]
async fn metrics_may_read_the_log_but_not_write_it() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let pool = connect(database.url(), 1, Service::Metrics).await.unwrap();
    for table in tables(database.pool(), Service::Ingestion).await {
        for statement in [
            format!("DELETE FROM ingestion.{table}"),
            format!("INSERT INTO ingestion.{table} DEFAULT VALUES"),
        ] {
            let code = refusal(&pool, statement.clone()).await.unwrap_or_default();
            let refused = [INSUFFICIENT_PRIVILEGE, VIEW_OF_TOTALS].contains(&code.as_str());
            assert!(refused, "{statement}: {code:?}");
        }
    }
    // Of a contract, its name and version and nothing else.
    let versions = "SELECT project_id, name, schema_version FROM ingestion.contracts";
    assert_eq!(refusal(&pool, versions.to_owned()).await, None);
    let rules = "SELECT spec FROM ingestion.contracts";
    assert_eq!(refusal(&pool, rules.to_owned()).await.as_deref(), Some(INSUFFICIENT_PRIVILEGE));
}

#[tokio::test]
async fn a_service_reads_its_own_tables() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    for service in Service::ALL {
        let pool = connect(database.url(), 1, service).await.unwrap();
        for table in tables(database.pool(), service).await {
            // A partition is reached through its table only.
            let partition: bool = sqlx::query_scalar(
                "SELECT relispartition FROM pg_class WHERE oid = to_regclass($1)",
            )
            .bind(format!("{}.{table}", service.as_str()))
            .fetch_one(database.pool())
            .await
            .unwrap();
            if !partition {
                let statement = format!("SELECT * FROM {}.{table} LIMIT 1", service.as_str());
                assert_eq!(refusal(&pool, statement.clone()).await, None, "{statement}");
            }
        }
    }
}

#[tokio::test]
async fn an_audit_entry_can_not_be_changed_by_any_service() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    for service in Service::ALL {
        let pool = connect(database.url(), 1, service).await.unwrap();
        for statement in ["UPDATE audit.entries SET actor = 'nobody'", "DELETE FROM audit.entries"]
        {
            let code = refusal(&pool, statement.to_owned()).await;
            assert_eq!(code.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{service:?}: {statement}");
        }
    }
}

#[tokio::test]
async fn a_login_that_may_not_take_a_role_gets_no_pool() {
    let database = TestDatabase::create(&northstar_store::MIGRATOR).await;
    let outsider = format!("outsider_{}", uuid::Uuid::now_v7().simple());
    let create = format!("CREATE ROLE {outsider} LOGIN PASSWORD 'secret'");
    sqlx::query(AssertSqlSafe(create)).execute(database.pool()).await.unwrap();
    let mut url: url::Url = database.url().parse().unwrap();
    if url.set_username(&outsider).is_err() || url.set_password(Some("secret")).is_err() {
        panic!("{url} takes no user");
    }
    let refused = connect(url.as_str(), 1, Service::Metrics).await;
    let drop_role = format!("DROP ROLE {outsider}");
    sqlx::query(AssertSqlSafe(drop_role)).execute(database.pool()).await.unwrap();
    assert!(matches!(refused, Err(Error::Database(_) | Error::Unavailable(_))), "{refused:?}");
}
