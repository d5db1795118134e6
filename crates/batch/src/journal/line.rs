//! One line of the journal: how it is written, and whether it is what was written.

use chrono::{DateTime, SecondsFormat, Utc};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fields;
use crate::{
    digest::Sha256,
    key::CustomId,
    ledger::{Event, Intent, SavedFile},
    usd::Usd,
};

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// Begins every line. No text inside a line holds it, since quotes are escaped there.
pub(crate) const START: &[u8] = b"{\"v\":";

/// `,"crc":"`, eight digits, `"}`.
const CRC: &[u8] = b",\"crc\":\"";
const END: usize = CRC.len() + 8 + 2;

/// A line without its checksum.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The highest number that was known to be on disk when this was written.
    pub(crate) synced: u64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) entry: Entry,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub(crate) enum Entry {
    Run {
        batch: Uuid,
        run: Uuid,
        base_url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input_sha256: Option<Sha256>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u64>,
        by: String,
    },
    Uploaded {
        sha256: Sha256,
        bytes: u64,
        file_id: Uuid,
        expires_at: Option<DateTime<Utc>>,
    },
    Intent {
        custom_id: CustomId,
        r#try: u32,
        x_request_id: Uuid,
        request_sha256: Sha256,
        model: String,
        r#type: String,
        usd: Option<Usd>,
        weight: u32,
    },
    NotSent {
        custom_id: CustomId,
        r#try: u32,
        fault: String,
    },
    Rejected {
        custom_id: CustomId,
        r#try: u32,
        status: u16,
        kind: String,
    },
    Accepted {
        custom_id: CustomId,
        r#try: u32,
        id: Uuid,
    },
    Unknown {
        custom_id: CustomId,
        r#try: u32,
        x_request_id: Option<Uuid>,
        fault: String,
    },
    Completed {
        custom_id: CustomId,
        r#try: u32,
        id: Uuid,
    },
    Failed {
        custom_id: CustomId,
        r#try: u32,
        id: Uuid,
        code: Option<String>,
    },
    Saved {
        custom_id: CustomId,
        r#try: u32,
        id: Uuid,
        #[serde(flatten)]
        file: SavedFile,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<SavedFile>,
    },
    Found {
        custom_id: CustomId,
        r#try: u32,
        id: Uuid,
    },
    None {
        custom_id: CustomId,
        r#try: u32,
    },
    Resend {
        custom_id: CustomId,
        r#try: u32,
    },
    Moved {
        batch: Uuid,
        database: String,
    },
    /// Lines before this one are lost. Each may have been an intent.
    Repaired {
        lost: u64,
        aside: String,
    },
}

impl Entry {
    pub(crate) fn intent(custom_id: CustomId, number: u32, intent: &Intent) -> Self {
        Self::Intent {
            custom_id,
            r#try: number,
            x_request_id: intent.request_id,
            request_sha256: intent.fingerprint,
            model: intent.model.clone(),
            r#type: intent.kind.clone(),
            usd: intent.usd,
            weight: intent.weight,
        }
    }

