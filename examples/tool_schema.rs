//! Lets a language model write the request: prints `CreateGeneration` as a tool for the model, and
//! turns the model's arguments into a request, or into one line that says what to correct.
//!
//! ```sh
//! cargo run --example tool_schema
//! cargo run --example tool_schema '{"prompt": "a duck", "aspect_ratio": "3:2"}'
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use jsonschema::{ValidationError, error::ValidationErrorKind};
use luma_agents::types::CreateGeneration;
use schemars::schema_for;
use serde_json::{Value, json};

/// The tool definition, in the form that most models expect.
#[must_use]
pub fn tool() -> Value {
    json!({
        "name": "create_generation",
        "description": "Makes or edits an image or a video. Every call costs money.",
        "input_schema": schema_for!(CreateGeneration),
    })
}

/// The request in `arguments`, if it is complete and within all documented limits.
///
/// # Errors
///
/// One line for the model, which names the field and what is wrong with it.
pub fn request(arguments: &str) -> Result<CreateGeneration, String> {
    let request = CreateGeneration::from_json(arguments).map_err(|e| e.to_string())?;
    // The types check the length of strings; only the schema checks counts and ranges.
    let schema = jsonschema::validator_for(schema_for!(CreateGeneration).as_value()).map_err(|e| e.to_string())?;
    let value = serde_json::to_value(&request).map_err(|e| e.to_string())?;
    schema.validate(&value).map_err(|e| {
        let e = innermost(&e);
        let place = e.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        format!("{place}: {e}")
    })?;
    Ok(request)
}

/// The schema of an optional object is "the object or null": returns the error inside the object.
fn innermost<'a>(error: &'a ValidationError<'a>) -> &'a ValidationError<'a> {
    let ValidationErrorKind::AnyOf { context } = error.kind() else { return error };
    let depth = |error: &&ValidationError<'_>| error.instance_path().as_str().len();
    context.iter().flatten().map(innermost).max_by_key(depth).unwrap_or(error)
}

fn main() {
    match std::env::args().nth(1) {
        None => println!("{:#}", tool()),
        Some(arguments) => match request(&arguments) {
            // From here on: `luma.generations().create(request).await`
            Ok(request) => println!("{request:#?}"),
            Err(problem) => {
                eprintln!("{problem}");
                std::process::exit(1);
            }
        },
    }
}
