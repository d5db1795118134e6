//! How calls and attempts show themselves in `tracing`: by the names of OpenTelemetry's conventions for
//! generative AI and for HTTP (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>). Never a prompt, a key, or
//! the URL of an output.

use http::Method;
use tracing::{Span, field::Empty, level_filters::LevelFilter};
use uuid::Uuid;

use crate::{
    error::{Error, Exchange, Outcome},
    types::Model,
};

/// What a call to the API is about.
#[derive(Clone, Debug, Default)]
pub(crate) enum Subject {
    #[default]
    Other,
    /// A new job, by its model and by what it makes: `image` or `video`.
    Submission { model: Model, output: &'static str },
    /// A job that exists.
    Generation(Uuid),
}

impl Subject {
    /// The job that exists.
    pub(crate) fn generation_id(&self) -> Option<Uuid> {
        match self {
            Self::Generation(id) => Some(*id),
            Self::Other | Self::Submission { .. } => None,
        }
    }
}

/// The span around a call, with all its attempts. `server` is the host and port of the API, if the call goes there.
pub(super) fn call_span(operation: &'static str, subject: &Subject, server: Option<&(String, u16)>) -> Span {
    if nobody_listens() {
        return Span::none();
    }
    let span = tracing::debug_span!(
        "luma_agents.call",
        operation,
        "otel.name" = operation,
        "otel.kind" = "client",
        "gen_ai.provider.name" = Empty,
        "gen_ai.operation.name" = Empty,
        "gen_ai.request.model" = Empty,
        "gen_ai.output.type" = Empty,
        "gen_ai.response.id" = Empty,
        "server.address" = Empty,
        "server.port" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some((address, port)) = server {
        span.record("server.address", address.as_str()).record("server.port", *port);
    }
    match subject {
        Subject::Other => {}
        Subject::Submission { model, output } => {
            span.record("otel.name", format!("generate_content {model}"));
            span.record("gen_ai.provider.name", "luma").record("gen_ai.operation.name", "generate_content");
            span.record("gen_ai.request.model", model.as_str()).record("gen_ai.output.type", *output);
        }
        Subject::Generation(id) => {
            span.record("otel.name", "fetch_response");
            span.record("gen_ai.provider.name", "luma").record("gen_ai.operation.name", "fetch_response");
            span.record("gen_ai.response.id", id.to_string());
        }
    }
    span
}

/// Whether no subscriber wants spans. Without this check each poll of a call would pay for a span that the
/// feature `log` of `tracing` keeps half alive.
fn nobody_listens() -> bool {
    LevelFilter::current() < LevelFilter::DEBUG
}

/// The span around one attempt. `template` is the path of the operation, with its parameters by name.
pub(super) fn attempt_span(exchange: &Exchange, method: &Method, template: Option<&'static str>) -> Span {
    if nobody_listens() {
        return Span::none();
    }
    tracing::debug_span!(
        "luma_agents.attempt",
        attempt = exchange.attempts,
        "http.request.method" = method.as_str(),
        "http.request.resend_count" = Some(exchange.attempts - 1).filter(|resent| *resent > 0),
        "http.response.status_code" = Empty,
        "url.template" = template,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        request_id_sent = exchange.request_id_sent,
        request_id_returned = Empty,
        fault = Empty,
        duration_ms = Empty,
    )
}

/// A submission without a job, as far as is known.
pub(crate) fn log_submission(error: &Error) {
    let (request_id, error_type) = (error.request_id(), error.type_for_log());
    match error.outcome() {
        Outcome::Unknown => {
            tracing::warn!(request_id, "error.type" = error_type, "a job may exist: ask support with the request id");
        }
        Outcome::Accepted(id) => tracing::warn!(%id, "error.type" = error_type, "a job exists: wait for it"),
        Outcome::NotSent | Outcome::Rejected => {
            tracing::warn!(request_id, "error.type" = error_type, "no generation was created");
        }
    }
}

/// The end of a call.
pub(super) fn record_error(span: &Span, error: &Error) {
    if span.is_disabled() {
        return;
    }
    span.record("error.type", error.type_for_log()).record("otel.status_code", "ERROR");
}
