//! The multipart form of `create_file`, which progenitor cannot generate.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header;
use progenitor_client::{ClientHooks as _, OperationInfo};
use reqwest::multipart;

use crate::{
    error::{Error, Result},
    raw,
    types::CreateFileResponse,
};

/// A form in one piece, so that it can be sent again where that is safe.
pub(crate) struct Form {
    content_type: String,
    body: Bytes,
}

impl Form {
    /// `fields` are the text fields beside the name of the file.
    pub(crate) async fn new(
        bytes: Bytes,
        mime_type: &str,
        filename: &str,
        fields: impl IntoIterator<Item = (&'static str, Option<String>)>,
    ) -> Result<Self> {
        let length = bytes.len() as u64;
        let part = multipart::Part::stream_with_length(bytes, length)
            .file_name(filename.to_owned())
            .mime_str(mime_type)
            .map_err(|_| Error::invalid_input(format!("`{}` is not a media type", mime_type.escape_debug())))?;
        let mut form = multipart::Form::new().part("file", part).text("filename", filename.to_owned());
        for (name, value) in fields {
            if let Some(value) = value {
                form = form.text(name, value);
            }
        }
        let content_type = format!("multipart/form-data; boundary={}", form.boundary());
        let body = form.into_stream().try_collect::<Vec<_>>().await;
        let body = body.map_err(|e| Error::invalid_input(format!("the form cannot be built: {e}")))?;
        Ok(Self { content_type, body: body.concat().into() })
    }

    pub(crate) async fn send(self, api: raw::Client) -> Result<raw::ResponseValue<CreateFileResponse>, raw::Error> {
        let mut request = api
            .client
            .post(format!("{}/files", api.baseurl))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, self.content_type)
            .body(self.body)
            .build()?;
        let info = OperationInfo { operation_id: "create_file" };
        api.pre(&mut request, &info).await?;
        let response = api.exec(request, &info).await;
        api.post(&response, &info).await?;
        raw::ResponseValue::from_response(response?).await
    }
}
