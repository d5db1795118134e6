//! The quick way to read the lines that a journal is mostly made of: all fields at once, without copies.
//!
//! An enum that is told apart by a field has to be read twice. This reads once, and leaves every line that is
//! unusual (another event, another type, an escaped text) to that way.

use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IgnoredAny};
use uuid::Uuid;

use super::line::{Entry, Line, VERSION};
use crate::{digest::Sha256, key::CustomId, ledger::SavedFile, usd::Usd};

/// The fields of the events that every job has.
#[derive(Deserialize)]
struct Fields<'a> {
    v: u32,
    n: u64,
    s: u64,
    t: DateTime<Utc>,
    e: &'a str,
    custom_id: &'a str,
    r#try: u32,
    x_request_id: Option<Uuid>,
    request_sha256: Option<&'a str>,
    model: Option<&'a str>,
    r#type: Option<&'a str>,
    usd: Option<&'a str>,
    weight: Option<u32>,
    id: Option<Uuid>,
    path: Option<&'a str>,
    bytes: Option<u64>,
    sha256: Option<&'a str>,
    more: Option<IgnoredAny>,
}

/// A line whose checksum holds, if it is a usual one.
pub(super) fn read(bytes: &[u8]) -> Option<Line> {
    let fields: Fields<'_> = serde_json::from_slice(bytes).ok()?;
    if fields.v != VERSION {
        return None;
    }
    let (custom_id, r#try) = (CustomId::new(fields.custom_id).ok()?, fields.r#try);
    let entry = match fields.e {
        "intent" => Entry::Intent {
            custom_id,
            r#try,
            x_request_id: fields.x_request_id?,
            request_sha256: fields.request_sha256?.parse().ok()?,
            model: fields.model?.to_owned(),
            r#type: fields.r#type?.to_owned(),
            usd: Some(fields.usd?.parse::<Usd>().ok()?),
            weight: fields.weight?,
        },
        "accepted" => Entry::Accepted { custom_id, r#try, id: fields.id? },
        "completed" => Entry::Completed { custom_id, r#try, id: fields.id? },
        "saved" if fields.more.is_none() => {
            let sha256: Sha256 = fields.sha256?.parse().ok()?;
            let file = SavedFile::new(fields.path?, fields.bytes?, sha256);
            Entry::Saved { custom_id, r#try, id: fields.id?, file, more: Vec::new() }
        }
        _ => return None,
    };
    Some(Line { number: fields.n, synced: fields.s, at: fields.t, entry })
}
