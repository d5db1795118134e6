//! Arguments that name a generation or a file.

use uuid::Uuid;

use crate::{
    error::{Error, Result},
    types::{File, Generation},
};

/// Names a generation or a file, as an argument: a [`Uuid`](uuid::Uuid), the id as text, or the generation or file itself.
///
/// Made from a generation or file, it also gives a wait the kind of job and its age.
#[derive(Debug)]
pub struct Id<T> {
    pub(crate) id: Result<Uuid>,
    pub(crate) known: Option<Box<T>>,
}

/// Names a generation: a [`Uuid`], the id as text, or a [`Generation`].
pub type GenerationId = Id<Generation>;

/// Names a file: a [`Uuid`], the id as text, or a [`File`].
pub type FileId = Id<File>;

impl<T> From<Uuid> for Id<T> {
    fn from(id: Uuid) -> Self {
        Self { id: Ok(id), known: None }
    }
}

impl<T> From<&str> for Id<T> {
    fn from(text: &str) -> Self {
        let id = text.trim().parse().map_err(|_| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid_input(format!("the id `{}` is not a UUID", shown.escape_debug()))
        });
        Self { id, known: None }
    }
}

impl<T> From<String> for Id<T> {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl<T> From<&String> for Id<T> {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Generation> for GenerationId {
    fn from(generation: Generation) -> Self {
        Self { id: Ok(generation.id), known: Some(Box::new(generation)) }
    }
}

impl From<&Generation> for GenerationId {
    fn from(generation: &Generation) -> Self {
        Self::from(generation.clone())
    }
}

impl From<File> for FileId {
    fn from(file: File) -> Self {
        Self { id: Ok(file.id), known: Some(Box::new(file)) }
    }
}

impl From<&File> for FileId {
    fn from(file: &File) -> Self {
        Self::from(file.clone())
    }
}
