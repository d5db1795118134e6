//! Tries as rows.

use chrono::{DateTime, Utc};
use luma_agents_batch::{Attempt, CustomId, Intent, NoJob, SavedFile, Sha256, State, Usd};
use serde_json::{Value, json};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

/// A try, and how long it counts within the account's limits.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) attempt: Attempt,
    pub(crate) place_until: Option<DateTime<Utc>>,
    pub(crate) counts_until: Option<DateTime<Utc>>,
}

/// The columns that hold a state.
#[derive(Debug, PartialEq)]
pub(crate) struct Columns {
    pub(crate) state: &'static str,
    pub(crate) job: Option<Uuid>,
    pub(crate) status: Option<i32>,
    pub(crate) detail: Option<String>,
    pub(crate) saved: Option<Value>,
}

impl Columns {
    pub(crate) fn of(state: &State) -> Self {
        let columns = |state| Self { state, job: None, status: None, detail: None, saved: None };
        match state {
            State::InFlight => columns("intent"),
            State::InDoubt { fault } => Self { detail: fault.clone(), ..columns("unknown") },
            State::NoJob(NoJob::NotSent) => columns("not_sent"),
            State::NoJob(NoJob::Rejected { status, kind }) => {
                Self { status: Some((*status).into()), detail: Some(kind.clone()), ..columns("rejected") }
            }
            State::Accepted { id } => Self { job: Some(*id), ..columns("accepted") },
            State::Completed { id } => Self { job: Some(*id), ..columns("completed") },
            State::Failed { id, code } => Self { job: Some(*id), detail: code.clone(), ..columns("failed") },
            State::Saved { id, file, more } => {
                Self { job: Some(*id), saved: Some(json!({ "file": file, "more": more })), ..columns("saved") }
            }
            State::Resent => columns("resent"),
            // Of what has no job: settled is what forbids least only after a decision, and is the only one left.
            _ => columns("settled"),
        }
    }
}

fn state(row: &PgRow) -> sqlx::Result<State> {
    let (name, job): (&str, Option<Uuid>) = (row.try_get("state")?, row.try_get("job")?);
    let detail: Option<String> = row.try_get("detail")?;
    let id = job.unwrap_or_default();
    Ok(match name {
        "intent" if row.try_get::<Option<bool>, _>("lives")?.unwrap_or(false) => State::InFlight,
        "not_sent" => State::NoJob(NoJob::NotSent),
        "rejected" => State::NoJob(NoJob::Rejected {
            status: row.try_get::<Option<i32>, _>("status")?.and_then(|it| it.try_into().ok()).unwrap_or_default(),
            kind: detail.unwrap_or_default(),
        }),
        "settled" => State::NoJob(NoJob::Settled),
        "resent" => State::Resent,
        "accepted" => State::Accepted { id },
        "completed" => State::Completed { id },
        "failed" => State::Failed { id, code: detail },
        "saved" => {
            let saved: Value = row.try_get("saved")?;
            let part = |name: &str| saved.get(name).cloned().unwrap_or_default();
            let file: SavedFile = serde_json::from_value(part("file")).map_err(|e| decode("saved", e))?;
            State::Saved { id, file, more: serde_json::from_value(part("more")).map_err(|e| decode("saved", e))? }
        }
        // An intent whose holder is gone, what is unknown, and what a newer version writes.
        _ => State::InDoubt { fault: detail },
    })
}

fn decode(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
}

fn units(value: i32) -> u32 {
    value.try_into().unwrap_or_default()
}

impl Stored {
    /// The try of a row, if there is one: a row of only the clock has none.
    pub(crate) fn from_row(row: &PgRow) -> sqlx::Result<Option<(CustomId, Self)>> {
        let Some(id): Option<String> = row.try_get("custom_id")? else { return Ok(None) };
        let id = CustomId::new(id).map_err(|e| decode("custom_id", e))?;
        let fingerprint: Option<String> = row.try_get("fingerprint")?;
        let fingerprint: Option<Sha256> = fingerprint
            .map(|it| it.parse())
            .transpose()
            .map_err(|e: luma_agents_batch::Error| decode("fingerprint", e))?;
        let (model, kind): (String, String) = (row.try_get("model")?, row.try_get("kind")?);
        let mut intent = Intent::new(fingerprint.unwrap_or_else(|| Sha256::of("")), model, kind);
        intent.usd = row.try_get::<Option<i64>, _>("usd")?.map(|it| Usd::from_ten_thousandths(it.cast_unsigned()));
        intent.weight = units(row.try_get("weight")?);
        let mut attempt = Attempt::new(units(row.try_get("try")?), &intent, row.try_get("begun_at")?, state(row)?);
        attempt.at = row.try_get("at")?;
        attempt.request_id = row.try_get("request_id")?;
        attempt.fingerprint = fingerprint;
        let (place_until, counts_until) = (row.try_get("place_until")?, row.try_get("counts_until")?);
        Ok(Some((id, Self { attempt, place_until, counts_until })))
    }
}
