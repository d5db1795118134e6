//! Opening a journal compared with reading its lines, their CRC and `serde_json` into a struct of the same fields.
//!
//! `cargo bench -p luma-agents-batch --bench journal -- 1000000`

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

use luma_agents_batch::Journal;
use measure::{cpu, median, memory, monotonic};
use serde::Deserialize;
use uuid::Uuid;

type Result<T = (), E = Box<dyn error::Error>> = std::result::Result<T, E>;

const ROUNDS: usize = 3;
const SIDES: [&str; 2] = ["open", "bare"];
const TIME: &str = "2026-11-25T03:31:33.120Z";

fn main() -> Result {
    let arguments: Vec<_> = env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [side, path] => run(side, Path::new(path)),
        [jobs] => compare(jobs.parse()?),
        _ => compare(1_000_000),
    }
}

/// One side, in a process of its own so that its memory can be measured.
fn run(side: &str, path: &Path) -> Result {
    let (start, before, empty) = (monotonic(), cpu(), memory("VmRSS")?);
    let mut journal = None;
    if side == "open" {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        journal = Some(runtime.block_on(Journal::open(path))?);
    } else {
        read(path)?;
    }
    let (seconds, cpu) = ((monotonic() - start).as_secs_f64(), cpu() - before);
    println!("{seconds} {cpu} {} {}", memory("VmRSS")? - empty, memory("VmHWM")?);
    drop(journal);
    Ok(())
}

/// All fields of all events.
#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded only")]
struct Line {
    v: u32,
    n: u64,
    s: u64,
    t: chrono::DateTime<chrono::Utc>,
    e: String,
    custom_id: Option<String>,
    r#try: Option<u32>,
    x_request_id: Option<Uuid>,
    request_sha256: Option<String>,
    model: Option<String>,
    r#type: Option<String>,
    usd: Option<String>,
    weight: Option<u32>,
    id: Option<Uuid>,
    path: Option<String>,
    bytes: Option<u64>,
    sha256: Option<String>,
    crc: String,
}

fn read(path: &Path) -> Result {
    let (mut file, mut line) = (BufReader::with_capacity(256 * 1024, File::open(path)?), Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        let sealed = line.len().checked_sub(r#","crc":"00000000"}"#.len() + 1).ok_or("short")?;
        let decoded: Line = serde_json::from_slice(&line)?;
        if format!("{:08x}", crc32fast::hash(&line[..sealed])) != decoded.crc {
            return Err("damaged".into());
        }
        line.clear();
    }
    Ok(())
}

/// Jobs from the intent to the saved output.
fn write(path: &Path, jobs: u64) -> Result {
    let mut file = BufWriter::new(File::create(path)?);
    let mut number = 0;
    let mut line = |event: String| -> Result {
        number += 1;
        let text = format!(r#"{{"v":1,"n":{number},"s":{},"t":"{TIME}",{event}"#, number - 1);
        writeln!(file, r#"{text},"crc":"{:08x}"}}"#, crc32fast::hash(text.as_bytes()))?;
        Ok(())
    };
    let (batch, digest) = (Uuid::new_v4(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    line(format!(
        r#""e":"run","batch":"{batch}","run":"{}","base_url":"https://agents.lumalabs.ai/v1","input":"catalogue.jsonl","input_sha256":"{digest}","lines":{jobs},"by":"luma-agents-batch 0.1.0""#,
        Uuid::new_v4()
    ))?;
    for job in 0..jobs {
        let (key, id) = (format!(r#""custom_id":"sku-{job:07}","try":1"#), Uuid::new_v4());
        line(format!(
            r#""e":"intent",{key},"x_request_id":"{}","request_sha256":"{digest}","model":"uni-1-max","type":"image","usd":"0.1000","weight":1"#,
            Uuid::new_v4()
        ))?;
        line(format!(r#""e":"accepted",{key},"id":"{id}""#))?;
        line(format!(r#""e":"completed",{key},"id":"{id}""#))?;
        line(format!(
            r#""e":"saved",{key},"id":"{id}","path":"out/sku-{job:07}.png","bytes":2411724,"sha256":"{digest}""#
        ))?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn compare(jobs: u64) -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.journal.jsonl");
    write(&path, jobs)?;
    let mut figures: [Vec<[f64; 4]>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (side, figures) in SIDES.iter().zip(&mut figures) {
            let output = Command::new(env::current_exe()?).args([side, path.to_str().unwrap_or_default()]).output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            let text = String::from_utf8(output.stdout)?;
            let mut numbers = text.split_whitespace().map(str::parse);
            let mut next = || numbers.next().ok_or("no figure")?.map_err(Box::<dyn error::Error>::from);
            figures.push([next()?, next()?, next()?, next()?]);
        }
    }
    let of = |side: usize, figure: usize| median(&figures[side].iter().map(|it| it[figure]).collect::<Vec<_>>());
    println!("{jobs} jobs, {} MiB\n", path.metadata()?.len() >> 20);
    println!("| side | seconds | CPU seconds | ratio | bytes a job | peak MiB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    #[allow(clippy::cast_precision_loss, reason = "a figure")]
    for (side, name) in SIDES.iter().enumerate() {
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
            of(side, 0),
            of(side, 1),
            of(side, 1) / of(1, 1),
            of(side, 2) / jobs as f64,
            of(side, 3) / 1_048_576.0
        );
    }
    Ok(())
}
