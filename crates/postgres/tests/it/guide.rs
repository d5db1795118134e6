//! The queries of `docs/fleet.md`, as an operator pastes them.

use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;

use crate::{cluster::Cluster, program};

#[tokio::test]
async fn every_query_of_the_guide_runs() {
    let url = Cluster::shared().database("guide").await;
    let migrated =
        Command::new(program::build().await).arg("migrate").env("DATABASE_URL", &url).status().await.unwrap();
    assert!(migrated.success());
    let pool = PgPool::connect(&url).await.unwrap();
    let guide = include_str!("../../../../docs/fleet.md");
    let blocks = guide.split("```sql\n").skip(1).filter_map(|block| block.split("```").next());
    let queries: Vec<_> = blocks.filter(|block| !block.starts_with("CREATE ROLE")).collect();
    assert!(queries.len() >= 8);
    for query in queries {
        let ran = sqlx::raw_sql(AssertSqlSafe(query)).execute(&pool).await;
        assert!(ran.is_ok(), "{query}: {ran:?}");
    }
    pool.close().await;
}
