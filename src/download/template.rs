//! Names for saved outputs, as the caller wants them: `{id}`, `{index}`, `{ext}` and literal text.

use uuid::Uuid;

use super::{name::FileName, temporary::PREFIX};
use crate::{
    error::{Error, Result},
    util::redact,
};

/// The extension is known last: from the first bytes.
const EXT: &str = "{ext}";

/// The name of the output `index` of the generation `id`.
pub(crate) fn render(template: &str, id: Option<Uuid>, index: usize) -> Result<FileName> {
    let wrong = |problem: &str| Error::invalid_input(format!("the template `{}` {problem}", template.escape_debug()));
    if template.contains(['/', '\\', '\0']) {
        return Err(wrong("names a file in the directory: it cannot have a `/`, `\\` or zero byte"));
    }
    if template.contains(redact::is_steering) {
        return Err(wrong("has a character that steers a terminal"));
    }
    if template.starts_with(PREFIX) {
        return Err(wrong("begins as the names of temporary files, which are removed"));
    }
    let (before, after) = match template.split_once(EXT) {
        Some((_, after)) if after.contains(EXT) => return Err(wrong("has `{ext}` twice")),
        Some((before, after)) => (before, Some(after)),
        None => (template, None),
    };
    let fill = |text: &str| {
        let mut filled = text.replace("{index}", &index.to_string());
        if let Some(id) = id {
            filled = filled.replace("{id}", &id.to_string());
        }
        filled
    };
    let name = FileName { before: fill(before), after: after.map(fill) };
    let rest = name.with("");
    if rest.contains("{id}") {
        return Err(wrong("has `{id}`, and the source is no generation"));
    }
    if rest.contains(['{', '}']) {
        return Err(wrong("can have `{id}`, `{index}` and `{ext}` in braces, and nothing else"));
    }
    if rest.trim_matches(['.', ' ']).is_empty() && after.is_none_or(|_| name.before.is_empty()) {
        return Err(wrong("makes no name of a file"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn a_template_is_filled_in() {
        for (template, expected) in [
            ("{id}-{index}.{ext}", "00000000-0000-0000-0000-000000000007-3.png"),
            ("frame_{index}_of_{id}", "frame_3_of_00000000-0000-0000-0000-000000000007"),
            ("{ext}.{index}", "png.3"),
            ("a name.{ext}", "a name.png"),
            ("{index}{index}.{ext}", "33.png"),
        ] {
            assert_eq!(render(template, Some(ID), 3).expect(template).with("png"), expected);
        }
    }

    #[test]
    fn a_template_that_cannot_be_a_name_is_an_error_that_says_why() {
        for (template, id, problem) in [
            ("../{id}", Some(ID), "`/`"),
            ("a\\b", Some(ID), "`/`"),
            ("{ext}.{ext}", Some(ID), "twice"),
            ("{id}.{ext}", None, "no generation"),
            ("{name}.{ext}", Some(ID), "nothing else"),
            ("a\u{1b}[2J{ext}", Some(ID), "steers"),
            ("a\n{ext}", Some(ID), "steers"),
            ("\u{202e}gnp.{ext}", Some(ID), "steers"),
            (".luma-{id}.part", Some(ID), "temporary"),
            ("{", Some(ID), "nothing else"),
            ("", Some(ID), "no name"),
            ("..", Some(ID), "no name"),
        ] {
            let error = render(template, id, 0).expect_err(template).to_string();
            assert!(error.contains(problem), "{template}: {error}");
        }
    }
}
