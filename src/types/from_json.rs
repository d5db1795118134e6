//! Reads a request that a person or a language model wrote, and says where it is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Each schema that requests are made of: its fields, and the schema that a field or its items hold, or "".
pub(crate) type Fields = &'static [(&'static str, &'static [(&'static str, &'static str)])];

/// How much of a name may differ for it to be taken for a typo.
const SIMILAR: f64 = 0.6;

pub(crate) fn read<T: DeserializeOwned>(json: &[u8], schema: &str, fields: Fields) -> Result<T, String> {
    let value: Value = serde_json::from_slice(json).map_err(|e| format!("this is not JSON: {e}"))?;
    // What is derived from a struct reads an array, too.
    if !value.is_object() {
        return Err("this is no object".to_owned());
    }
    check_names(&value, schema, fields, "")?;
    serde_path_to_error::deserialize(&value).map_err(|e| match e.path().to_string().as_str() {
        "." => e.inner().to_string(),
        path => format!("`{path}`: {}", e.inner()),
    })
}

fn check_names(value: &Value, schema: &str, fields: Fields, path: &str) -> Result<(), String> {
    let Some((_, known)) = fields.iter().find(|(name, _)| *name == schema) else { return Ok(()) };
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check_names(item, schema, fields, &format!("{path}[{index}]"))),
        Value::Object(object) => object.iter().try_for_each(|(name, value)| {
            let place = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.iter().find(|(it, _)| it == name) {
                Some((_, holds)) => check_names(value, holds, fields, &place),
                None => Err(unknown(&place, name, known)),
            }
        }),
        _ => Ok(()),
    }
}

fn unknown(place: &str, name: &str, known: &[(&str, &str)]) -> String {
    let similar = |it: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), it);
    let nearest = known.iter().map(|(it, _)| (similar(it), *it)).max_by(|a, b| a.0.total_cmp(&b.0));
    let place = place.escape_debug();
    match nearest {
        Some((similarity, nearest)) if similarity >= SIMILAR => {
            format!("there is no field `{place}`; did you mean `{nearest}`?")
        }
        _ => {
            let names: Vec<_> = known.iter().map(|(it, _)| *it).collect();
            format!("there is no field `{place}`; there are `{}`", names.join("`, `"))
        }
    }
}
