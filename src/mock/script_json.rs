//! Scripts in JSON, for tests in other languages. The format is in the documentation of `mock`.

use std::{collections::BTreeMap, iter::repeat_n, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use super::{
    reply::{Operation, Reply},
    script::{Ingest, Script, Transfer},
    state::Scripts,
};
use crate::types::{GenerationFailureCode, GenerationState, GenerationType, Model};

/// Adds what the text says. The error says where the text is wrong.
pub(super) fn read(json: &str, scripts: &mut Scripts) -> Result<(), String> {
    let mut text = serde_json::Deserializer::from_str(json);
    let file: File = serde_path_to_error::deserialize(&mut text).map_err(|e| e.to_string())?;
    text.end().map_err(|e| e.to_string())?;
    let File { default, prompts, generations, files, downloads, uploads, replies } = file;
    if let Some(default) = default {
        scripts.default = default.script()?;
    }
    for it in prompts {
        scripts.by_prompt.push((it.contains, it.then.script()?));
    }
    for it in generations {
        let times = it.times.into();
        scripts.generations.extend(repeat_n(it.script()?, times));
    }
    for it in files {
        scripts.files.extend(repeat_n(Ingest { takes: it.takes, failure: it.fails }, it.times.into()));
    }
    for (list, queue) in [(downloads, &mut scripts.downloads), (uploads, &mut scripts.uploads)] {
        for it in list {
            queue.extend(repeat_n(it.transfer(), it.times.into()));
        }
    }
    for it in replies {
        let (operation, times) = (it.operation, it.times.into());
        scripts.replies.entry(operation).or_default().extend(repeat_n(it.reply()?, times));
    }
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    default: Option<Generation>,
    prompts: Vec<Prompt>,
    generations: Vec<Generation>,
    files: Vec<Taken>,
    downloads: Vec<Moved>,
    uploads: Vec<Moved>,
    replies: Vec<Response>,
}

fn once() -> u16 {
    1
}

/// Seconds, whole or not.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| D::Error::custom("expected seconds, zero or more"))
}

fn operation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Operation, D::Error> {
    let id = String::deserialize(deserializer)?;
    Operation::by_id(&id).ok_or_else(|| {
        let known = Operation::BY_ID.map(|(id, _)| format!("`{id}`")).join(", ");
        D::Error::custom(format!("unknown variant `{id}`, expected one of {known}"))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompt {
    contains: String,
    then: Generation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generation {
    #[serde(default = "once")]
    times: u16,
    #[serde(default, deserialize_with = "seconds")]
    takes: Option<Duration>,
    states: Option<Vec<GenerationState>>,
    fails: Option<GenerationFailureCode>,
    reason: Option<String>,
    model: Option<Model>,
    #[serde(rename = "type")]
    kind: Option<GenerationType>,
}

impl Generation {
    fn script(self) -> Result<Script, String> {
        let script = match self.fails {
            Some(code) => Script::fails(code),
            None => Script::new(),
        };
        let mut script = match self.reason {
            Some(reason) => script.reason(reason),
            None => script,
        };
        script = match (self.takes, self.states) {
            (Some(_), Some(_)) => return Err("a generation has either `takes` or `states`".to_owned()),
            (Some(duration), None) => script.takes(duration),
            (None, Some(states)) => script.states(states),
            (None, None) => script,
        };
        Ok(Script { model: self.model, kind: self.kind, ..script })
    }
}

/// How a file is taken in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    #[serde(default = "once")]
    times: u16,
    #[serde(default, deserialize_with = "seconds")]
    takes: Option<Duration>,
    fails: Option<String>,
}

/// How a download or upload goes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moved {
    #[serde(default = "once")]
    times: u16,
    status: Option<u16>,
    cut_after: Option<usize>,
    stall_after: Option<usize>,
    #[serde(default)]
    changed: bool,
    #[serde(default)]
    without_length: bool,
    #[serde(default)]
    without_ranges: bool,
}

impl Moved {
    fn transfer(&self) -> Transfer {
        let Self { times: _, status, cut_after, stall_after, changed, without_length, without_ranges } = *self;
        Transfer { rejected: status, cut_after, stall_after, changed, without_length, without_ranges }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    #[serde(deserialize_with = "operation")]
    operation: Operation,
    #[serde(default = "once")]
    times: u16,
    reply: Option<Known>,
    retry_after: Option<u64>,
    status: Option<u16>,
    detail: Option<Value>,
    body: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "seconds")]
    delay: Option<Duration>,
    #[serde(default)]
    after_effect: bool,
}

/// The replies that the service documents.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Known {
    Normal,
    UnknownModel,
    Unauthorized,
    InsufficientCredits,
    Forbidden,
    NotFound,
    TooLarge,
    UnusableMedia,
    RateLimited,
    TooManyJobs,
    BadGateway,
    Unavailable,
}

