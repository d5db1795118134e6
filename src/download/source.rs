//! [`Source`]: what can be downloaded.

use uuid::Uuid;

use super::{name::OutputName, response::Expected};
use crate::types::{Generation, GenerationOutput, Url};

/// What can be downloaded: a finished [`Generation`], one of its outputs, or a URL.
///
/// Signed URLs expire after an hour. Only for a generation the service can be asked for new ones.
///
/// A response without a byte is an error for each of them. For an output of type `image`, `video` or
/// `exr`, so is a response in HTML, XML or JSON, by its `Content-Type` or its first bytes, and one whose
/// first bytes are of any text or of a packed file: that is a page or an error, even with status 200. A
/// plain URL may lead to anything.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) id: Option<Uuid>,
    pub(super) outputs: Vec<Output>,
}

#[derive(Clone, Debug)]
pub(super) struct Output {
    /// `None`: the caller's text is not a URL.
    pub(super) url: Option<Url>,
    pub(super) index: usize,
    pub(super) expected: Expected,
    pub(super) name: OutputName,
}

impl Source {
    fn of_url(url: Option<Url>) -> Self {
        let name = OutputName::of_url(url.as_ref().map_or("", Url::as_str), None);
        Self { id: None, outputs: vec![Output { url, index: 0, expected: Expected::Bytes, name }] }
    }
}

impl From<&Generation> for Source {
    fn from(generation: &Generation) -> Self {
        let names = OutputName::of_generation(generation);
        let output = |((index, output), name): ((usize, &GenerationOutput), OutputName)| Output {
            url: Some(output.url.clone()),
            index,
            expected: Expected::of(&output.type_),
            name,
        };
        let outputs = generation.outputs().iter().enumerate().zip(names).map(output).collect();
        Self { id: Some(generation.id), outputs }
    }
}

impl From<Generation> for Source {
    fn from(generation: Generation) -> Self {
        Self::from(&generation)
    }
}

impl From<&GenerationOutput> for Source {
    fn from(output: &GenerationOutput) -> Self {
        let expected = Expected::of(&output.type_);
        let name = OutputName::of_url(output.url.as_str(), Some(output));
        Self { id: None, outputs: vec![Output { url: Some(output.url.clone()), index: 0, expected, name }] }
    }
}

impl From<&Url> for Source {
    fn from(url: &Url) -> Self {
        Self::of_url(Some(url.clone()))
    }
}

impl From<&str> for Source {
    fn from(url: &str) -> Self {
        Self::of_url(Url::try_from(url).ok())
    }
}

impl From<String> for Source {
    fn from(url: String) -> Self {
        Self::from(url.as_str())
    }
}
