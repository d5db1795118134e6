//! The check of an input compared with `serde_json` on the same lines: into `Value`, and into the SDK's type.
//!
//! `cargo bench -p luma-agents-batch --bench input -- 1000000`

#![allow(clippy::print_stdout, clippy::unchecked_time_subtraction, reason = "figures for a table")]

#[allow(dead_code, reason = "shared with the benchmarks of the SDK")]
#[path = "../../../benches/support/measure.rs"]
mod measure;

use std::{
    env, error,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    process::Command,
};

use luma_agents::types::CreateGeneration;
use luma_agents_batch::input::{Input, Known};
use measure::{cpu, median, memory, monotonic};
use serde::Deserialize;
use serde_json::Value;

type Result<T = (), E = Box<dyn error::Error>> = std::result::Result<T, E>;

const ROUNDS: usize = 5;
const SIDES: [&str; 3] = ["check", "value", "typed"];

fn main() -> Result {
    let arguments: Vec<_> = env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [side, path] => run(side, Path::new(path)),
        [lines] => compare(lines.parse()?),
        _ => compare(1_000_000),
    }
}

/// One side, in a process of its own so that its memory can be measured.
fn run(side: &str, path: &Path) -> Result {
    let (start, before) = (monotonic(), cpu());
    let lines = match side {
        "check" => Input::open(path)?.check().run(|_| Known::default())?.lines,
        "value" => count(path, |line| Ok(_ = serde_json::from_slice::<Value>(line)?))?,
        _ => count(path, |line| Ok(_ = serde_json::from_slice::<Line>(line)?))?,
    };
    println!("{lines} {} {} {}", (monotonic() - start).as_secs_f64(), cpu() - before, memory("VmHWM")?);
    Ok(())
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded only")]
struct Line {
    custom_id: String,
    body: CreateGeneration,
}

fn count(path: &Path, decode: impl Fn(&[u8]) -> Result) -> Result<u64> {
    let (mut file, mut line, mut lines) = (BufReader::with_capacity(256 * 1024, File::open(path)?), Vec::new(), 0);
    while file.read_until(b'\n', &mut line)? > 0 {
        decode(&line)?;
        line.clear();
        lines += 1;
    }
    Ok(lines)
}

fn compare(lines: u64) -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("catalogue.jsonl");
    let mut file = BufWriter::new(File::create(&path)?);
    for line in 0..lines {
        writeln!(
            file,
            r#"{{"custom_id":"sku-{line:07}","body":{{"prompt":"a {line} of the catalogue on white, soft light from the left, no text","model":"uni-1-max","aspect_ratio":"1:1","output_format":"png"}}}}"#
        )?;
    }
    file.into_inner()?.sync_all()?;
    let mut figures: [Vec<[f64; 3]>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (side, figures) in SIDES.iter().zip(&mut figures) {
            let output = Command::new(env::current_exe()?).args([side, path.to_str().unwrap_or_default()]).output()?;
            let text = String::from_utf8(output.stdout)?;
            let mut numbers = text.split_whitespace().skip(1).map(str::parse);
            let mut next = || numbers.next().ok_or("no figure")?.map_err(Box::<dyn error::Error>::from);
            figures.push([next()?, next()?, next()?]);
        }
    }
    let median_of = |side: usize, figure: usize| median(&figures[side].iter().map(|it| it[figure]).collect::<Vec<_>>());
    println!("| side | seconds | CPU seconds | peak MiB | of `Value` | of typed |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (side, name) in SIDES.iter().enumerate() {
        let cpu = median_of(side, 1);
        println!(
            "| {name} | {:.2} | {cpu:.2} | {:.1} | {:.2} | {:.2} |",
            median_of(side, 0),
            median_of(side, 2) / 1_048_576.0,
            cpu / median_of(1, 1),
            cpu / median_of(2, 1)
        );
    }
    Ok(())
}