impl Response {
    fn reply(self) -> Result<Reply, String> {
        let reply = match (self.reply, self.status, self.detail, self.body) {
            (Some(known), None, None, None) => known.reply(self.retry_after.unwrap_or(1)),
            (None, Some(status @ 200..=599), None, body) => Reply::raw(status, body.unwrap_or_default()),
            (None, Some(status @ 200..=599), Some(detail), None) => Reply::rejected(status, detail),
            (None, None, None, None) => Reply::normal(),
            (None, Some(200..=599), Some(_), Some(_)) => return Err("a reply has either `detail` or `body`".to_owned()),
            (None, Some(status), ..) => return Err(format!("`status` {status} is not between 200 and 599")),
            (None, None, ..) => return Err("a reply with `detail` or `body` needs a `status`".to_owned()),
            (Some(_), ..) => return Err("a reply has either `reply` or `status`, `detail` and `body`".to_owned()),
        };
        let reply = self.headers.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value));
        let reply = if self.after_effect { reply.after_effect() } else { reply };
        Ok(reply.delay(self.delay.unwrap_or_default()))
    }
}

impl Known {
    fn reply(self, retry_after: u64) -> Reply {
        match self {
            Self::Normal => Reply::normal(),
            Self::UnknownModel => Reply::unknown_model(),
            Self::Unauthorized => Reply::unauthorized(),
            Self::InsufficientCredits => Reply::insufficient_credits(),
            Self::Forbidden => Reply::forbidden(),
            Self::NotFound => Reply::not_found(),
            Self::TooLarge => Reply::too_large(),
            Self::UnusableMedia => Reply::unusable_media(),
            Self::RateLimited => Reply::rate_limited(retry_after),
            Self::TooManyJobs => Reply::too_many_jobs(),
            Self::BadGateway => Reply::bad_gateway(),
            Self::Unavailable => Reply::unavailable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        read(json, &mut Scripts::default()).expect_err("an error")
    }

    #[test]
    fn an_entry_is_played_as_often_as_it_says() {
        let mut scripts = Scripts::default();
        let json = r#"{
            "default": { "takes": 30 },
            "prompts": [{ "contains": "forbidden", "then": { "fails": "content_moderated", "takes": 0.5 } }],
            "generations": [{ "times": 3, "takes": 5 }, { "states": ["queued", "paused"] }],
            "files": [{ "fails": "no picture" }],
            "downloads": [{ "times": 2, "cut_after": 100, "without_length": true }],
            "uploads": [{ "status": 503 }],
            "replies": [
                { "operation": "create_generation", "reply": "rate_limited", "retry_after": 2, "times": 2 },
                { "operation": "create_generation", "status": 500, "detail": "lost", "after_effect": true },
                { "operation": "get_generation", "status": 502, "body": "<html>", "headers": { "Server": "proxy" } },
                { "operation": "list_files", "delay": 1.5 }
            ]
        }"#;
        read(json, &mut scripts).expect("a script");
        assert_eq!((scripts.generations.len(), scripts.files.len()), (4, 1));
        assert_eq!((scripts.downloads.len(), scripts.uploads.len()), (2, 1));
        let replies = |operation| scripts.replies[&operation].iter().map(|it| &it.http).collect::<Vec<_>>();
        let create = replies(Operation::CreateGeneration);
        assert_eq!(
            create.iter().map(|it| it.as_ref().map(|it| it.status)).collect::<Vec<_>>(),
            [429, 429, 500].map(Some)
        );
        assert!(replies(Operation::ListFiles)[0].is_none(), "the normal reply, only later");
        assert_eq!(scripts.replies[&Operation::ListFiles][0].delay, Duration::from_millis(1500));
    }

    #[test]
    fn an_error_says_where_it_is() {
        for (json, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            (r#"{"generations":[{"takes":-1}]}"#, "generations[0].takes: expected seconds, zero or more"),
            (r#"{"generations":[{"take":1}]}"#, "generations[0].take: unknown field `take`, expected one of"),
            (r#"{"replies":[{"operation":"storage"}]}"#, "replies[0].operation: unknown variant `storage`"),
            (r#"{"generations":[{"takes":1,"states":[]}]}"#, "a generation has either `takes` or `states`"),
            (r#"{"replies":[{"operation":"get_file","detail":"a"}]}"#, "needs a `status`"),
            (r#"{"replies":[{"operation":"get_file","status":700}]}"#, "`status` 700 is not between 200 and 599"),
            (
                r#"{"replies":[{"operation":"get_file","status":500,"reply":"not_found"}]}"#,
                "either `reply` or `status`",
            ),
            ("{} {}", "trailing characters at line 1 column 4"),
        ] {
            let error = error(json);
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
