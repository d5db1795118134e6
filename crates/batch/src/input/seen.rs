//! Good requests that were seen before: lines of a catalogue often differ in nothing but their prompt.

use std::collections::HashMap;

use luma_agents::types::CreateGenerationPrompt;
use serde_json::Value;

use crate::estimate::Estimate;

/// The most that are kept, so that the memory is bounded.
const MOST: usize = 1_000;

/// The estimates of good requests, by all that they hold but their prompt.
#[derive(Debug, Default)]
pub(super) struct Seen {
    good: HashMap<Vec<u8>, Estimate>,
    key: Vec<u8>,
    has_key: bool,
    /// Most lines are like the one before.
    last: Option<(Vec<u8>, Estimate)>,
}

impl Seen {
    /// The estimate of a request that is as good as an earlier one.
    pub(super) fn find(&mut self, body: &Value) -> Option<&Estimate> {
        self.has_key = self.write_key(body).is_some();
        if !self.has_key {
            return None;
        }
        if self.last.as_ref().is_none_or(|(key, _)| *key != self.key) {
            let estimate = self.good.get(&self.key)?;
            self.last = Some((self.key.clone(), *estimate));
        }
        self.last.as_ref().map(|(_, estimate)| estimate)
    }

    /// The request that [`find`](Self::find) did not find is good.
    pub(super) fn add(&mut self, estimate: Estimate) {
        if self.has_key {
            if self.good.len() >= MOST {
                self.good.clear();
            }
            self.good.insert(self.key.clone(), estimate);
        }
    }

    /// There is none for a request with media or options, or with a prompt that the SDK's type does not take.
    fn write_key(&mut self, body: &Value) -> Option<()> {
        self.key.clear();
        let mut has_prompt = false;
        for (name, value) in body.as_object()? {
            match value {
                Value::String(text) if name == "prompt" => {
                    CreateGenerationPrompt::try_from(text.as_str()).ok()?;
                    has_prompt = true;
                }
                // Its prompt has other limits.
                Value::String(text) if name == "type" && text == "layering" => return None,
                Value::String(text) => self.write_field(name, b'"', text),
                Value::Object(_) | Value::Array(_) => return None,
                simple => self.write_field(name, b' ', &simple.to_string()),
            }
        }
        has_prompt.then_some(())
    }

    /// With lengths, so that no text can pass for the end of one and the beginning of another.
    fn write_field(&mut self, name: &str, kind: u8, value: &str) {
        for part in [name, value] {
            self.key.extend_from_slice(&part.len().to_le_bytes());
            self.key.extend_from_slice(part.as_bytes());
        }
        self.key.push(kind);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_request_that_differs_in_its_prompt_alone_is_as_good_as_an_earlier_one() {
        let mut seen = Seen::default();
        let good = json!({"prompt": "a", "model": "uni-1", "web_search": true, "user_id": null});
        assert_eq!(seen.find(&good), None);
        seen.add(Estimate::Unknown);
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body
        };
        assert!(seen.find(&with("prompt", json!("another"))).is_some());
        for other in [
            with("prompt", json!("")),
            with("prompt", json!("a".repeat(6001))),
            with("prompt", json!(7)),
            with("model", json!("uni-1-max")),
            with("web_search", json!("true")),
            with("user_id", json!("null")),
            with("colour", json!("red")),
            with("image_ref", json!([])),
            json!({"model": "uni-1", "web_search": true, "user_id": null}),
        ] {
            assert_eq!(seen.find(&other), None, "{other}");
        }
    }
}
