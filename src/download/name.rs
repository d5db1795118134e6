//! What an output is called if the caller gives only a directory, and what identifies it.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use crate::{
    types::{Generation, GenerationOutput},
    util::{hex::hex, redact},
};

/// The name of an output.
#[derive(Clone, Debug)]
pub(crate) struct OutputName {
    pub(crate) file: FileName,
    /// Differs between any two outputs. It is written to disk, so it holds no secret.
    pub(crate) identity: String,
}

/// The name of a file, whose extension may still be open.
#[derive(Clone, Debug)]
pub(crate) struct FileName {
    /// What comes before the extension, its dot included.
    pub(crate) before: String,
    /// What comes after it. `None`: the extension is no part of the name.
    pub(crate) after: Option<String>,
}

impl FileName {
    fn of_stem(stem: &str) -> Self {
        Self { before: format!("{stem}."), after: Some(String::new()) }
    }

    pub(crate) fn with(&self, extension: &str) -> String {
        match &self.after {
            Some(after) => format!("{}{extension}{after}", self.before),
            None => self.before.clone(),
        }
    }

    /// The name while the extension is not known.
    pub(crate) fn stem(&self) -> String {
        format!("{}{}", self.before.trim_end_matches('.'), self.after.as_deref().unwrap_or_default())
    }

    /// Whether some file systems take both for the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        fold(&self.with("")) == fold(&other.with(""))
    }
}

impl OutputName {
    /// The names of all outputs of a generation. No two of them are the same file.
    pub(crate) fn of_generation(generation: &Generation) -> Vec<Self> {
        let id = generation.id.to_string();
        let mut taken = HashSet::new();
        let name = |(index, output)| {
            let stem = unique(stem(&id, index, output), index, &mut taken);
            Self { file: FileName::of_stem(&stem), identity: format!("{id}/{index}") }
        };
        generation.outputs().iter().enumerate().map(name).collect()
    }

    /// The name of an output whose generation is not known.
    ///
    /// The query of a URL may be what selects the object, and it may be a signature. So all of it
    /// counts, and only a hash of it is written.
    pub(crate) fn of_url(url: &str, output: Option<&GenerationOutput>) -> Self {
        let identity = format!("{} {}", redact::url(url), hex(&Sha256::digest(url)));
        let stem = output.map_or_else(|| "output".to_owned(), |output| stem("output", 0, output));
        Self { file: FileName::of_stem(&stem), identity }
    }
}

fn stem(id: &str, index: usize, output: &GenerationOutput) -> String {
    match &output.layer {
        Some(layer) => format!("{id}-layer-{}-{}", layer.index, sanitize(&layer.label)),
        None if index == 0 => id.to_owned(),
        None => format!("{id}-{}", index + 1),
    }
}

/// A name that is taken gets the number of its output.
fn unique(stem: String, index: usize, taken: &mut HashSet<String>) -> String {
    let numbered = (index + 1..).map(|number| format!("{stem}-{number}"));
    let name = std::iter::once(stem.clone()).chain(numbered).find(|name| taken.insert(fold(name)));
    name.unwrap_or(stem)
}

/// Names that some file systems take for one and the same have the same fold. Such names differ in case
/// (upper case comes first: it unites letters whose lower cases differ), or in how a letter beyond ASCII is
/// composed of its parts: those letters do not count at all.
fn fold(name: &str) -> String {
    name.to_uppercase().to_lowercase().chars().filter(char::is_ascii).collect()
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

    #[test]
    fn no_two_outputs_have_the_same_name() {
        let long = "x".repeat(50);
        for labels in [
            ["Car", "car", "CAR", "Car!"],
            ["a", "a", "a 2", "a-2"],
            ["σ", "ς", "Σ", "s"],
            ["ß", "ss", "SS", "ſs"],
            ["\u{d55c}", "\u{1112}\u{1161}\u{11ab}", "\u{e9}", "e\u{301}"],
            [&long, &long, &long, &long],
            ["", "-", "--", "2"],
        ] {
            let output = |label: &&str| {
                serde_json::json!({
                    "type": "image", "url": "https://example.com/o",
                    "layer": { "index": 0, "label": label, "description": "", "alpha_hint": "opaque" },
                })
            };
            let generation: Generation = serde_json::from_value(serde_json::json!({
                "id": uuid::Uuid::nil(), "type": "layering", "state": "completed", "model": "uni-1",
                "created_at": "2026-04-08T12:00:00Z", "output": labels.iter().map(output).collect::<Vec<_>>(),
            }))
            .expect("a generation");
            let names = OutputName::of_generation(&generation);
            let folded: HashSet<_> = names.iter().map(|name| fold(&name.file.stem())).collect();
            let identities: HashSet<_> = names.iter().map(|name| &name.identity).collect();
            assert_eq!((folded.len(), identities.len()), (4, 4), "{names:?}");
            assert!(!names[0].file.stem().ends_with("-1"), "the first keeps its name: {names:?}");
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_the_number_of_its_output() {
        let mut taken = HashSet::new();
        let names = [0, 1, 1].map(|index| unique("car".to_owned(), index, &mut taken));
        assert_eq!(names, ["car", "car-2", "car-3"]);
    }

    #[test]
    fn the_identity_of_a_url_is_the_same_in_every_release() {
        let identity = OutputName::of_url("https://h/get?file=a", None).identity;
        assert_eq!(identity, "https://h/get?… fb3ee587d861bc67c2f97db7c47127f998399f05e7c9172271747a0c210f619c");
    }

    #[test]
    fn the_query_of_a_url_identifies_its_object_and_is_not_shown() {
        let identity = |url| OutputName::of_url(url, None).identity;
        assert_eq!(identity("https://h/get?file=a"), identity("https://h/get?file=a"));
        assert_ne!(identity("https://h/get?file=a"), identity("https://h/get?file=b"));
        assert!(!identity("https://h/get?sig=secret").contains("secret"));
    }
}