    pub(crate) fn event(custom_id: CustomId, number: u32, event: &Event, x_request_id: Option<Uuid>) -> Self {
        let r#try = number;
        match event.clone() {
            Event::NotSent { fault } => Self::NotSent { custom_id, r#try, fault },
            Event::Rejected { status, kind } => Self::Rejected { custom_id, r#try, status, kind },
            Event::Accepted { id } => Self::Accepted { custom_id, r#try, id },
            Event::Unknown { fault } => Self::Unknown { custom_id, r#try, x_request_id, fault },
            Event::Completed { id } => Self::Completed { custom_id, r#try, id },
            Event::Failed { id, code } => Self::Failed { custom_id, r#try, id, code },
            Event::Saved { id, file, more } => Self::Saved { custom_id, r#try, id, file, more },
            Event::Found { id } => Self::Found { custom_id, r#try, id },
            Event::None => Self::None { custom_id, r#try },
            Event::Resend => Self::Resend { custom_id, r#try },
        }
    }

    /// The intent, if this is one.
    pub(crate) fn as_intent(&self) -> Option<Intent> {
        let Self::Intent { x_request_id, request_sha256, model, r#type, usd, weight, .. } = self else { return None };
        let (request_id, fingerprint) = (*x_request_id, *request_sha256);
        let (model, kind, usd, weight) = (model.clone(), r#type.clone(), *usd, *weight);
        Some(Intent { after: None, request_id, fingerprint, model, kind, usd, weight })
    }

    /// The event of a try, if this is one.
    pub(crate) fn as_event(&self) -> Option<(&CustomId, u32, Event)> {
        Some(match self {
            Self::NotSent { custom_id, r#try, fault } => (custom_id, *r#try, Event::NotSent { fault: fault.clone() }),
            Self::Rejected { custom_id, r#try, status, kind } => {
                (custom_id, *r#try, Event::Rejected { status: *status, kind: kind.clone() })
            }
            Self::Accepted { custom_id, r#try, id } => (custom_id, *r#try, Event::Accepted { id: *id }),
            Self::Unknown { custom_id, r#try, fault, .. } => {
                (custom_id, *r#try, Event::Unknown { fault: fault.clone() })
            }
            Self::Completed { custom_id, r#try, id } => (custom_id, *r#try, Event::Completed { id: *id }),
            Self::Failed { custom_id, r#try, id, code } => {
                (custom_id, *r#try, Event::Failed { id: *id, code: code.clone() })
            }
            Self::Saved { custom_id, r#try, id, file, more } => {
                (custom_id, *r#try, Event::Saved { id: *id, file: file.clone(), more: more.clone() })
            }
            Self::Found { custom_id, r#try, id } => (custom_id, *r#try, Event::Found { id: *id }),
            Self::None { custom_id, r#try } => (custom_id, *r#try, Event::None),
            Self::Resend { custom_id, r#try } => (custom_id, *r#try, Event::Resend),
            Self::Run { .. }
            | Self::Uploaded { .. }
            | Self::Intent { .. }
            | Self::Moved { .. }
            | Self::Repaired { .. } => return None,
        })
    }

    pub(crate) fn custom_id(&self) -> Option<&CustomId> {
        match self {
            Self::Intent { custom_id, .. }
            | Self::NotSent { custom_id, .. }
            | Self::Rejected { custom_id, .. }
            | Self::Accepted { custom_id, .. }
            | Self::Unknown { custom_id, .. }
            | Self::Completed { custom_id, .. }
            | Self::Failed { custom_id, .. }
            | Self::Saved { custom_id, .. }
            | Self::Found { custom_id, .. }
            | Self::None { custom_id, .. }
            | Self::Resend { custom_id, .. } => Some(custom_id),
            Self::Run { .. } | Self::Uploaded { .. } | Self::Moved { .. } | Self::Repaired { .. } => None,
        }
    }

    /// Whether it has to be on disk before anything else happens.
    pub(crate) fn is_synced(&self) -> bool {
        matches!(
            self,
            Self::Run { .. }
                | Self::Intent { .. }
                | Self::Accepted { .. }
                | Self::Found { .. }
                | Self::None { .. }
                | Self::Resend { .. }
                | Self::Moved { .. }
                | Self::Repaired { .. }
        )
    }
}

/// Why bytes are no line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bad {
    /// Damaged, or cut short.
    Bytes,
    /// What was written, by a version that is not this one.
    Newer(String),
}

#[derive(Deserialize)]
struct Head {
    v: u32,
    n: u64,
    s: u64,
    t: DateTime<Utc>,
}

impl Line {
    /// The line with its checksum and newline.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let entry = serde_json::to_string(&self.entry)?;
        let inside = entry.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap_or_default();
        let text = format!("{{\"v\":{VERSION},\"n\":{},\"s\":{},\"t\":\"{at}\",{inside}", self.number, self.synced);
        let crc = crc32fast::hash(text.as_bytes());
        Ok(format!("{text},\"crc\":\"{crc:08x}\"}}\n").into_bytes())
    }

    /// Reads a whole line, without its newline.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        if !is_whole(bytes) {
            return Err(Bad::Bytes);
        }
        let line = fields::read(bytes).map_or_else(|| Self::read(bytes), Ok)?;
        // No version writes a line without a number.
        if line.number == 0 { Err(Bad::Bytes) } else { Ok(line) }
    }

    /// Any line whose checksum holds.
    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        // The checksum holds: what cannot be read now is not damaged but unknown.
        let unknown = |e: serde_json::Error| Bad::Newer(format!("a line that cannot be read: {e}"));
        let Head { v, n, s, t } = serde_json::from_slice(bytes).map_err(unknown)?;
        if v != VERSION {
            return Err(Bad::Newer(format!("version {v} of the journal")));
        }
        let entry = serde_json::from_slice(bytes).map_err(unknown)?;
        Ok(Self { number: n, synced: s, at: t, entry })
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(at) = bytes.len().checked_sub(END) else { return false };
    let (text, end) = bytes.split_at(at);
    let crc = crc32fast::hash(text);
    let digits: [u8; 8] = std::array::from_fn(|at| b"0123456789abcdef"[(crc >> (28 - 4 * at) & 15) as usize]);
    text.starts_with(START) && end.strip_prefix(CRC).and_then(|it| it.strip_suffix(b"\"}")) == Some(&digits)
}

/// The whole lines among these bytes, each with where it begins and ends.
pub(crate) fn whole_lines(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = memmem::find(&bytes[at..], START).map(|offset| at + offset) {
        let mut searched = start;
        let end = loop {
            let Some(crc) = memmem::find(&bytes[searched..], CRC).map(|offset| searched + offset) else { break None };
            let end = crc + END;
            if end <= bytes.len() && is_whole(&bytes[start..end]) {
                break Some(end);
            }
            searched = crc + 1;
        };
        if let Some(end) = end {
            found.push((start, end));
        }
        at = end.unwrap_or(start + 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"v":1,"n":1,"s":0,"t":"2026-11-25T03:31:33.120Z","e":"run","batch":"01920000-0000-7000-8000-000000000001","run":"01920000-0000-7000-8000-000000000002","base_url":"https://agents.lumalabs.ai/v1","input":"catalogue.jsonl","input_sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","lines":5000,"by":"luma-agents-batch 0.1.0""#;
    const REST: [&str; 7] = [
        r#"{"v":1,"n":2,"s":1,"t":"2026-11-25T03:31:33.120Z","e":"uploaded","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","bytes":812345,"file_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","expires_at":"2026-11-26T03:31:33Z""#,
        r#"{"v":1,"n":3,"s":1,"t":"2026-11-25T03:31:33.120Z","e":"intent","custom_id":"sku-001","try":1,"x_request_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","request_sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","model":"uni-1-max","type":"image_edit","usd":"0.1030","weight":3"#,
        r#"{"v":1,"n":4,"s":3,"t":"2026-11-25T03:31:33.120Z","e":"accepted","custom_id":"sku-001","try":1,"id":"7c9e6679-7425-40de-944b-e07fc1f90ae7""#,
        r#"{"v":1,"n":5,"s":4,"t":"2026-11-25T03:31:33.120Z","e":"rejected","custom_id":"sku-002","try":1,"status":400,"kind":"invalid_request""#,
        r#"{"v":1,"n":6,"s":4,"t":"2026-11-25T03:31:33.120Z","e":"unknown","custom_id":"sku-003","try":1,"x_request_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","fault":"connection reset""#,
        r#"{"v":1,"n":7,"s":4,"t":"2026-11-25T03:31:33.120Z","e":"completed","custom_id":"sku-001","try":1,"id":"7c9e6679-7425-40de-944b-e07fc1f90ae7""#,
        r#"{"v":1,"n":8,"s":4,"t":"2026-11-25T03:31:33.120Z","e":"saved","custom_id":"sku-001","try":1,"id":"7c9e6679-7425-40de-944b-e07fc1f90ae7","path":"out/sku-001.png","bytes":2411724,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#,
    ];

    fn with_crc(text: &str) -> String {
        format!("{text},\"crc\":\"{:08x}\"}}", crc32fast::hash(text.as_bytes()))
    }

    #[test]
    fn the_lines_of_the_specification_are_read_and_written_byte_for_byte() {
        for text in [RUN].into_iter().chain(REST) {
            let text = with_crc(text);
            let line = Line::decode(text.as_bytes()).unwrap_or_else(|e| panic!("{e:?}: {text}"));
            assert_eq!(String::from_utf8(line.encode().unwrap()).unwrap(), text + "\n");
        }
    }

    #[test]
    fn usual_lines_are_read_once_and_as_any_line_is() {
        let mut quick = 0;
        for text in [RUN].into_iter().chain(REST) {
            let more = text.replace("\"e\":", "\"mood\":[1,{\"id\":7}],\"e\":");
            let escaped = text.replace("sku", "\\u0073ku");
            let null = text.replace("\"0.1030\"", "null");
            for text in [text, &more, &escaped, &null].map(with_crc) {
                let line = Line::read(text.as_bytes());
                assert!(line.is_ok(), "{text}");
                if let Some(same) = fields::read(text.as_bytes()) {
                    assert_eq!(line, Ok(same), "{text}");
                    quick += 1;
                }
            }
        }
        assert!(quick >= 8, "{quick}");
    }

    #[test]
    fn every_flipped_bit_of_a_line_is_noticed() {
        let text = with_crc(REST[1]).into_bytes();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(Line::decode(&flipped), Err(Bad::Bytes), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_field_more_is_read_over_and_what_is_newer_is_said() {
        let more = with_crc(&REST[2].replace(",\"try\"", ",\"mood\":\"good\",\"try\""));
        assert!(Line::decode(more.as_bytes()).is_ok());
        let version = with_crc(&REST[2].replace("\"v\":1", "\"v\":2"));
        assert_eq!(Line::decode(version.as_bytes()), Err(Bad::Newer("version 2 of the journal".to_owned())));
        let event = with_crc(&REST[2].replace("accepted", "adored"));
        assert!(matches!(Line::decode(event.as_bytes()), Err(Bad::Newer(_))));
    }

    #[test]
    fn whole_lines_are_found_among_rubbish() {
        let lines = [RUN, REST[0], REST[1]].map(with_crc);
        let text = format!("\0\0{{\"v\":{}X{}{{\"v\":1,\"n\":9,\"crc\":\"{}", lines[0], lines[1], lines[2]);
        let found: Vec<_> = whole_lines(text.as_bytes()).into_iter().map(|(from, to)| &text[from..to]).collect();
        assert_eq!(found, lines);
    }
}
