//! CPU time and allocations to decode a generation, compared with a hand-written struct of closed enums.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "figures for a table"
)]

mod support;

use std::alloc::System;

use luma_agents::types::Generation;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{
    Result,
    measure::{self, count, median},
    table::{self, Goal},
};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 31;
const TIMES: usize = 5000;

/// A hand-written type that knows only the values of today.
mod closed {
    #![expect(dead_code, reason = "fields are decoded and never read")]

    use super::{Deserialize, Uuid};

    #[derive(Deserialize)]
    pub(crate) struct Generation {
        id: Uuid,
        #[serde(rename = "type")]
        kind: Kind,
        state: State,
        model: Model,
        created_at: String,
        output: Option<Vec<Output>>,
        failure_reason: Option<String>,
        failure_code: Option<FailureCode>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Image,
        ImageEdit,
        Layering,
        Video,
        VideoEdit,
        VideoReframe,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum State {
        Queued,
        Processing,
        Completed,
        Failed,
    }

    #[derive(Deserialize)]
    enum Model {
        #[serde(rename = "uni-1")]
        Uni1,
        #[serde(rename = "uni-1-max")]
        Uni1Max,
        #[serde(rename = "ray-3.2")]
        Ray3_2,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum FailureCode {
        ContentModerated,
        GenerationFailed,
    }

    #[derive(Deserialize)]
    struct Output {
        #[serde(rename = "type")]
        kind: String,
        url: String,
        layer: Option<Layer>,
    }

    #[derive(Deserialize)]
    struct Layer {
        index: i64,
        label: String,
        description: String,
        alpha_hint: String,
        bounds: Option<Bounds>,
    }

    #[derive(Deserialize)]
    struct Bounds {
        x: i64,
        y: i64,
        width: i64,
        height: i64,
        canvas_width: i64,
        canvas_height: i64,
    }
}

fn main() -> Result {
    table::line(&format!("Medians of {ROUNDS} rounds of {TIMES} times each, taken alternately."));
    table::head(&["generation", "figure", "ours", "closed", "ratio", "goal"]);
    for (name, json) in payloads() {
        let json = json.to_string();
        let json = json.as_bytes();
        // Both types must accept the payload.
        serde_json::from_slice::<Generation>(json)?;
        serde_json::from_slice::<closed::Generation>(json)?;

        let mut rounds = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            rounds[0].push(time::<Generation>(json)?);
            rounds[1].push(time::<closed::Generation>(json)?);
        }
        let ratios: Vec<_> = rounds[0].iter().zip(&rounds[1]).map(|(ours, closed)| ours / closed).collect();
        let cells = [name, "time, ns", &table::short(median(&rounds[0])), &table::short(median(&rounds[1]))];
        table::judged(&cells.map(str::to_owned), median(&ratios), Goal::AtMost(1.1));

        let (ours, closed) = (allocations::<Generation>(json)?, allocations::<closed::Generation>(json)?);
        let cells = [name, "allocations", &table::short(ours), &table::short(closed)];
        table::judged(&cells.map(str::to_owned), ours / closed, Goal::AtMost(1.1));
    }
    Ok(())
}

fn time<T: DeserializeOwned>(json: &[u8]) -> Result<f64> {
    let began = measure::cpu();
    for _ in 0..TIMES {
        drop(std::hint::black_box(serde_json::from_slice::<T>(std::hint::black_box(json))?));
    }
    Ok((measure::cpu() - began) * 1e9 / count(TIMES))
}

fn allocations<T: DeserializeOwned>(json: &[u8]) -> Result<f64> {
    let region = Region::new(ALLOCATOR);
    let decoded = serde_json::from_slice::<T>(json)?;
    let change = region.change();
    drop(decoded);
    Ok(count(change.allocations + change.reallocations))
}

fn payloads() -> [(&'static str, serde_json::Value); 4] {
    let url = format!("https://storage.example.com/o.png?X-Amz-Expires=3600&X-Amz-Signature={}", "0".repeat(400));
    let generation = |state: &str, output: serde_json::Value| {
        json!({
            "id": Uuid::from_u128(7), "type": "image", "model": "uni-1", "state": state,
            "created_at": "2026-04-08T12:00:00Z", "output": output, "failure_reason": null, "failure_code": null,
        })
    };
    let mut failed = generation("failed", json!([]));
    failed["failure_code"] = "content_moderated".into();
    failed["failure_reason"] = "The prompt was rejected.".into();
    let layer = |index| {
        json!({ "type": "image", "url": url, "layer": {
            "index": index, "label": "red car", "description": "A red car seen from the side.", "alpha_hint": "hard",
            "bounds": { "x": 10, "y": 20, "width": 300, "height": 200, "canvas_width": 1024, "canvas_height": 1024 },
        }})
    };
    let layers = (0..10).map(layer).collect();
    [
        ("queued", generation("queued", json!([]))),
        ("completed", generation("completed", json!([{ "type": "image", "url": url }]))),
        ("ten layers", generation("completed", layers)),
        ("failed", failed),
    ]
}
