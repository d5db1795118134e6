//! The database of a fleet: where its URL is read from, and what is read there. Empty without the feature `postgres`.

#[cfg(feature = "postgres")]
pub(super) use postgres::DatabaseArgs;

#[cfg(not(feature = "postgres"))]
pub(super) use none::DatabaseArgs;

#[cfg(feature = "postgres")]
mod postgres {
    use std::{env, fs, path::PathBuf, time::Duration};

    use clap::Args;
    use luma_agents::uuid::Uuid;
    use luma_agents_postgres::{Database, Settings};

    use super::super::{place::Place, view::View};
    use crate::failure::Failure;

    /// For how long a database that cannot be reached is tried.
    const PATIENCE: Duration = Duration::from_secs(5);
    const VARIABLE: &str = "LUMA_DATABASE_URL";

    #[derive(Args, Debug)]
    pub(in super::super) struct DatabaseArgs {
        /// File with the URL of the fleet's PostgreSQL, to read the batch there [env: LUMA_DATABASE_URL]
        #[arg(long, value_name = "FILE")]
        database_url_file: Option<PathBuf>,

        /// Batch in the database [default: that of the journal]
        #[arg(long, value_name = "UUID")]
        batch: Option<Uuid>,
    }

    impl DatabaseArgs {
        /// The database, if one is named. A URL is no argument: arguments are seen by everybody on the machine.
        pub(in super::super) async fn connect(&self) -> Result<Option<Database>, Failure> {
            let url = match &self.database_url_file {
                Some(path) => fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?,
                None => match env::var(VARIABLE) {
                    Ok(url) => url,
                    Err(_) => return Ok(None),
                },
            };
            let settings = Settings::default().connections(2).patience(PATIENCE);
            Ok(Some(Database::connect(url.trim(), settings).await?))
        }

        /// The batch in the database, if one is named: by its id, or by its journal that was moved there.
        pub(in super::super) async fn batch(&self, place: &Place) -> Result<Option<(Database, Uuid)>, Failure> {
            if let Some(batch) = self.batch {
                let database = self.connect().await?.ok_or_else(|| {
                    Failure::usage(format!("--batch is in a database: give --database-url-file, or set {VARIABLE}"))
                })?;
                return Ok(Some((database, batch)));
            }
            let is_named = self.database_url_file.is_some();
            let view = match View::journal(place).await {
                Ok(view) => view,
                Err(_) if !is_named => return Ok(None),
                Err(e) => return Err(e.next("or name the batch by --batch UUID")),
            };
            // The environment alone sends no journal to a database that it was not moved to.
            if view.moved_to().is_none() && !is_named {
                return Ok(None);
            }
            let Some(database) = self.connect().await? else { return Ok(None) };
            if view.moved_to().is_none() {
                let path = place.journal_path()?;
                return Err(Failure::usage(format!(
                    "{} is in no database; `luma batch import` moves it there",
                    path.display()
                )));
            }
            Ok(view.batch().map(|batch| (database, batch)))
        }

        pub(in super::super) async fn view(&self, place: &Place) -> Result<Option<View>, Failure> {
            let Some((database, batch)) = self.batch(place).await? else { return Ok(None) };
            let view = database.view(batch).await?;
            Ok(Some(View {
                batch: Some(batch),
                run: Some(view.batch().run.clone()),
                is_in_use: false,
                spent: view.spent(),
                doubts: view.doubts(),
                lines: view.iter().map(|(id, last)| (id.clone(), last)).collect(),
                // Not known there.
                lost: 0,
            }))
        }
    }
}

#[cfg(not(feature = "postgres"))]
mod none {
    use clap::Args;

    use super::super::{place::Place, view::View};
    use crate::failure::Failure;

    #[derive(Args, Debug)]
    pub(in super::super) struct DatabaseArgs {}

    impl DatabaseArgs {
        #[expect(clippy::unused_async, reason = "as with the feature")]
        pub(in super::super) async fn view(&self, _: &Place) -> Result<Option<View>, Failure> {
            Ok(None)
        }
    }
}
