//! The multipart form of `create_file`, which progenitor cannot generate.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header;
use reqwest::multipart;

use crate::{
    error::{Error, Result},
    raw,
    types::CreateFileResponse,
    util::redact,
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
        let part =
            multipart::Part::stream_with_length(bytes, length)
                .file_name(escape(filename))
                .mime_str(mime_type)
                .map_err(|_| Error::invalid_input(format!("`{}` is not a media type", redact::excerpt(mime_type))))?;
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
        let request = api
            .client
            .post(api.inner.url(&format!("{}/files", api.inner.base_path())))
            .header(header::CONTENT_TYPE, self.content_type)
            .body(self.body)
            .build()?;
        let operation = raw::send::Operation { id: "create_file", template: "/files" };
        raw::send::decoded(&api.inner, request, operation).await
    }
}

/// A file name in the header of its part, by the rules of HTML forms
/// (<https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>).
fn escape(filename: &str) -> String {
    filename.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_filename_cannot_end_its_header() {
        for (filename, header) in [
            ("a.png", "a.png"),
            ("a\nb.png", "a%0Ab.png"),
            ("a\r\nX-Y: z\r\n\r\n", "a%0D%0AX-Y: z%0D%0A%0D%0A"),
            ("a\"; name=\"b", "a%22; name=%22b"),
            ("ä%0A.png", "ä%0A.png"),
        ] {
            let form = Form::new(Bytes::from_static(b"0"), "image/png", filename, []).await.expect("a form");
            let body = String::from_utf8(form.body.to_vec()).expect("text");
            let line = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{header}\"\r\n");
            assert!(body.contains(&line), "{body}");
            assert!(body.contains(&format!("\r\n\r\n{filename}\r\n")), "the field has it as it is: {body}");
        }
    }
}
