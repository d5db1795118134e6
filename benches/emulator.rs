//! A thousand polls of the emulator at once, compared with a plain hyper server that sends the same response.

#![allow(clippy::unchecked_time_subtraction, reason = "figures for a table")]

mod support;

use std::{convert::Infallible, future::ready, time::Duration};

use futures_util::future::try_join_all;
use http_body_util::Full;
use hyper::{
    Response,
    body::Bytes,
    header::{CONTENT_LENGTH, DATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use luma_agents::{
    mock::{Emulator, Script},
    types::CreateGeneration,
};
use support::{
    Result,
    measure::{self, median},
    table::{self, Goal},
};
use tokio::{net::TcpListener, time::Instant};

const ROUNDS: usize = 21;
const POLLS: usize = 1000;

fn main() -> Result {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(compare())
}

async fn compare() -> Result {
    let emulator = Emulator::builder().default_script(Script::new().takes(Duration::ZERO)).start().await?;
    let generations = emulator.client().generations();
    for _ in 1..POLLS {
        generations.create(CreateGeneration::builder().prompt("a duck")).await?;
    }
    let job = generations.create(CreateGeneration::builder().prompt("a duck")).await?;
    let path = format!("/generations/{}", job.id);
    let ours = Caller::new(format!("{}{path}", emulator.base_url()), emulator.api_key());
    let plain = Caller::new(format!("{}{path}", plain_server(ours.send().await?).await?), emulator.api_key());

    let mut rounds = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        let (ours, plain) = (ours.polls().await?, plain.polls().await?);
        // The first round opens the connections.
        if round > 0 {
            let figures = [ours.wall, plain.wall, ours.cpu, plain.cpu];
            rounds.iter_mut().zip(figures).for_each(|(round, figure)| round.push(figure));
        }
    }
    table::line(&format!("{POLLS} polls at once, client and server in one process, median of {ROUNDS} rounds."));
    table::head(&["time", "emulator, ms", "hyper, ms", "ratio", "goal"]);
    let [wall, plain_wall, cpu, plain_cpu] = &rounds;
    for (name, ours, plain) in [("elapsed", wall, plain_wall), ("of the CPU", cpu, plain_cpu)] {
        let ratios: Vec<_> = ours.iter().zip(plain).map(|(ours, plain)| ours / plain).collect();
        let cells = [name.to_owned(), table::short(median(ours)), table::short(median(plain))];
        table::judged(&cells, median(&ratios), Goal::AtMost(1.2));
    }
    Ok(())
}

/// Milliseconds.
struct Times {
    wall: f64,
    cpu: f64,
}

struct Caller {
    http: reqwest::Client,
    url: String,
    key: &'static str,
}

impl Caller {
    fn new(url: String, key: &'static str) -> Self {
        Self { http: reqwest::Client::new(), url, key }
    }

    async fn send(&self) -> Result<reqwest::Response> {
        Ok(self.http.get(&self.url).bearer_auth(self.key).send().await?.error_for_status()?)
    }

    async fn poll(&self) -> Result<Bytes> {
        Ok(self.send().await?.bytes().await?)
    }

    async fn polls(&self) -> Result<Times> {
        let (began, cpu) = (Instant::now(), measure::cpu());
        try_join_all((0..POLLS).map(|_| self.poll())).await?;
        Ok(Times { wall: began.elapsed().as_secs_f64() * 1000.0, cpu: (measure::cpu() - cpu) * 1000.0 })
    }
}

/// The base URL of a server that sends this response whatever it is asked.
async fn plain_server(response: reqwest::Response) -> Result<String> {
    let mut headers = response.headers().clone();
    for written_by_hyper in [CONTENT_LENGTH, DATE] {
        headers.remove(written_by_hyper);
    }
    let mut response = Response::new(Full::new(response.bytes().await?));
    *response.headers_mut() = headers;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let response = response.clone();
            let service = service_fn(move |_| ready(Ok::<_, Infallible>(response.clone())));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(base_url)
}
