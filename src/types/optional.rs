//! [`Optional`]: what the setters of optional fields take.

/// What the setter of an optional field takes: the value, an [`Option`] of it, or what converts to it.
///
/// Text converts to an enum and to text, the builder of an object to the object, and a generation or a file
/// to a reference to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional<T>(pub(crate) Option<T>);

impl<T> From<T> for Optional<T> {
    fn from(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> From<Option<T>> for Optional<T> {
    fn from(value: Option<T>) -> Self {
        Self(value)
    }
}

impl From<&str> for Optional<String> {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}
