//! Uploads a picture, edits it, saves the result.
//!
//! Without `LUMA_AGENTS_API_KEY` it runs on the emulator; with it, on the service, which charges for it.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod common;

use std::{path::PathBuf, process::ExitCode};

use luma_agents::{
    Result,
    types::{CreateGeneration, GenerationType},
};

const USAGE: &str = "usage: edit_image PICTURE PROMPT [DIRECTORY]";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|it| it == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (Some(picture), Some(prompt)) = (arguments.next(), arguments.next()) else {
        return common::usage("a picture and a prompt are needed", USAGE);
    };
    common::end(run(picture.into(), prompt, arguments.next().unwrap_or_else(|| ".".into()).into()).await)
}

async fn run(picture: PathBuf, prompt: String, out: PathBuf) -> Result<()> {
    let luma = common::connect().await?;
    let file = luma.client.files().upload(picture).await?;
    println!("uploaded {} ({})", file.id, file.mime_type);

    let request = CreateGeneration::builder().type_(GenerationType::ImageEdit).prompt(prompt).source(&file);
    let edit = luma.client.generations().create_and_wait(request);
    let saved = edit.on_created(|generation| println!("started {}", generation.id)).save(out).await?;
    println!("saved {}", saved.path.display());
    Ok(())
}
