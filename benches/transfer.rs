//! Downloads to a file and uploads from a file, compared with the same transfers written by hand with
//! reqwest. Each run has its own process. Arguments: the directory of the files, the sizes in MiB.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "figures for a table"
)]

mod support;

use std::{fs::File, io::Write as _, path::Path};

use bytes::BytesMut;
use futures_util::Stream;
use support::{
    Figures, Result, arguments, client,
    measure::{self, median},
    report,
    server::{SERVE, Server},
    table::{self, Goal},
    worker,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

const ROUNDS: usize = 5;
const MIB: u64 = 1024 * 1024;
/// The size in MiB to which the throughput goal applies.
const JUDGED: u64 = 1024;

const DOWNLOADS: [&str; 3] = ["download ours", "download bare, synced", "download bare"];
const UPLOADS: [&str; 3] = ["upload ours", "upload bare, 256 KiB", "upload bare"];

fn main() -> Result {
    let arguments = arguments();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [SERVE] => support::server::serve(),
        ["move", way, mib, base_url, path] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run(way, mib.parse()?, base_url, Path::new(path)))
        }
        [] => compare(&[64, JUDGED], Path::new(env!("CARGO_TARGET_TMPDIR"))),
        [directory] => compare(&[64, JUDGED], Path::new(directory)),
        [directory, sizes] => {
            let sizes = sizes.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?;
            compare(&sizes, Path::new(directory))
        }
        _ => Err("give no arguments, a directory, or a directory and sizes: /tmp 64,1024,5120".into()),
    }
}

async fn run(way: &str, mib: u64, base_url: &str, path: &Path) -> Result {
    let host = base_url.trim_end_matches("/v1");
    let from = format!("{host}/object/{}", mib * MIB);
    let to = format!("{host}/object");
    let (began, cpu) = (Instant::now(), measure::cpu());
    match way {
        "download ours" => drop(client(base_url)?.download(from.as_str()).save(path).await?),
        "download bare" => drop(download(&from, path).await?),
        "download bare, synced" => download(&from, path).await?.sync_all().await?,
        "upload ours" => drop(client(base_url)?.files().upload(path).mime_type("video/mp4").await?),
        "upload bare" => {
            let file = tokio::fs::File::open(path).await?;
            upload(&to, path, file.into()).await?;
        }
        "upload bare, 256 KiB" => {
            let file = tokio::fs::File::open(path).await?;
            upload(&to, path, reqwest::Body::wrap_stream(read(file))).await?;
        }
        _ => return Err(format!("there is no way `{way}`").into()),
    }
    report([
        ("seconds", began.elapsed().as_secs_f64()),
        ("cpu", measure::cpu() - cpu),
        ("peak", measure::memory("VmHWM")?),
    ])
}

/// The usual hand-written download, without a sync.
async fn download(url: &str, path: &Path) -> Result<tokio::fs::File> {
    let mut response = reqwest::get(url).await?.error_for_status()?;
    let mut file = tokio::fs::File::create(path).await?;
    while let Some(chunk) = response.chunk().await? {
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(file)
}

async fn upload(url: &str, path: &Path, body: reqwest::Body) -> Result {
    let length = tokio::fs::metadata(path).await?.len();
    reqwest::Client::new().put(url).header("content-length", length).body(body).send().await?.error_for_status()?;
    Ok(())
}

/// Reads a file as reqwest does, in larger chunks than its 4 KiB.
fn read(file: tokio::fs::File) -> impl Stream<Item = std::io::Result<BytesMut>> {
    futures_util::stream::try_unfold(file, async |mut file| {
        let mut chunk = BytesMut::with_capacity(256 * 1024);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then_some((chunk, file)))
    })
}

fn compare(sizes: &[u64], directory: &Path) -> Result {
    let directory = tempfile::tempdir_in(directory)?;
    let upload = directory.path().join("upload");
    for mib in sizes {
        write(&upload, *mib)?;
        table::line(&format!("\n{mib} MiB, medians of {ROUNDS} rounds, taken alternately"));
        table::head(&["way", "MiB/s", "CPU, ms/GiB", "figure", "judged", "goal"]);
        let saved = directory.path().join("saved");
        compare_ways(&DOWNLOADS, *mib, &saved)?;
        compare_ways(&UPLOADS, *mib, &upload)?;
    }
    Ok(())
}

fn compare_ways(ways: &[&str], mib: u64, path: &Path) -> Result {
    let mut rounds = vec![Vec::new(); ways.len()];
    for round in 0..ROUNDS {
        // Rotate the order: earlier writes can slow the disk down.
        for at in 0..ways.len() {
            let at = (at + round) % ways.len();
            rounds[at].push(figures(ways[at], mib, path)?);
        }
    }
    let of = |at: usize, name: &str| rounds[at].iter().map(|it| it[name]).collect::<Vec<_>>();
    let size = measure::count(usize::try_from(mib)?);
    for (at, way) in ways.iter().enumerate() {
        let (seconds, cpu) = (of(at, "seconds"), median(&of(at, "cpu")));
        let peak: Vec<_> = of(at, "peak").iter().map(|peak| peak / 1024.0 / 1024.0).collect();
        let row = |figure: &str, judged: f64, goal: Goal| {
            let speed = table::short(size / median(&seconds));
            let cpu = table::short(cpu * 1024.0 / size * 1000.0);
            table::judged(&[*way, &speed, &cpu, figure].map(str::to_owned), judged, goal);
        };
        row("peak memory, MiB", median(&peak), if at == 0 { Goal::AtMost(48.0) } else { Goal::None });
        if at > 0 {
            let ratios: Vec<_> = of(0, "seconds").iter().zip(&seconds).map(|(ours, bare)| bare / ours).collect();
            let is_judged = at == 1 && mib == JUDGED;
            row(
                "throughput of ours to this",
                median(&ratios),
                if is_judged { Goal::AtLeast(0.95) } else { Goal::None },
            );
        }
    }
    Ok(())
}

fn figures(way: &str, mib: u64, path: &Path) -> Result<Figures> {
    let server = Server::start()?;
    let shown = path.to_str().ok_or("the directory has a name that is not UTF-8")?;
    let mut figures = worker(&["move", way, &mib.to_string(), &server.base_url(), shown])?;
    if way.starts_with("upload") {
        // Only the transfer: an upload also records, completes and waits.
        figures.insert("seconds".to_owned(), server.seen()?["put_seconds"]);
    } else {
        // Write the file back now, so that the next run does not wait for it.
        File::open(path)?.sync_all()?;
        std::fs::remove_file(path)?;
    }
    Ok(figures)
}

/// Writes every block, so that the file is not sparse.
fn write(path: &Path, mib: u64) -> Result {
    let mut file = File::create(path)?;
    let block = vec![1; usize::try_from(MIB)?];
    for _ in 0..mib {
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}
