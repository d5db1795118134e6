//! What an output is called if the caller gives only a directory, and what identifies it.

use uuid::Uuid;

use crate::{types::GenerationOutput, util::redact};

/// The name of an output.
#[derive(Clone, Debug)]
pub(crate) struct OutputName {
    /// The file name without its extension.
    pub(crate) stem: String,
    /// Differs between any two outputs. It is written to disk, so it holds no secret.
    pub(crate) identity: String,
}

impl OutputName {
    pub(crate) fn new(id: Option<Uuid>, index: usize, output: Option<&GenerationOutput>, url: &str) -> Self {
        let identity = id.map_or_else(|| redact::url(url).into_owned(), |id| format!("{id}/{index}"));
        let id = id.map_or_else(|| "output".to_owned(), |id| id.to_string());
        let stem = match output.and_then(|output| output.layer.as_ref()) {
            Some(layer) => format!("{id}-layer-{}-{}", layer.index, sanitize(&layer.label)),
            None if index == 0 => id,
            None => format!("{id}-{}", index + 1),
        };
        Self { stem, identity }
    }
}

/// A label comes from the service and may be anything. In a file name it is letters, digits and `-`.
fn sanitize(label: &str) -> String {
    let kept = label.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
    kept.flat_map(char::to_lowercase).take(40).collect::<String>().trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_leave_the_directory() {
        for (label, stem) in [
            ("Red car", "red-car"),
            ("../../etc/passwd", "etc-passwd"),
            ("..\\x", "x"),
            ("a\0b", "a-b"),
            ("", ""),
            ("Ärger", "ärger"),
        ] {
            assert_eq!(sanitize(label), stem);
        }
        assert_eq!(sanitize(&"x".repeat(500)).len(), 40);
    }
}
