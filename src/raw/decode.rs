//! How generated code decodes a response: by the one decoder, without copies of headers.

use progenitor_client::{Error, ResponseValue};
use serde::de::DeserializeOwned;

use crate::types::lenient;

/// Stands where progenitor calls `ResponseValue::from_response`.
pub(super) async fn decode<T: DeserializeOwned>(
    mut response: reqwest::Response,
) -> Result<ResponseValue<T>, Error<()>> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let body = response.bytes().await.map_err(Error::ResponseBodyError)?;
    match lenient::decode(&body) {
        Ok(value) => Ok(ResponseValue::new(value, status, headers)),
        Err(error) => Err(Error::InvalidResponsePayload(body, error)),
    }
}
