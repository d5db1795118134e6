//! How generated code sends a request: through the one send loop, to the one decoder.
//!
//! Generated code can only return `progenitor_client`'s values. What else a call learns travels in
//! [`CallState`], the inner value of the generated client, which is made anew for each call.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use progenitor_client::{Error, ResponseValue};
use serde::de::DeserializeOwned;

use super::state::CallState;
pub(crate) use crate::http::api::Operation;
use crate::{http::api, types::lenient};

type Result<T> = std::result::Result<T, Error<()>>;

/// Of an operation whose response has a body.
pub(crate) async fn decoded<T: DeserializeOwned>(
    state: &CallState,
    request: reqwest::Request,
    operation: Operation,
) -> Result<ResponseValue<T>> {
    let (status, headers, body) = send(state, request, operation).await?;
    let outcome = lenient::decode(&body);
    state.record().body = body;
    match outcome {
        Ok(value) => Ok(ResponseValue::new(value, status, headers)),
        // The record has the body.
        Err(error) => Err(Error::InvalidResponsePayload(Bytes::new(), error)),
    }
}

/// Of an operation whose response has none.
pub(super) async fn empty(
    state: &CallState,
    request: reqwest::Request,
    operation: Operation,
) -> Result<ResponseValue<()>> {
    let (status, headers, body) = send(state, request, operation).await?;
    state.record().body = body;
    Ok(ResponseValue::new((), status, headers))
}

async fn send(
    state: &CallState,
    request: reqwest::Request,
    operation: Operation,
) -> Result<(StatusCode, HeaderMap, Bytes)> {
    let options = state.options().clone();
    match api::call(state.shared(), request, operation, options).await {
        Ok((response, exchange)) => {
            let mut record = state.record();
            (record.exchange, record.rate_limit) = (exchange, response.rate_limit);
            Ok((response.status, response.headers, response.body))
        }
        Err(error) => {
            let text = error.to_string();
            state.record().error = Some(error);
            Err(Error::Custom(text))
        }
    }
}
