//! A generation on the emulator: what it reports, and which outputs it has in storage.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::SecondsFormat;
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    clock::timestamp,
    document::Document,
    media::Media,
    picture::{LAYERS, Layer},
    script::Script,
    signer::Signer,
    text::Caption,
};
use crate::types::{GenerationState, GenerationType, Model};

/// A generation that was created, and that would have been paid for.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// The `X-Request-Id` of its submission: that of the client, or the one that the emulator sent back.
    pub x_request_id: String,
    /// The body of its submission, as it was sent.
    pub request: Value,
    /// Its state now.
    pub state: GenerationState,
}

/// A generation, and where it is in its script.
pub(super) struct Run {
    pub(super) id: Uuid,
    pub(super) x_request_id: String,
    pub(super) request: Value,
    pub(super) script: Script,
    pub(super) polls: usize,
    /// What was shown last.
    pub(super) shown: Option<Shown>,
    /// By the emulator's clock.
    pub(super) submitted: Duration,
    /// By the caller's clock.
    pub(super) created: SystemTime,
}

/// A generation in one state as JSON, without the URLs of its outputs.
pub(super) struct Shown {
    state: GenerationState,
    /// The text before each URL, and the key of its output.
    outputs: Vec<(String, String)>,
    /// The text after the last one.
    rest: String,
    /// How long it was with its URLs.
    length: usize,
}

impl Shown {
    /// `text` has keys of outputs in the place of their URLs.
    fn new(text: &str, id: Uuid, state: GenerationState) -> Self {
        let quoted = format!("\"generations/{id}/");
        let (mut outputs, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(&quoted) {
            let (before, key) = rest.split_at(at + 1);
            let (key, after) = key.split_at(key.find('"').unwrap_or(key.len()));
            outputs.push((before.to_owned(), key.to_owned()));
            rest = after;
        }
        Self { state, outputs, rest: rest.to_owned(), length: text.len() }
    }

    fn signed(&mut self, signer: &mut Signer) -> String {
        let mut text = String::with_capacity(self.length);
        for (before, key) in &self.outputs {
            text.push_str(before);
            signer.sign_into(&mut text, &Method::GET, key);
        }
        text.push_str(&self.rest);
        self.length = text.len();
        text
    }
}

/// An output of a completed job.
struct Output {
    name: String,
    kind: &'static str,
    layer: Option<&'static Layer>,
}

impl Run {
    pub(super) fn state(&self, now: Duration) -> GenerationState {
        self.script.state(self.polls, now.saturating_sub(self.submitted))
    }

    pub(super) fn to_job(&self, now: Duration) -> Job {
        let (x_request_id, request) = (self.x_request_id.clone(), self.request.clone());
        Job { id: self.id, x_request_id, request, state: self.state(now) }
    }

    pub(super) fn is_video(&self) -> bool {
        self.text("type").is_some_and(|kind| kind.starts_with("video"))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.request[name].as_str()
    }

    /// The generation in this state, with fresh URLs. All else is written once for each state, since polls are many.
    pub(super) fn shown(&mut self, document: &Document, state: GenerationState, signer: &mut Signer) -> String {
        let shown = match self.shown.take() {
            Some(shown) if shown.state == state => shown,
            _ => Shown::new(&self.to_json(document, &state).to_string(), self.id, state),
        };
        self.shown.insert(shown).signed(signer)
    }

    fn to_json(&self, document: &Document, state: &GenerationState) -> Value {
        let failure = (*state == GenerationState::Failed).then(|| self.script.failure());
        let outputs = if *state == GenerationState::Completed { self.outputs() } else { Vec::new() };
        let outputs: Vec<_> = outputs
            .into_iter()
            .map(|output| {
                let key = format!("generations/{}/{}", self.id, output.name);
                let mut fields = json!({ "type": output.kind, "url": key });
                if let Some(layer) = output.layer {
                    fields["layer"] = layer.to_json(document);
                }
                document.value("GenerationOutput", fields)
            })
            .collect();
        let fields = json!({
            "id": self.id,
            "type": self.script.kind.clone().unwrap_or_else(|| type_of(&self.request)),
            "model": self.script.model.clone().unwrap_or_else(|| model_of(&self.request)),
            "state": state,
            "created_at": timestamp(self.created, SecondsFormat::Secs),
            "output": outputs,
            "failure_code": failure.as_ref().map(|(code, _)| code),
            "failure_reason": failure.as_ref().map(|(_, reason)| reason),
        });
        document.value("Generation", fields)
    }

    /// By the type that was requested, also where the script reports another.
    fn outputs(&self) -> Vec<Output> {
        let output = |name: &str, kind| Output { name: name.to_owned(), kind, layer: None };
        if self.text("type") == Some("layering") {
            let layers = LAYERS.iter();
            return layers
                .map(|layer| Output { layer: Some(layer), ..output(&format!("layer-{}.png", layer.index), "image") })
                .collect();
        }
        if !self.is_video() {
            return vec![output("output.png", "image")];
        }
        let mut outputs = vec![output("output.mp4", "video")];
        if self.request["video"]["exr_export"] == true {
            outputs.push(output("output.exr", "exr"));
        }
        outputs
    }

    /// What an output consists of.
    pub(super) fn media(&self, name: &str) -> Option<Media> {
        let outputs = self.outputs();
        let at = outputs.iter().position(|output| output.name == name)?;
        let output = outputs.get(at)?;
        Some(match (&self.script.output, output.layer, name) {
            (Some(bytes), ..) if at == 0 => Media::Bytes(Bytes::clone(bytes)),
            (_, Some(layer), _) => Media::Layer(layer, self.caption()),
            (.., "output.mp4") => Media::Video(self.caption(), self.seconds()),
            (.., "output.exr") => Media::Exr(self.caption()),
            _ => Media::Picture(self.caption()),
        })
    }

    fn caption(&self) -> Caption {
        let (kind, model) = (type_of(&self.request), model_of(&self.request));
        let (ratio, options) = (self.text("aspect_ratio"), &self.request["video"]);
        let asked = [ratio, options["resolution"].as_str(), options["duration"].as_str()].into_iter().flatten();
        let line: Vec<_> = [model.as_str(), kind.as_str()].into_iter().chain(asked).collect();
        Caption {
            prompt: self.text("prompt").unwrap_or_default().to_owned(),
            ratio: ratio.map(str::to_owned),
            line: line.join(" "),
        }
    }

    /// The length of a video. Default 5 s, as for the service.
    fn seconds(&self) -> u32 {
        let duration = self.request["video"]["duration"].as_str().and_then(|it| it.strip_suffix('s')?.parse().ok());
        duration.filter(|seconds| (1..=10).contains(seconds)).unwrap_or(5)
    }
}

/// The type that a request asks for.
pub(super) fn type_of(request: &Value) -> GenerationType {
    request["type"].as_str().map_or(GenerationType::Image, GenerationType::from)
}

/// The model that a request asks for.
pub(super) fn model_of(request: &Value) -> Model {
    request["model"].as_str().map_or(Model::Uni1, Model::from)
}
