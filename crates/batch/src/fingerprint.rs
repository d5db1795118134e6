//! What a request is recognised by when the same line comes again.

use serde_json::Value;

use crate::{digest::Sha256, error::Result};

/// The fingerprint of a request: the SHA-256 of its body as JSON with sorted keys, in which each local medium,
/// `{"path": ".."}`, is replaced by the SHA-256 of its content.
///
/// It is taken before any upload, so that a file that is uploaded anew changes nothing. `content` gives the SHA-256 of
/// the file at a path.
///
/// # Errors
///
/// As `content`.
pub fn fingerprint(body: &Value, mut content: impl FnMut(&str) -> Result<Sha256>) -> Result<Sha256> {
    let mut text = Vec::new();
    write(body, &mut text, &mut content)?;
    Ok(Sha256::of(text))
}

/// The path of a local medium: an object with the single field `path`, a text.
#[must_use]
pub fn local_path(value: &Value) -> Option<&str> {
    let object = value.as_object()?;
    if object.len() == 1 { object.get("path")?.as_str() } else { None }
}

fn write(value: &Value, to: &mut Vec<u8>, content: &mut impl FnMut(&str) -> Result<Sha256>) -> Result<()> {
    if let Some(path) = local_path(value) {
        to.extend_from_slice(format!("{{\"sha256\":\"{}\"}}", content(path)?).as_bytes());
        return Ok(());
    }
    match value {
        // Another crate may switch on `preserve_order`.
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (index, (name, field)) in fields.into_iter().enumerate() {
                to.push(if index == 0 { b'{' } else { b',' });
                to.extend_from_slice(Value::from(name.as_str()).to_string().as_bytes());
                to.push(b':');
                write(field, to, content)?;
            }
            to.extend_from_slice(if object.is_empty() { b"{}" } else { b"}" });
        }
        Value::Array(items) => {
            to.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    to.push(b',');
                }
                write(item, to, content)?;
            }
            to.push(b']');
        }
        simple => to.extend_from_slice(simple.to_string().as_bytes()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &str) -> Sha256 {
        fingerprint(&serde_json::from_str(body).unwrap(), |path| Ok(Sha256::of(path))).unwrap()
    }

    #[test]
    fn order_and_space_do_not_count_and_every_value_does() {
        let body = r#"{"prompt":"a \"duck\"","image_ref":[{"path":"a.png"},{"url":"https://x/y"}],"video":{},"web_search":true}"#;
        let sorted = format!(
            r#"{{"image_ref":[{{"sha256":"{}"}},{{"url":"https://x/y"}}],"prompt":"a \"duck\"","video":{{}},"web_search":true}}"#,
            Sha256::of("a.png")
        );
        assert_eq!(of(body), Sha256::of(sorted));
        let turned = r#"{ "web_search":true, "video":{}, "image_ref":[{"path":"a.png"},{"url":"https://x/y"}], "prompt":"a \"duck\"" }"#;
        assert_eq!(of(body), of(turned));
        for (from, to) in [("duck", "dock"), ("a.png", "b.png"), ("true", "false"), ("{}", "null"), ("url", "uri")] {
            assert_ne!(of(body), of(&body.replace(from, to)), "{from}");
        }
    }

    #[test]
    fn a_local_medium_counts_by_its_content_not_its_name() {
        let content = |_: &str| Ok(Sha256::of("the same"));
        let [one, two] = ["a.png", "b.png"].map(|path| json!({ "source": { "path": path } }));
        assert_eq!(fingerprint(&one, content).unwrap(), fingerprint(&two, content).unwrap());
        assert!(fingerprint(&one, |_| Err(crate::Error::invalid_input("no such file"))).is_err());
    }
}
