//! A batch as it stands: by its journal, or by the database that it was moved to.

use luma_agents::uuid::Uuid;
use luma_agents_batch::{CustomId, Doubt, JournalView, Last, Run, Spent};

use super::{database::DatabaseArgs, place::Place};
use crate::failure::Failure;

pub(super) struct View {
    pub(super) batch: Option<Uuid>,
    pub(super) run: Option<Run>,
    /// A process has the journal open. What is in doubt may then only be in flight.
    pub(super) is_in_use: bool,
    pub(super) spent: Spent,
    pub(super) doubts: Vec<Doubt>,
    pub(super) lines: Vec<(CustomId, Last)>,
    /// How many lines of the journal a repair has lost.
    pub(super) lost: u64,
}

impl View {
    /// Reads the database if it is given, else the journal.
    pub(super) async fn read(place: &Place, database: &DatabaseArgs) -> Result<Self, Failure> {
        if let Some(view) = database.view(place).await? {
            return Ok(view);
        }
        let path = place.journal_path()?;
        let view = Self::journal(place).await?;
        if let Some(there) = view.moved_to() {
            return Err(moved(&path.display().to_string(), there));
        }
        Ok(Self {
            batch: view.batch(),
            run: view.last_run().cloned(),
            is_in_use: view.is_in_use(),
            spent: view.spent(),
            doubts: view.doubts(),
            lines: view.iter().map(|(id, last)| (id.clone(), last)).collect(),
            lost: view.lost(),
        })
    }

    pub(super) async fn journal(place: &Place) -> Result<JournalView, Failure> {
        let path = place.journal_path()?;
        if !path.exists() {
            return Err(Failure::usage(format!("there is no journal {}; `luma batch run` makes it", path.display())));
        }
        Ok(JournalView::read(path).await?)
    }
}

/// Where a moved journal is read.
fn moved(path: &str, there: &str) -> Failure {
    let how = if cfg!(feature = "postgres") {
        "give --database-url-file"
    } else {
        "this program is built without the feature postgres"
    };
    Failure::usage(format!("{path} was moved to the database {there}; {how}"))
}
