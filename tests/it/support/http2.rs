//! HTTP/2 (without TLS) for the faulty server: frames as a script says them.
//!
//! It reads frames and not what is in them: the script knows what a request is about.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::fault_server::{Action, FaultServer, Log, Part, Request, Then, end, send};

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Error codes (RFC 9113, 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A server of HTTP/2.
#[derive(Clone)]
pub(crate) struct Http2 {
    /// How many bytes of a body the client may send before it hears of more.
    pub(crate) window: u32,
    /// Whether the window is opened again, as an honest server does.
    pub(crate) opens_window: bool,
    /// Method and path of the request with this number.
    pub(crate) named: Arc<dyn Fn(usize) -> (&'static str, String) + Send + Sync>,
    pub(crate) script: Arc<Script>,
}

/// What the server does with one request on one stream.
pub(crate) type Script = dyn Fn(&Request, u32) -> Action + Send + Sync;

impl Http2 {
    pub(crate) async fn start(self) -> io::Result<FaultServer> {
        FaultServer::listen(Ipv4Addr::LOCALHOST.into(), move |stream, log| serve(stream, log, self.clone())).await
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers without compression (RFC 7541, 6.2.2).
pub(crate) fn headers(stream: u32, status: u16, fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let short = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut block = [vec![8], short(&status.to_string())].concat();
    for (name, value) in fields {
        block.extend([vec![0], short(name), short(value)].concat());
    }
    frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &block)
}

pub(crate) fn data(stream: u32, body: &[u8], ends: bool) -> Vec<u8> {
    frame(DATA, if ends { END_STREAM } else { 0 }, stream, body)
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// `last` is the last stream that the server has handled or may handle.
pub(crate) fn go_away(last: u32, code: u32) -> Vec<u8> {
    // A careless server adds whatever it has at hand.
    let debug = format!("{} {}", super::KEY, super::SIGNATURE);
    frame(GOAWAY, 0, 0, &[&last.to_be_bytes(), &code.to_be_bytes(), debug.as_bytes()].concat())
}

async fn serve(mut stream: TcpStream, log: Arc<Log>, server: Http2) -> io::Result<()> {
    stream.read_exact(&mut [0; PREFACE]).await?;
    let window = [&[0, 4], &server.window.to_be_bytes()[..]].concat();
    stream.write_all(&frame(SETTINGS, 0, 0, &window)).await?;
    let mut open: Option<(Request, Action)> = None;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(());
        }
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(id);
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload)).await?,
            HEADERS => {
                let (method, path) = (server.named)(log.next_number());
                let request = log.request(method.to_owned(), path, String::new());
                let action = (server.script)(&request, id);
                open = Some((request, action));
            }
            DATA if server.opens_window && !payload.is_empty() => {
                let more = u32::try_from(payload.len()).unwrap().to_be_bytes();
                for of in [0, id] {
                    stream.write_all(&frame(WINDOW_UPDATE, 0, of, &more)).await?;
                }
            }
            _ => {}
        }
        let has_ended = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        let Some((request, action)) = open.take_if(|(_, action)| has_ended || action.reads == Part::Head) else {
            continue;
        };
        log.read(&request, &action, Vec::new());
        send(&mut stream, &action).await?;
        if !matches!(action.then, Then::Stay) {
            return end(stream, &action.then).await;
        }
    }
}
