//! What generated code calls around each request: it hands the request to the one send loop.
//!
//! Generated code can only be handed a `reqwest::Response`. What else a call learns travels in
//! [`CallState`], the inner value of the generated client, which is cloned for each call.

use bytes::Bytes;
use progenitor_client::{ClientHooks, OperationInfo};

use super::{
    client::Client,
    state::{CallState, Record},
};

use crate::http::api;

impl ClientHooks<CallState> for Client {
    async fn pre<E>(
        &self,
        request: &mut reqwest::Request,
        _: &OperationInfo,
    ) -> Result<(), progenitor_client::Error<E>> {
        // progenitor adds it; this API has no such header.
        request.headers_mut().remove("api-version");
        Ok(())
    }

    async fn exec(&self, request: reqwest::Request, info: &OperationInfo) -> reqwest::Result<reqwest::Response> {
        let state = &self.inner;
        *state.record() = Record::default();
        let outcome = api::call(&state.shared, request, info.operation_id, state.options.clone()).await;
        let mut record = state.record();
        Ok(match outcome {
            Ok((response, exchange)) => {
                record.exchange = exchange;
                record.rate_limit = response.rate_limit;
                record.body = response.body.clone();
                response.into()
            }
            Err(error) => {
                record.error = Some(error);
                http::Response::new(Bytes::new()).into()
            }
        })
    }

    async fn post<E>(
        &self,
        _: &reqwest::Result<reqwest::Response>,
        _: &OperationInfo,
    ) -> Result<(), progenitor_client::Error<E>> {
        // Keeps the generated code from decoding a response that is not there.
        match &self.inner.record().error {
            Some(error) => Err(progenitor_client::Error::Custom(error.to_string())),
            None => Ok(()),
        }
    }
}
