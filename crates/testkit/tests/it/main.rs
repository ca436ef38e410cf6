//! Databases for tests, from the outside: migrated, apart from each other, gone afterwards.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use northstar_testkit::TestDatabase;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{PgPool, SqlSafeStr as _};

fn migrator(word: &'static str) -> Migrator {
    let sql = match word {
        "first" => "CREATE TABLE words (word text); INSERT INTO words VALUES ('first')",
        _ => "CREATE TABLE words (word text); INSERT INTO words VALUES ('second')",
    };
    let migration =
        Migration::new(1, word.into(), MigrationType::Simple, sql.into_sql_str(), false);
    Migrator::with_migrations(vec![migration])
}

async fn words(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT word FROM words ORDER BY word").fetch_all(pool).await.unwrap()
}

async fn exists(database: &TestDatabase, name: &str) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(database.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let one = TestDatabase::create(&migrator("first")).await;
    let other = TestDatabase::create(&migrator("first")).await;
    assert_eq!(words(one.pool()).await, ["first"]);
    sqlx::query("INSERT INTO words VALUES ('more')").execute(one.pool()).await.unwrap();
    assert_eq!(words(one.pool()).await, ["first", "more"]);
    assert_eq!(words(other.pool()).await, ["first"]);
}

#[tokio::test]
async fn other_migrations_make_another_template() {
    let first = TestDatabase::create(&migrator("first")).await;
    let second = TestDatabase::create(&migrator("second")).await;
    assert_eq!(words(first.pool()).await, ["first"]);
    assert_eq!(words(second.pool()).await, ["second"]);
}

#[tokio::test]
async fn the_address_opens_the_same_database() {
    let database = TestDatabase::create(&migrator("first")).await;
    let pool = PgPool::connect(database.url()).await.unwrap();
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&pool).await.unwrap();
    assert_eq!(name, database.name());
}

#[tokio::test]
async fn a_dropped_database_is_gone_even_if_somebody_is_connected() {
    let witness = TestDatabase::create(&migrator("first")).await;
    let database = TestDatabase::create(&migrator("first")).await;
    let name = database.name().to_owned();
    let lingering = database.pool().clone();
    let connection = lingering.acquire().await.unwrap();
    assert!(exists(&witness, &name).await);
    drop(database);
    while exists(&witness, &name).await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(connection);
}

#[tokio::test]
async fn a_migration_that_fails_is_named_and_leaves_no_template() {
    let migration = Migration::new(
        1,
        "broken".into(),
        MigrationType::Simple,
        "SELECT no_such_column".into_sql_str(),
        false,
    );
    let migrator = Migrator::with_migrations(vec![migration]);
    for _ in 0..2 {
        let broken = Migrator::with_migrations(migrator.migrations.to_vec());
        let failure =
            tokio::spawn(async move { TestDatabase::create(&broken).await.name().to_owned() })
                .await;
        let panic = failure.unwrap_err().into_panic();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("a migration failed") && text.contains("no_such_column"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_databases_can_be_made_at_once() {
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            tokio::spawn(async {
                words(TestDatabase::create(&migrator("first")).await.pool()).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), ["first"]);
    }
}
