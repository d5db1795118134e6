//! Makes a video that starts with a picture, and shows the download as a progress bar in bytes.
//!
//! Without `LUMA_AGENTS_API_KEY` it runs on the emulator; with it, on the service, which charges for it.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod common;

use std::{path::PathBuf, process::ExitCode};

use indicatif::{ProgressBar, ProgressStyle};
use luma_agents::{
    Result,
    types::{CreateGeneration, GenerationType, Model, VideoDuration, VideoOptions, VideoResolution},
};

const USAGE: &str = "usage: video START_FRAME PROMPT [DIRECTORY]";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|it| it == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (Some(start_frame), Some(prompt)) = (arguments.next(), arguments.next()) else {
        return common::usage("a picture and a prompt are needed", USAGE);
    };
    common::end(run(start_frame.into(), prompt, arguments.next().unwrap_or_else(|| ".".into()).into()).await)
}

async fn run(start_frame: PathBuf, prompt: String, out: PathBuf) -> Result<()> {
    let luma = common::connect().await?;
    let frame = luma.client.files().upload(start_frame).await?;
    let video = VideoOptions::builder()
        .resolution(VideoResolution::Resolution720p)
        .duration(VideoDuration::Duration5s)
        .start_frame(&frame);
    let request =
        CreateGeneration::builder().type_(GenerationType::Video).model(Model::Ray3_2).prompt(prompt).video(video);
    let video = luma.client.generations().create_and_wait(request);
    let done = video.on_created(|generation| println!("started {}", generation.id)).await?;

    let bar = ProgressBar::no_length();
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}")
            .unwrap_or(ProgressStyle::default_bar()),
    );
    let shown = bar.clone();
    let download = luma.client.download(&done).progress(move |progress| {
        if let Some(total) = progress.total {
            shown.set_length(total);
        }
        shown.set_position(progress.bytes);
    });
    let saved = download.save(out).await?;
    bar.finish();
    println!("saved {}", saved.path.display());
    Ok(())
}
