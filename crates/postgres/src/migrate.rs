//! The migrations: embedded, versioned, run by an explicit call.

use std::borrow::Cow;

use luma_agents_batch::{Error, Result, error::LedgerError};
use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{database::Database, error::database_error};

/// Number, name and text of each; never changed once released.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "ledger", include_str!("../migrations/0001_ledger.sql"))];

impl Database {
    /// Creates the tables, or brings them to this version. Needs a role that may create a schema; workers do not.
    ///
    /// Two that run at the same time wait for each other. What is applied already is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if the role may not create them, or the database is of a newer version.
    pub async fn migrate(&self) -> Result<()> {
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        });
        let mut migrator = Migrator::with_migrations(migrations.into());
        migrator.create_schema("luma");
        migrator.dangerous_set_table_name("luma.migrations");
        migrator.run(&self.pool).await.map_err(|e| match e {
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => database_error(e),
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
                LedgerError::new("the database is of a newer version; update this program").source(e).into()
            }
            e => Error::from(
                LedgerError::new("the migrations of the database failed; the cause has the details").source(e),
            ),
        })
    }

    /// Gives a role what a worker needs: rows, no tables. Run it as the owner of the schema.
    ///
    /// # Errors
    ///
    /// [`Error::Ledger`] if there is no such role, or the caller does not own the schema.
    pub async fn grant(&self, role: &str) -> Result<()> {
        let quoted: String = sqlx::query_scalar("SELECT quote_ident($1)")
            .bind(role)
            .fetch_one(&self.pool)
            .await
            .map_err(database_error)?;
        let sql = format!(
            "GRANT USAGE ON SCHEMA luma TO {quoted}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA luma TO {quoted}; \
             REVOKE INSERT, UPDATE, DELETE ON luma.migrations FROM {quoted}; \
             REVOKE DELETE ON luma.tries, luma.batches, luma.accounts FROM {quoted}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA luma TO {quoted}; \
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA luma TO {quoted}"
        );
        // The only part that is not ours is quoted by the server.
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.map_err(database_error)?;
        Ok(())
    }
}
