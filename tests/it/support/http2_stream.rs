//! A well-behaved HTTP/2 server for the scripts of the faulty one: it breaks streams where that breaks
//! connections.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use tokio::{io, net::TcpStream, sync::Notify};

use super::fault_server::{Action, FaultServer, Log, Part, Request, Script, Then};

/// Handles each request as `script` says.
pub(crate) async fn start(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> io::Result<FaultServer> {
    let script: Arc<Script> = Arc::new(script);
    FaultServer::listen(Ipv4Addr::LOCALHOST.into(), move |stream, log| serve(stream, log, Arc::clone(&script))).await
}

async fn serve(stream: TcpStream, log: Arc<Log>, script: Arc<Script>) -> io::Result<()> {
    let mut connection = h2::server::handshake(stream).await.map_err(io::Error::other)?;
    let broken = Arc::new(Notify::new());
    // A drop of the connection ends its streams.
    let mut streams = tokio::task::JoinSet::new();
    loop {
        let next = tokio::select! {
            next = connection.accept() => next,
            () = broken.notified() => return Ok(()),
        };
        let Some(next) = next else { return Ok(()) };
        let (request, respond) = next.map_err(io::Error::other)?;
        streams.spawn(exchange(request, respond, Arc::clone(&log), Arc::clone(&script), Arc::clone(&broken)));
        while streams.try_join_next().is_some() {}
    }
}

async fn exchange(
    request: http::Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
    log: Arc<Log>,
    script: Arc<Script>,
    broken: Arc<Notify>,
) {
    let (parts, mut stream) = request.into_parts();
    let mut head = format!("{} {}\r\n", parts.method, parts.uri.path());
    for (name, value) in &parts.headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    let request = log.request(parts.method.to_string(), parts.uri.path().to_owned(), head);
    let action = script(&request);
    let mut body = Vec::new();
    #[allow(clippy::while_immutable_condition, reason = "the loop breaks at the end of the body")]
    while action.reads != Part::Head {
        match stream.data().await {
            Some(Ok(data)) => {
                stream.flow_control().release_capacity(data.len()).unwrap();
                body.extend_from_slice(&data);
            }
            Some(Err(_)) => return,
            None => break,
        }
    }
    log.read(&request, &action, body);
    if act(respond, &action).await.is_none() {
        broken.notify_one();
    }
}

/// `None`: the connection is to be dropped.
async fn act(mut respond: SendResponse<Bytes>, action: &Action) -> Option<()> {
    let whole = matches!(action.then, Then::Stay);
    match (&action.then, action.reads) {
        (Then::Reset, Part::Head) => respond.send_reset(Reason::REFUSED_STREAM),
        (Then::Reset, _) => respond.send_reset(Reason::INTERNAL_ERROR),
        (Then::Hang | Then::Repeat(..), _) => std::future::pending().await,
        (Then::Close, _) if action.sends.is_empty() => return None,
        (Then::Stay | Then::Close, _) => {
            let Some((response, body)) = parse(&action.sends) else {
                respond.send_reset(Reason::PROTOCOL_ERROR);
                return Some(());
            };
            // What the client has given up on is no fault of the server.
            let Ok(mut stream) = respond.send_response(response, false) else { return Some(()) };
            stream.send_data(body, whole).ok();
            if !whole {
                stream.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }
    Some(())
}

/// A response of HTTP/1.1, without what it says of its length.
fn parse(bytes: &[u8]) -> Option<(http::Response<()>, Bytes)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.lines();
    let mut response = http::Response::builder().status(lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name != "content-length" {
            response = response.header(name, value);
        }
    }
    Some((response.body(()).ok()?, Bytes::copy_from_slice(&bytes[end + 4..])))
}
