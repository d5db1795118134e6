//! Scripts: how generations run, how uploaded files are taken in, how transfers of bytes fail.

use std::time::Duration;

use bytes::Bytes;

use crate::types::{GenerationFailureCode, GenerationState, GenerationType, Model};

/// How a generation runs. The default: the first poll finds it `queued`, the second `processing`, the
/// third `completed`.
///
/// The response to a submission always has `queued`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Script {
    pub(super) pace: Pace,
    pub(super) failure: Option<(GenerationFailureCode, Option<String>)>,
    pub(super) model: Option<Model>,
    pub(super) kind: Option<GenerationType>,
    pub(super) output: Option<Bytes>,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Pace {
    /// One step a poll.
    #[default]
    Polls,
    /// One of these a poll; the last one stays.
    States(Vec<GenerationState>),
    /// The end comes after this time.
    Takes(Duration),
}

impl Script {
    /// A generation that is completed at the third poll.
    pub fn new() -> Self {
        Self::default()
    }

    /// The generation ends in `failed`, with the reason that the service gives for `code` if that is
    /// documented.
    pub fn fails(code: impl Into<GenerationFailureCode>) -> Self {
        Self { failure: Some((code.into(), None)), ..Self::default() }
    }

    /// The text of `failure_reason`. The code is `generation_failed` unless there is another.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        let code = self.failure.map_or(GenerationFailureCode::GenerationFailed, |(code, _)| code);
        self.failure = Some((code, Some(reason.into())));
        self
    }

    /// The generation ends `duration` after it was submitted, however often it is polled.
    pub fn takes(self, duration: Duration) -> Self {
        Self { pace: Pace::Takes(duration), ..self }
    }

    /// The states that one poll after the other finds; the last one stays. They may be unknown ones.
    pub fn states<S: Into<GenerationState>>(self, states: impl IntoIterator<Item = S>) -> Self {
        Self { pace: Pace::States(states.into_iter().map(Into::into).collect()), ..self }
    }

    /// The model that the generation reports, instead of the requested one.
    pub fn model(self, model: impl Into<Model>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// The type that the generation reports, instead of the requested one.
    pub fn generation_type(self, kind: impl Into<GenerationType>) -> Self {
        Self { kind: Some(kind.into()), ..self }
    }

    /// The bytes of its first output, instead of the picture or video that the emulator makes.
    pub fn output(self, bytes: impl Into<Bytes>) -> Self {
        Self { output: Some(bytes.into()), ..self }
    }

    /// What the poll with this number finds, `elapsed` after the submission. Poll 0 is the submission.
    pub(super) fn state(&self, poll: usize, elapsed: Duration) -> GenerationState {
        let end = || if self.failure.is_some() { GenerationState::Failed } else { GenerationState::Completed };
        match (&self.pace, poll) {
            (Pace::Takes(duration), _) if elapsed >= *duration => end(),
            (Pace::Takes(_), 0 | 1) | (_, 0) | (Pace::Polls, 1) => GenerationState::Queued,
            (Pace::Takes(_), _) | (Pace::Polls, 2) => GenerationState::Processing,
            (Pace::Polls, _) => end(),
            (Pace::States(states), poll) => {
                states.get(poll - 1).or(states.last()).cloned().unwrap_or(GenerationState::Queued)
            }
        }
    }

    /// Code and reason, once it has failed.
    pub(super) fn failure(&self) -> (GenerationFailureCode, String) {
        let (code, reason) = self.failure.clone().unwrap_or((GenerationFailureCode::GenerationFailed, None));
        let known = match &code {
            GenerationFailureCode::ContentModerated => {
                "Generation output was flagged by our content moderation system."
            }
            GenerationFailureCode::BudgetExhausted => "Insufficient credits to complete this generation.",
            GenerationFailureCode::OutputNotFound => "Output artifacts not found",
            _ => "Generation failed",
        };
        (code, reason.unwrap_or_else(|| known.to_owned()))
    }
}

/// How the service takes in an uploaded file. The default: the first poll finds it `pending`, the second
/// `ready`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Ingest {
    pub(super) takes: Option<Duration>,
    pub(super) failure: Option<String>,
}

impl Ingest {
    /// A file that is ready at the second poll.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file ends in `failed` with this reason.
    pub fn fails(reason: impl Into<String>) -> Self {
        Self { failure: Some(reason.into()), ..Self::default() }
    }

    /// The file is taken in `duration` after its upload was completed, however often it is polled.
    pub fn takes(self, duration: Duration) -> Self {
        Self { takes: Some(duration), ..self }
    }
}

/// How a download or upload goes wrong. The parts may be combined.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Transfer {
    pub(super) rejected: Option<u16>,
    pub(super) cut_after: Option<usize>,
    pub(super) stall_after: Option<usize>,
    pub(super) changed: bool,
    pub(super) without_length: bool,
    pub(super) without_ranges: bool,
}

impl Transfer {
    /// Nothing goes wrong: for a transfer that succeeds before the next fault.
    pub fn new() -> Self {
        Self::default()
    }

    /// Storage responds with this status and an error in XML.
    pub fn rejected(status: u16) -> Self {
        Self { rejected: Some(status), ..Self::default() }
    }

    /// The connection breaks after this many bytes of the body.
    pub fn cut_after(self, bytes: usize) -> Self {
        Self { cut_after: Some(bytes), ..self }
    }

    /// After this many bytes of the body no more are sent or read, and the connection stays open.
    pub fn stall_after(self, bytes: usize) -> Self {
        Self { stall_after: Some(bytes), ..self }
    }

    /// The object was replaced before this download, and stays so: other bytes, another `ETag`.
    pub fn changed(self) -> Self {
        Self { changed: true, ..self }
    }

    /// The download has no `Content-Length`.
    pub fn without_length(self) -> Self {
        Self { without_length: true, ..self }
    }

    /// `Range` is ignored and `Accept-Ranges` not sent: the whole object is sent.
    pub fn without_ranges(self) -> Self {
        Self { without_ranges: true, ..self }
    }

    /// How many bytes of `length` are sent, and what comes after them.
    pub(super) fn end(&self, length: usize) -> (usize, End) {
        match (self.cut_after, self.stall_after) {
            (Some(at), stall) if at < length && stall.is_none_or(|stall| at <= stall) => (at, End::Cut),
            (_, Some(at)) if at < length => (at, End::Stall),
            _ => (length, End::Whole),
        }
    }
}

/// How a transfer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Cut,
    Stall,
}
